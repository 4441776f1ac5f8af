"""Pages of runs, as a person uses them."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs import codec
from django_jobs.admin import RunAdmin
from django_jobs.models import Run, Status
from django_jobs.testing import drain_jobs
from tests.browser.accessibility import assert_accessible
from tests.browser.playwright_thread import expect

LIST = "/admin/django_jobs/run/"


@pytest.fixture
def failed(make_run, make_job):
    """A run that was tried twice, in vain."""
    now = timezone.now()
    make_job(id="nightly")
    return make_run(
        job_id="nightly",
        func="tests.probes.jobs:add",
        status=Status.FAILED,
        attempt=2,
        payload=codec.dump_arguments((1, "two"), {}),
        enqueued_at=now - timedelta(minutes=5),
        started_at=now - timedelta(minutes=1),
        finished_at=now,
        error="TypeError: no sum of these",
        errors=[
            {
                "attempt": number,
                "worker_id": "w1",
                "started_at": (now - timedelta(minutes=minutes)).isoformat(),
                "finished_at": (now - timedelta(minutes=minutes - 1)).isoformat(),
                "error": "TypeError: no sum of these",
                "traceback": f"Traceback of attempt {number}",
            }
            for number, minutes in ((1, 4), (2, 1))
        ],
        log="a line of the log",
        progress={"done": 1, "total": 3, "message": "first of three"},
    )


def page_of(run):
    return f"{LIST}{run.pk}/change/"


@pytest.mark.parametrize("options", [{}, {"dark": True, "width": 390}, {"locale": "ar"}])
def test_a_runs_page_tells_what_happened(open_page, failed, options):
    page = open_page(**options)

    page.goto(page_of(failed))

    steps = page.locator(".jobs-step")
    expect(steps).to_have_count(6)
    expect(steps.nth(2)).to_contain_text("Attempt 1")
    trace = page.get_by_text("Traceback of attempt 2")
    expect(trace).to_be_hidden()
    page.locator(".jobs-traceback summary").last.click()
    expect(trace).to_be_visible()
    expect(page.locator("pre.jobs-log")).to_have_text("a line of the log")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_accessible(page, within="#content")


def test_a_run_is_tried_again_from_its_page_without_scripts(open_page, failed):
    page = open_page(scripts=False)
    page.goto(page_of(failed))

    page.get_by_role("button", name="Retry", exact=True).click()

    expect(page.locator(".messagelist")).to_contain_text("1 run is tried again.")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    failed.refresh_from_db()
    assert failed.status == Status.READY


def test_a_run_is_tried_again_with_changes(page, failed):
    page.goto(page_of(failed))
    page.get_by_role("link", name="Retry with changes").click()
    assert_accessible(page, within="#content")

    page.get_by_label("b", exact=True).fill("[1,")
    page.get_by_role("button", name="Add the run").click()
    expect(page.locator(".errorlist")).to_contain_text("this is not JSON")
    page.get_by_label("b", exact=True).fill("2")
    page.get_by_role("button", name="Add the run").click()

    expect(page.locator(".jobs-facts")).to_contain_text(f"Made from run{failed.pk}")
    drain_jobs()
    page.reload()
    expect(page.locator(".jobs-result")).to_have_text("3")


def test_all_that_match_are_tried_again_in_the_background(page, make_run, failed):
    more = [make_run(status=Status.FAILED, queue_name="mail") for _ in range(3)]
    page.goto(f"{LIST}?status=FAILED")
    page.locator(".jobs-filter summary").click()
    page.get_by_label("Queue", exact=True).fill("mail")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="All that match…").click()

    expect(page.locator(".jobs-how-many")).to_contain_text("3 runs match.")
    assert_accessible(page, within="#content")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".messagelist")).to_contain_text("in the background")
    drain_jobs(queues=["default"])
    page.reload()

    expect(page.locator(".jobs-progress")).to_contain_text("3 changed, 0 left as they were")
    assert {run.status for run in Run.objects.filter(pk__in=[run.pk for run in more])} == {"READY"}
    failed.refresh_from_db()
    assert failed.status == Status.FAILED


@pytest.mark.parametrize("options", [{}, {"dark": True, "width": 390}])
def test_the_list_is_filtered_by_what_is_written_and_paged_through(
    open_page, make_run, failed, monkeypatch, options
):
    monkeypatch.setattr(RunAdmin, "list_per_page", 5)
    for _ in range(7):
        make_run()
    page = open_page(**options)
    page.goto(LIST)
    rows = page.locator("#result_list tbody tr")

    page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="Newer").click()
    expect(rows).to_have_count(5)
    page.get_by_label("Search").fill("tag:x status:fai")
    assert page.locator("#jobs-prefixes option").evaluate_all("nodes => nodes.map((node) => node.value)") == [
        "tag:x status:failed"
    ]
    page.get_by_label("Search").fill('error:"NO SUM"')
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("nightly")
    expect(page.locator(".jobs-chip")).to_contain_text("NO SUM")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_accessible(page, within="#content")
    page.locator(".jobs-chip a").click()
    expect(rows).to_have_count(5)


def test_the_list_is_filtered_and_acted_on_without_scripts(open_page, make_run, failed):
    make_run(queue_name="mail")
    page = open_page(scripts=False)
    page.goto(LIST)

    page.locator(".jobs-filter summary").click()
    page.get_by_role("combobox", name="Status").select_option("FAILED")
    page.get_by_role("button", name="Filter").click()
    page.get_by_label(f"Select run {failed.pk}").check()
    page.get_by_role("button", name="Retry").click()

    expect(page.locator(".messagelist")).to_contain_text("1 run is tried again.")
    failed.refresh_from_db()
    assert failed.status == Status.READY


def test_rows_are_chosen_one_by_one_from_one_to_another_and_all(page, make_run):
    for _ in range(5):
        make_run()
    page.goto(LIST)
    boxes, counter = page.locator("input.jobs-select"), page.locator(".jobs-counter")
    expect(counter).to_have_text("0 of 5 selected")

    boxes.nth(1).check()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(counter).to_have_text("3 of 5 selected")
    page.get_by_label("Select all runs on this page").check()
    expect(counter).to_have_text("5 of 5 selected")
    boxes.nth(0).uncheck()
    expect(page.get_by_label("Select all runs on this page")).not_to_be_checked()


def test_what_matches_is_exported_as_a_file(page, failed, make_run):
    make_run()
    page.goto(f"{LIST}?error=sum")

    with page.expect_download() as download:
        page.get_by_role("link", name="Export JSON").click()

    with open(download.value.path()) as file:  # noqa: PTH123 - the path is a stand-in's
        (row,) = json.load(file)
    assert row["id"] == failed.pk
    assert row["args"] == [1, "two"]


def test_an_error_and_a_call_are_copied(page, failed, until):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    def clipboard():
        return page.evaluate("navigator.clipboard.readText()")

    # What a live update draws again says "Copied" no longer: the clipboard does.
    page.goto(f"{LIST}errors/")
    page.get_by_role("button", name="Copy TypeError").click()
    error = "TypeError at tests.probes.jobs:add\nTypeError: no sum of these\n1 failed"
    until(lambda: clipboard().startswith(error))
    page.locator("a.jobs-name").click()
    page.get_by_role("link", name=str(failed.pk), exact=True).click()
    page.get_by_text("Copy as JSON, Python or a command").click()
    page.get_by_role("button", name="Copy Python").click()
    until(lambda: clipboard() == "from tests.probes.jobs import add\n\nadd(1, 'two')")


def test_without_scripts_errors_lead_to_their_retry_and_what_can_be_copied_is_text(open_page, failed):
    page = open_page(scripts=False)

    page.goto(page_of(failed))
    page.get_by_text("Copy as JSON, Python or a command").click()
    expect(page.locator("#jobs-copy-cli")).to_have_text(
        "manage.py jobs add tests.probes.jobs:add 1 '\"two\"'"
    )
    expect(page.get_by_role("button", name="Copy CLI")).to_be_hidden()
    page.goto(f"{LIST}errors/")
    page.get_by_role("link", name="Retry all with TypeError").click()
    page.get_by_role("button", name="Retry").click()

    expect(page.locator(".messagelist")).to_contain_text("in the background")
