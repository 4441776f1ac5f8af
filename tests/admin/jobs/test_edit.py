import re
from datetime import UTC, date, datetime, timedelta
from html import unescape

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.cron import CronTrigger
from django.utils import timezone

from django_jobs import Retry, triggers
from django_jobs.admin.jobs import crontab_text
from django_jobs.models import Job
from django_jobs.registry.retry import to_json
from django_jobs.scheduler import schedule_edits
from tests.admin.pages import unescaped_text_of

DECLARED = {
    "trigger": triggers.rule(triggers.interval(60)),
    "queue_name": "default",
    "priority": 0,
    "max_instances": 1,
    "retry": None,
}


def filled_in(response):
    """Return what a browser would send of the form on a page."""
    data = {}
    for field in (field for adminform in response.context["adminforms"] for field in adminform.form):
        for tag in re.findall(r"<(?:input|select)[^>]*>(?:.*?</select>)?", str(field), re.DOTALL):
            name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
            if tag.startswith("<select"):
                value = re.search(r'value="([^"]*)" selected', tag)
            elif 'type="radio"' in tag and "checked" not in tag:
                continue
            elif 'type="checkbox"' in tag:
                value = re.search(r"(checked)", tag)
                if value is None:
                    continue
            data[name[1]] = unescape(value[1]) if value else ""
    return data


@pytest.fixture
def submit(root, page_url):
    """Return a function that opens the form of a job, changes some fields and presses a button."""

    def press(job, button="_save", client=root, meanwhile=None, **changes):
        url = page_url(job, "schedule")
        data = {**filled_in(client.get(url)), **changes, button: "1"}
        if meanwhile:
            meanwhile()
        return client.post(url, data)

    return press


def trigger_of(job):
    return triggers.describe(triggers.loads(Job.objects.get(pk=job.pk).job_state))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "interval", "every": "45", "unit": "minutes"}, "every 45 minutes"),
        ({"kind": "interval", "every": "0.5", "unit": "seconds"}, "every 0.5 seconds"),
        (
            {"kind": "cron", "expression": "30 3 * * mon-fri", "zone": "Europe/Berlin"},
            "at 03:30 on weekdays (Europe/Berlin)",
        ),
        ({"kind": "cron", "expression": "@daily", "zone": ""}, "at 00:00 every day"),
        (
            {"kind": "interval", "every": "6", "unit": "hours", "anchor": "03:00", "zone": "Europe/Berlin"},
            "at 03:00, 09:00, 15:00 and 21:00 every day (Europe/Berlin)",
        ),
        (
            {
                "kind": "interval",
                "every": "36",
                "unit": "hours",
                "starts_0": "2126-01-01",
                "starts_1": "03:00",
                "times": "3",
            },
            "every 1 day 12 hours, from 2126-01-01 03:00 UTC, until 2126-01-04 03:00 UTC",
        ),
        (
            {
                "kind": "calendar",
                "count": "1",
                "span": "months",
                "first_day": "2026-01-01",
                "time_of_day": "06:00",
                "zone": "Europe/Berlin",
                "ends_0": "2126-01-01",
                "ends_1": "12:00",
            },
            "every month on day 1 at 06:00 (Europe/Berlin), until 2126-01-01",
        ),
        (
            {
                "kind": "cron",
                "expression": "30 2 * * *",
                "zone": "Europe/Berlin",
                "repeats": "on",
                "starts_0": "2126-01-01",
                "starts_1": "00:00",
            },
            "at 02:30 every day (Europe/Berlin), twice where the clocks repeat a time, "
            "from 2126-01-01 01:00 (Europe/Berlin)",
        ),
        ({"kind": "once", "at_0": "2031-05-06", "at_1": "07:08:09"}, "once at 2031-05-06 07:08:09 UTC"),
    ],
)
def test_a_schedule_is_changed(submit, page_url, make_job, said, logged, changes, words):
    job = make_job()

    response = submit(job, **changes)

    assert response.url == page_url(job)
    assert trigger_of(job) == words
    assert f"trigger from “every minute” to “{words}”" in said(response)
    assert logged(job)[0].startswith(f"Rescheduled: trigger from “every minute” to “{words}”; next run from ")
    job.refresh_from_db()
    assert job.next_run_time == triggers.first(triggers.loads(job.job_state), job.next_run_time)
    assert job.kind == ("scheduled" if "once" in words else "recurring")


