"""The pages of jobs, as people use them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from django_jobs import triggers
from django_jobs.models import Job, Run, Status
from tests.browser.accessibility import assert_accessible
from tests.browser.playwright_thread import expect
from tests.probes import signatures as probes

JOB = "/admin/django_jobs/job/nightly/change/"


@pytest.fixture
def nightly(make_job, make_run):
    """A job with a history of all kinds of outcomes."""
    now = timezone.now()
    ends = [Status.SUCCESSFUL, Status.FAILED, Status.SKIPPED, Status.CANCELLED, *[Status.SUCCESSFUL] * 12]
    for number, status in enumerate(ends):
        start = now - timedelta(hours=20 - number)
        times = {"started_at": start, "finished_at": start + timedelta(seconds=20 + 7 * (number % 5))}
        make_run(job_id="nightly", status=status, error="no good" if status == Status.FAILED else "", **times)
    run = make_run(job_id="nightly", status=Status.RUNNING)
    trigger = triggers.crontab("30 3 * * mon-fri", "Europe/Berlin")
    return make_job(
        id="nightly", trigger=trigger, last_run=run, next_run_time=now + timedelta(minutes=5, seconds=5)
    )


def test_a_schedule_is_previewed_and_saved(page, nightly):
    page.goto(JOB)
    page.get_by_role("link", name="Edit schedule").click()
    expect(page.get_by_label("Crontab expression")).to_have_value("30 3 * * mon-fri")
    expect(page.get_by_role("spinbutton", name="Every")).to_be_hidden()

    page.get_by_label("Every so many days").check()
    expect(page.get_by_label("First day")).to_be_visible()
    expect(page.get_by_label("Time zone")).to_be_visible()
    expect(page.get_by_label("Crontab expression")).to_be_hidden()
    assert_accessible(page, within="#content")

    page.get_by_label("Again and again").check()
    expect(page.get_by_label("Crontab expression")).to_be_hidden()
    page.get_by_role("spinbutton", name="Every").fill("2")
    page.get_by_role("combobox", name="Unit").select_option("hours")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".jobs-firings time")).to_have_count(5)
    assert_accessible(page, within="#content")
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".messagelist .success")).to_contain_text("to “every 2 hours”")
    job = Job.objects.get()
    assert triggers.describe(triggers.loads(job.job_state)) == "every 2 hours"


def test_a_job_is_added_by_a_form_made_from_its_function(page):
    page.goto("/admin/django_jobs/job/")
    page.get_by_role("link", name="Add job").click()
    page.get_by_label("Function").fill("signatures:rest")
    page.get_by_role("button", name="Search").click()
    assert_accessible(page, within="#content")
    page.get_by_role("link", name="rest", exact=True).click()

    page.get_by_label("Id:").fill("mine")
    page.get_by_role("spinbutton", name="Every").fill("90")
    page.get_by_role("button", name="Add job").click()
    expect(page.locator("#content .errorlist").first).to_contain_text("This field is required.")
    assert_accessible(page, within="#content")
    page.get_by_label("first:").fill("7")
    page.get_by_role("button", name="Add job").click()

    expect(page.locator(".messagelist .success")).to_contain_text("The job was added.")
    expect(page.locator(".field-schedule")).to_contain_text("every 1 hour 30 minutes")
    assert Job.objects.get().func == f"{probes.__name__}:rest"


def test_a_job_is_run_paused_and_resumed(page, nightly):
    page.goto(JOB)

    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".messagelist")).to_contain_text("1 job runs now.")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".jobs-job-head")).to_contain_text("by ")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()

    assert Run.objects.ready().filter(job_id="nightly").count() == 1
    assert Job.objects.get().status == "scheduled"


@pytest.mark.parametrize(
    "look",
    [
        {},
        {"dark": True},
        {"width": 390},
        {"width": 390, "dark": True, "locale": "ar"},
    ],
)
@pytest.mark.parametrize("path", [JOB, JOB.replace("change", "schedule"), "/admin/django_jobs/job/"])
def test_the_pages_are_accessible_and_fit_the_screen(open_page, nightly, path, look):
    page = open_page(**look)

    page.goto(path)

    assert_accessible(page, within="#content")
    if path != "/admin/django_jobs/job/":  # stock admin scrolls its lists sideways
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_editing_works_without_scripts(open_page, nightly):
    page = open_page(scripts=False)

    page.goto(JOB.replace("change", "schedule"))
    page.get_by_label("Once, at a time").check()
    page.locator("[name=at_0]").fill("2031-05-06")
    page.locator("[name=at_1]").fill("07:08")
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".messagelist .success")).to_contain_text("once at 2031-05-06 07:08 UTC")
    assert Job.objects.get().next_run_time == datetime(2031, 5, 6, 7, 8, tzinfo=UTC)


def test_words_and_times_follow_what_is_typed(page, nightly):
    page.goto(JOB.replace("change", "schedule"))

    page.locator("[name=kind][value=cron]").check()
    page.locator("[name=expression]").fill("15 4 * * mon-fri")

    expect(page.locator(".jobs-words")).to_contain_text("at 04:15 on weekdays")
    expect(page.locator(".jobs-preview li")).to_have_count(5)
    assert Job.objects.get().status == "scheduled"
