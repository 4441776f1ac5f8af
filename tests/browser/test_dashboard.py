from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Rollup
from django_jobs.storage.queues import paused_queues
from tests.browser.accessibility import assert_accessible
from tests.browser.playwright_thread import expect

URL = "/admin/django_jobs/dashboard/"


@pytest.fixture
def busy(transactional_db, make_run, make_job, make_worker):
    """Something in every part of the page."""
    now = timezone.now()
    worker = make_worker(has_clock=True, threads=4, version="1.2.3")
    make_worker(host="lost", lease_expires_at=now - timedelta(minutes=1))
    make_job(id="a-job-with-rather-a-long-name-that-has-to-be-broken-somewhere" * 2)
    make_job(id="late-job", next_run_time=now - timedelta(minutes=5))
    make_run(run_after=now - timedelta(minutes=3), queue_name="mail")
    make_run(status="RUNNING", worker_id=worker.pk, progress={"done": 1, "total": 2, "message": "half"})
    make_run(status="FAILED", error="ValueError: " + "very" * 60)
    for outcome, runs in (("SUCCESSFUL", 40), ("FAILED", 2)):
        for size in (60, 3600, 86400):
            begins_at = now - timedelta(seconds=now.timestamp() % size)
            Rollup.objects.create(
                size_seconds=size, begins_at=begins_at, func="shop.jobs:send", queue_name="mail", outcome=outcome,
                runs=runs, ran_seconds=runs, ran_10=runs, waited_5=runs,
            )  # fmt: skip


@pytest.mark.parametrize(
    "look",
    [{}, {"dark": True}, {"width": 390}, {"width": 390, "dark": True}, {"locale": "ar"}],
    ids=["light", "dark", "mobile", "dark mobile", "right to left"],
)
def test_the_dashboard_is_accessible_and_as_wide_as_its_window(open_page, busy, look):
    page = open_page(**look)

    page.goto(URL)

    assert page.locator(".jobs-plot .jobs-series-0").count() == 1
    assert_accessible(page, within="#content")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Whoever has to stop a queue from a telephone sees how.
    switch = page.get_by_role("button", name="Pause queue mail").bounding_box()
    assert switch["x"] >= 0
    assert switch["x"] + switch["width"] <= look.get("width", 1400)


def test_a_queue_is_paused_with_the_keyboard_and_without_scripts(open_page, busy):
    page = open_page(scripts=False)
    page.goto("/admin/")
    page.locator("#content").get_by_role("link", name="Dashboard").click()
    page.get_by_role("link", name="24 h").click()

    page.get_by_role("button", name="Pause queue mail").focus()
    page.keyboard.press("Enter")

    expect(page.locator(".messagelist")).to_contain_text("Queue mail is paused")
    expect(page.get_by_role("button", name="Resume queue mail")).to_be_visible()
    expect(page.get_by_role("link", name="24 h")).to_have_attribute("aria-current", "true")
    assert paused_queues(using="default") == ["mail"]


def test_late_jobs_and_failures_are_in_the_first_screen_and_one_click_away(page, busy):
    page.goto(URL)

    for name in ("1 job is late.", "1 run in queue mail is late."):
        expect(page.get_by_role("link", name=name)).to_be_in_viewport()
    expect(page.locator(".jobs-tile-failed")).to_be_in_viewport()
    page.locator(".jobs-tile-failed a").click()
    expect(page.locator("#result_list")).to_contain_text("ValueError")


def test_the_chart_is_read_with_the_pointer_and_with_keys_and_leads_to_its_runs(open_page, busy):
    page = open_page()
    page.goto(f"{URL}?by=queue&range=week")
    plot = page.locator(".jobs-card-chart .jobs-plot")
    readout = page.locator(".jobs-readout")

    plot.locator(".jobs-column").last.hover()
    expect(readout).to_contain_text("incomplete")
    expect(readout).to_contain_text("42 mail")
    box = readout.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1400
    page.mouse.move(5, 5)
    expect(readout).to_be_hidden()

    plot.focus()
    page.keyboard.press("End")
    expect(readout).to_contain_text("42 mail")
    page.keyboard.press("ArrowLeft")
    expect(readout).to_contain_text("0 mail")
    page.keyboard.press("Escape")
    expect(readout).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    assert_accessible(page, within="#content")
    page.keyboard.press("Enter")
    page.wait_for_url("**/run/?*ended_from=*")


def test_what_is_read_of_the_chart_stays_through_live_updates(open_page, busy, make_run):
    page = open_page()
    page.goto(f"{URL}?range=week")
    plot = page.locator(".jobs-card-chart .jobs-plot")
    plot.focus()
    page.keyboard.press("End")
    expect(page.locator(".jobs-readout")).to_contain_text("40 Successful")

    Rollup.objects.filter(outcome="SUCCESSFUL").update(runs=41)
    make_run(queue_name="other")

    expect(page.locator(".jobs-card-chart .jobs-legend")).to_contain_text("41 Successful", timeout=20_000)
    expect(page.locator(".jobs-readout")).to_be_visible()
    expect(page.locator(".jobs-readout")).to_contain_text("41 Successful")
    assert page.evaluate("document.activeElement.matches('.jobs-plot')")