def test_only_what_was_changed_is_written_and_logged(submit, make_job, said, logged):
    job = make_job(queue_name="mail", options={"timeout": 5})

    response = submit(job, priority="7")

    before, job = job, Job.objects.get(pk=job.pk)
    assert (job.priority, job.queue_name, job.options) == (7, "mail", {"timeout": 5})
    assert (job.job_state, job.next_run_time) == (before.job_state, before.next_run_time)
    assert said(response) == "Changed: priority from “0” to “7”."
    assert logged(job) == ["Rescheduled: priority from “0” to “7”."]


def test_saving_without_a_change_changes_and_logs_nothing(submit, make_job, said, logged):
    job = make_job(options={"retry": to_json(Retry(max_attempts=4))})

    assert said(submit(job)) == "Nothing was changed."
    assert logged(job) == []


def test_what_changed_since_the_page_was_opened_is_not_changed_back(submit, make_job):
    job = make_job()
    fired = job.next_run_time + timedelta(minutes=1)

    def fire_and_reprioritise():
        Job.objects.filter(pk=job.pk).update(next_run_time=fired, priority=50)

    submit(job, meanwhile=fire_and_reprioritise, max_instances="3")

    job.refresh_from_db()
    assert (job.max_instances, job.priority, job.next_run_time) == (3, 50, fired)


def test_the_next_run_can_be_chosen(submit, make_job):
    job = make_job()

    submit(job, next_run_0="2031-01-02", next_run_1="03:04:05")

    job.refresh_from_db()
    assert job.next_run_time == datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert trigger_of(job) == "every minute"


def test_times_are_read_in_the_zone_of_the_page(submit, make_job, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    job = make_job()

    submit(job, next_run_0="2031-01-02", next_run_1="09:00:00")

    job.refresh_from_db()
    assert job.next_run_time == datetime(2031, 1, 2, tzinfo=UTC)


def test_a_retry_policy_is_changed_and_keeps_what_the_code_says_of_it(submit, make_job, said):
    policy = Retry(max_attempts=3, on=("tests.probes.jobs:Odd",), jitter=0.5)
    job = make_job(options={"retry": to_json(policy), "timeout": 9})

    response = submit(job, attempts="5", delay="1", backoff="fixed", max_delay="60")

    job.refresh_from_db()
    assert job.options["timeout"] == 9
    assert {**job.options["retry"], "on": [], "jitter": 0} == to_json(
        Retry(max_attempts=5, delay=1, backoff="fixed", max_delay=60, jitter=0, on=())
    )
    assert job.options["retry"]["on"] == ["tests.probes.jobs:Odd"]
    assert job.options["retry"]["jitter"] == 0.5
    assert "to “up to 5 attempts, the second after 1.0 s, each time the same, 1 min 0 s at most”" in said(
        response
    )


def test_one_attempt_is_no_retry(submit, make_job):
    job = make_job(options={"retry": to_json(Retry())})

    submit(job, attempts="1")

    job.refresh_from_db()
    assert job.options is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "interval", "every": ""}, "Fill this in"),
        ({"kind": "interval", "every": "-1"}, "greater than or equal to 0.001"),
        ({"kind": "interval", "every": "nan"}, "Enter a number"),
        ({"kind": "interval", "every": "1e300", "unit": "weeks"}, "longer than 100 years"),
        ({"kind": "interval", "every": "200000", "unit": "weeks"}, "longer than 100 years"),
        ({"kind": "cron", "expression": ""}, "Fill this in"),
        ({"kind": "cron", "expression": "61 * * * *"}, "minute 61 is outside 0-59"),
        ({"kind": "cron", "expression": "0 0 30 2 *"}, "never fires"),
        (
            {"kind": "cron", "expression": "0 3 * * *", "ends_0": "2020-01-01", "ends_1": "00:00"},
            "this trigger never fires",
        ),
        ({"kind": "interval", "every": "45", "anchor": "03:00"}, "divides an hour or a day"),
        ({"kind": "interval", "every": "45", "times": "5"}, "Say from when they are counted"),
        ({"kind": "interval", "every": "1", "unit": "seconds", "jitter": "5"}, "less than the interval"),
        ({"kind": "calendar", "count": "2", "first_day": ""}, "Fill this in, or"),
        ({"kind": "calendar", "count": "0", "first_day": "2026-01-01"}, "greater than or equal to 1"),
        ({"kind": "cron", "expression": "@daily", "zone": "Mars/Base"}, "time zone 'Mars/Base' is not known"),
        ({"kind": "once", "at_0": "2001-01-01", "at_1": "00:00"}, "This time is past."),
        ({"kind": "once", "at_0": "soon", "at_1": ""}, "Enter a valid date"),
        ({"kind": "never"}, "Select a valid choice"),
        ({"next_run_0": "2001-01-01", "next_run_1": "00:00"}, "use “Run now”"),
        ({"next_run_0": "", "next_run_1": ""}, "Say when"),
        ({"queue_name": ""}, "This field is required"),
        ({"priority": "101"}, "less than or equal to 100"),
        ({"max_instances": "0"}, "greater than or equal to 1"),
        ({"attempts": "0"}, "greater than or equal to 1"),
        ({"attempts": "2", "delay": "90", "max_delay": "5"}, "raise max_delay"),
    ],
)
@pytest.mark.parametrize("button", ["_save", "_preview"])
def test_a_mistake_is_said_and_nothing_is_changed(submit, make_job, logged, changes, words, button):
    job = make_job()

    text = unescaped_text_of(submit(job, button, **changes))

    assert words in text
    before, job = job, Job.objects.get(pk=job.pk)
    assert (job.job_state, job.next_run_time, job.priority, job.options) == (
        before.job_state, before.next_run_time, 0, None,
    )  # fmt: skip
    assert logged(job) == []


def test_what_another_way_to_fire_would_need_does_not_matter(submit, make_job):
    job = make_job()

    submit(job, kind="interval", every="5", unit="hours", expression="nonsense " * 50, at_0="soon")

    assert trigger_of(job) == "every 5 hours"


def test_the_preview_shows_the_next_five_firings_and_changes_nothing(submit, make_job, logged):
    job = make_job()

    text = unescaped_text_of(
        submit(job, "_preview", kind="cron", expression="0 4 1 1 *", zone="Europe/Berlin", priority="3")
    )

    year = timezone.now().year + 1
    for later in range(5):
        assert f"{year + later}-01-01 03:00:00</time>" in text
    assert f"{year + 5}-01-01" not in text
    assert 'value="0 4 1 1 *"' in text
    assert trigger_of(job) == "every minute"
    assert logged(job) == []


def test_the_preview_goes_on_from_a_chosen_next_run(submit, make_job):
    text = unescaped_text_of(submit(make_job(), "_preview", next_run_0="2031-01-02", next_run_1="03:00:00"))

    for minute in range(5):
        assert f"2031-01-02 03:0{minute}:00</time>" in text


def test_the_form_shows_the_firings_that_there_are(root, page_url, make_job):
    job = make_job(next_run_time=datetime(2031, 1, 2, tzinfo=UTC))

    text = unescaped_text_of(root.get(page_url(job, "schedule")))

    assert text.count("2031-01-02 00:0") == 5


def test_an_interval_goes_on_from_its_next_run_in_the_preview(submit, make_job):
    job = make_job(trigger=triggers.interval(3600), next_run_time=datetime(2031, 1, 2, 0, 30, tzinfo=UTC))

    text = unescaped_text_of(submit(job, "_preview", priority="1"))

    assert "2031-01-02 04:30:00</time>" in text


@pytest.mark.parametrize(
    "trigger",
    [
        CalendarIntervalTrigger(months=2, days=1, start_date=date(2026, 1, 1), timezone=UTC),
        CronTrigger(hour=3, day="last", timezone=UTC),
        CronTrigger(hour=3, timezone=UTC, jitter=5),
        CronTrigger(hour=3, timezone=UTC, end_date=datetime(2040, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_trigger_that_the_fields_cannot_say_is_kept_or_replaced(submit, root, page_url, make_job, trigger):
    job = make_job(trigger=trigger, next_run_time=datetime(2031, 1, 2, tzinfo=UTC))
    words = trigger_of(job)
    assert f"As it is: {words}" in unescaped_text_of(root.get(page_url(job, "schedule")))

    submit(job, priority="1")
    assert (trigger_of(job), Job.objects.get().priority) == (words, 1)

    submit(job, kind="interval", every="2", unit="hours")
    assert trigger_of(job) == "every 2 hours"


LIMITS = {"start": date(2126, 1, 1), "end": date(2226, 1, 1), "jitter": 5}


@pytest.mark.parametrize(
    "trigger",
    [
        triggers.interval(3600, **LIMITS),
        triggers.interval(3600, jitter=5),
        triggers.crontab("30 2 * * *", "Europe/Berlin", repeats=True, **LIMITS),
        triggers.crontab("0 3 1 * mon", **LIMITS),
        triggers.anchored(timedelta(hours=6), "03:00", **LIMITS),
        triggers.calendar(months=2, start=date(2026, 1, 31), at="06:00:30", end=date(2226, 1, 1), jitter=5),
        triggers.calendar(weeks=2, start=date(2026, 1, 5), timezone="Europe/Berlin"),
    ],
    ids=triggers.describe,
)
def test_limits_come_back_in_the_form_and_stay_where_another_is_changed(submit, make_job, trigger, said):
    job = make_job(trigger=trigger, next_run_time=datetime(2131, 1, 2, tzinfo=UTC))

    assert said(submit(job)) == "Nothing was changed."
    assert "</time>" in unescaped_text_of(submit(job, "_preview"))
    submit(job, jitter="7")

    changed = triggers.loads(Job.objects.get(pk=job.pk).job_state)
    assert changed.jitter == 7
    assert (
        triggers.describe(changed).partition(", up to")[0]
        == triggers.describe(trigger).partition(", up to")[0]
    )


@pytest.mark.parametrize(
    "expression",
    [
        "*/5 * * * *",
        "30 3 * * 1-5",
        "0 3 1 * mon",
        "0 0 1,15 * *",
        "*/7 * * * 0",
        "0 9-17 * 6-8 *",
        "@yearly",
        "0 6 L * *",
        "0 6 1,LW,15W * *",
        "0 6 * * fri#2,monL",
        "0 6 L * wed,fri#2",
        "0 6 L * 1-5",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30"])
def test_a_crontab_comes_back_as_an_expression(expression, zone):
    trigger = triggers.crontab(expression, zone)

    written = crontab_text.of(trigger)

    assert triggers.rule(triggers.crontab(*written)) == triggers.rule(trigger)


def test_a_paused_job_has_no_next_run_to_choose_and_stays_paused(submit, root, page_url, make_job):
    job = make_job(next_run_time=None, paused_at=timezone.now())
    assert 'name="next_run_0"' not in unescaped_text_of(root.get(page_url(job, "schedule")))

    assert "</time>" in unescaped_text_of(submit(job, "_preview", every="5"))
    submit(job, every="5")

    job.refresh_from_db()
    assert (job.status, trigger_of(job)) == ("paused", "every 5 minutes")


def test_a_next_run_chosen_while_somebody_pauses_is_not_taken(submit, make_job, manager, said):
    job = make_job()

    response = submit(
        job, meanwhile=lambda: manager.pause_job(job.pk), next_run_0="2031-01-02", next_run_1="03:00"
    )

    job.refresh_from_db()
    assert job.status == "paused"
    assert said(response) == "Nothing was changed."


def test_what_is_refused_at_the_last_moment_is_said(submit, make_job, monkeypatch, logged):
    def refuse(job_id, **changes):
        raise ValueError(f"job {job_id!r} is paused, so it has no next run: resume it first")

    monkeypatch.setattr(schedule_edits, "edit", refuse)
    job = make_job()

    text = unescaped_text_of(submit(job, next_run_0="2031-01-02", next_run_1="03:00"))

    assert "resume it first" in text
    assert logged(job) == []


def test_a_job_that_goes_at_the_last_moment_is_said_to_be_gone(submit, make_job, monkeypatch, said):
    monkeypatch.setattr(schedule_edits, "edit", lambda job_id, **changes: False)

    assert said(submit(make_job(), priority="3")) == "The job is gone: nothing was changed."


def test_a_job_whose_trigger_cannot_be_read_is_given_another(submit, make_job, page_url):
    job = make_job(job_state=b"garbage", broken_reason="unreadable", next_run_time=None)

    response = submit(job, kind="interval", every="5", unit="minutes")

    assert response.url == page_url(job)
    job.refresh_from_db()
    assert (job.status, trigger_of(job)) == ("scheduled", "every 5 minutes")


def test_a_paused_job_whose_trigger_is_mended_stays_paused(submit, make_job):
    job = make_job(
        job_state=b"garbage", broken_reason="unreadable", next_run_time=None, paused_at=timezone.now()
    )

    submit(job, kind="interval", every="5", unit="minutes")

    job.refresh_from_db()
    assert job.status == "paused"


def test_a_job_that_another_trigger_does_not_mend_says_so(submit, make_job, said):
    job = make_job(signature="of another key", broken_reason="signed with another key")

    text = said(submit(job, kind="interval", every="5", unit="minutes"))

    assert "The job is still broken: " in text
    job.refresh_from_db()
    assert (job.status, trigger_of(job)) == ("broken", "every 5 minutes")


def test_a_declared_job_is_overridden_and_goes_back(submit, root, page_url, make_job):
    job = make_job(id="tick", declared=DECLARED)
    assert 'value="once"' not in unescaped_text_of(root.get(page_url(job, "schedule")))

    submit(job, kind="cron", expression="0 4 * * *", attempts="3")

    job.refresh_from_db()
    assert job.overridden == ["retry", "trigger"]
    assert "retry (the code says: never)" in unescaped_text_of(root.get(page_url(job)))
    schedule_edits.reset("tick")
    job.refresh_from_db()
    assert (job.overridden, job.options, trigger_of(job)) == ([], None, "every minute")


def test_a_job_that_is_gone_is_said_to_be(root, page_url, make_job, said):
    job = make_job()
    url = page_url(job, "schedule")
    Job.objects.all().delete()

    assert "Perhaps it was deleted" in said(root.get(url))
    assert "Perhaps it was deleted" in said(root.post(url, {"_save": "1"}))


@pytest.mark.parametrize("permissions", [["view_job"], ["view_job", "run_job"], ["view_job", "add_job"]])
def test_who_may_not_manage_cannot_edit(client_of, page_url, make_job, permissions):
    client, job = client_of(*permissions), make_job()

    assert "Edit schedule" not in unescaped_text_of(client.get(page_url(job)))
    assert client.get(page_url(job, "schedule")).status_code == 403
    assert client.post(page_url(job, "schedule"), {"_save": "1", "priority": "5"}).status_code == 403


@pytest.mark.parametrize("permission", ["manage_job", "change_job"])
def test_who_may_manage_or_change_can_edit(client_of, submit, page_url, make_job, permission):
    client, job = client_of("view_job", permission), make_job()
    assert "Edit schedule" in unescaped_text_of(client.get(page_url(job)))

    submit(job, client=client, priority="5")

    assert Job.objects.get().priority == 5


def test_the_form_needs_a_csrf_token_and_escapes(make_user, root, page_url, make_job):
    from django.test import Client

    hostile = "<script>alert('x')</script>"
    job = make_job(id=hostile, queue_name=hostile, name=hostile)
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("view_job", "manage_job"))

    assert client.post(page_url(job, "schedule"), {"_save": "1"}).status_code == 403
    raw = root.get(page_url(job, "schedule")).content.decode()
    assert hostile not in raw
    assert " style=" not in raw
    assert " onclick=" not in raw
    assert "<script>" not in raw


def test_editing_costs_a_few_queries(submit, root, page_url, make_job, django_assert_max_num_queries):
    job = make_job()
    root.get(page_url(job, "schedule"))

    with django_assert_max_num_queries(4):
        root.get(page_url(job, "schedule"))
    with django_assert_max_num_queries(15):
        submit(job, priority="3")


def test_another_expression_goes_on_leaving_out_the_dates_that_the_code_does(make_job, submit):
    trigger = triggers.leaving_out(triggers.crontab("0 6 * * *"), [date(2026, 12, 25)])
    job = make_job(id="x", trigger=trigger)

    submit(job, kind="cron", expression="30 7 * * *")

    assert trigger_of(job) == "at 07:30 every day, but not on 2026-12-25"


def test_a_preview_says_in_words_what_the_fields_come_to_also_where_another_is_wrong(
    submit, make_job, page_url, root
):
    job = make_job(trigger=triggers.interval(1800))
    assert '<p class="jobs-words">every 30 minutes</p>' in unescaped_text_of(
        root.get(page_url(job, "schedule"))
    )

    text = unescaped_text_of(
        submit(
            job, "_preview", kind="cron", expression="30 3 * * mon-fri", zone="Europe/Berlin", priority="101"
        )
    )

    assert '<p class="jobs-words">at 03:30 on weekdays (Europe/Berlin)</p>' in text
    assert "jobs-words" not in unescaped_text_of(
        submit(job, "_preview", kind="cron", expression="99 * * * *")
    )
