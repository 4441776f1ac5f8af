"""Dates on which a trigger does not fire."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from apscheduler.triggers.cron import CronTrigger
from django.utils import timezone

from django_jobs import cron, recurring, triggers
from django_jobs.exceptions import FunctionNotAllowed, UnknownTrigger
from django_jobs.models import Job, Run
from django_jobs.registry import schedules
from django_jobs.scheduler.occurrences import fire_due
from tests.probes import calendars, jobs

CHRISTMAS = [date(2026, 12, 25), date(2026, 12, 26)]
EVE = datetime(2026, 12, 24, 22, tzinfo=UTC)


def days(trigger, begin, count):
    moments = [triggers.first(trigger, begin)]
    while len(moments) < count:
        moments.append(trigger.get_next_fire_time(moments[-1], moments[-1]))
    return [f"{moment:%d %H:%M}" for moment in moments]


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (triggers.crontab("0 6 * * *"), ["27 06:00", "28 06:00"]),
        (triggers.crontab("0 6,18 1-31 * mon-sun"), ["27 06:00", "27 18:00"]),
        (triggers.crontab("*/30 * * * *"), ["24 22:00", "24 22:30", "24 23:00", "24 23:30", "27 00:00"]),
        (triggers.interval(7200, start=EVE), ["24 22:00", "27 00:00", "27 02:00"]),
        (triggers.interval(7200, start=EVE - timedelta(minutes=1)), ["24 23:59", "27 01:59"]),
        (triggers.calendar(start=date(2026, 12, 20), days=1, at="04:00"), ["27 04:00", "28 04:00"]),
        (triggers.calendar(start=date(2026, 12, 21), days=2), ["27 00:00", "29 00:00"]),
        (triggers.anchored(21600, "03:00"), ["27 03:00", "27 09:00"]),
    ],
)
def test_every_kind_of_trigger_passes_over_dates(trigger, expected):
    triggers.leaving_out(trigger, CHRISTMAS)
    assert days(trigger, EVE, len(expected)) == expected
    stored = triggers.loads(triggers.dumps(trigger))
    assert days(stored, EVE, len(expected)) == expected
    assert triggers.same(triggers.dumps(stored), triggers.dumps(trigger))


def test_the_dates_are_those_of_the_triggers_zone():
    trigger = triggers.leaving_out(triggers.crontab("0 0,23 * * *", "Pacific/Auckland"), [date(2026, 12, 25)])
    moments = days(trigger, datetime(2026, 12, 24, tzinfo=UTC), 3)
    assert moments == ["24 23:00", "26 00:00", "26 23:00"]


def test_a_function_says_which_dates_are_left_out():
    trigger = triggers.leaving_out(triggers.crontab("0 6 * * *"), calendars.is_holiday)
    assert days(triggers.loads(triggers.dumps(trigger)), EVE, 2) == ["27 06:00", "28 06:00"]
    assert (
        triggers.describe(trigger)
        == "at 06:00 every day, but not on dates of tests.probes.calendars:is_holiday"
    )


def test_dates_are_named_in_words():
    trigger = triggers.leaving_out(triggers.crontab("0 6 * * *"), CHRISTMAS)
    assert triggers.describe(trigger) == "at 06:00 every day, but not on 2026-12-25, 2026-12-26"
    trigger = triggers.leaving_out(trigger, [date(2026, 1, day) for day in range(1, 9)])
    assert triggers.describe(trigger).endswith("2026-01-01, 2026-01-02, 2026-01-03, ...")


def test_a_trigger_whose_dates_are_all_left_out_ends():
    trigger = triggers.leaving_out(triggers.crontab("0 6 * * *"), calendars.is_any)
    assert triggers.first(trigger, EVE) is None


@pytest.mark.parametrize(
    ("not_on", "error", "message"),
    [
        ([], ValueError, "1 to 5,000 dates"),
        ([EVE], TypeError, "not_on must be dates"),
        (25, TypeError, "not_on must be dates"),
        (lambda day: False, ValueError, "lambda"),
        ("os:abort", FunctionNotAllowed, "may not be called"),
    ],
)
def test_what_cannot_be_left_out_is_refused(not_on, error, message):
    with pytest.raises(error, match=message):
        triggers.leaving_out(triggers.crontab("0 6 * * *"), not_on)


def test_a_trigger_of_apschedulers_own_is_refused():
    with pytest.raises(TypeError, match=r"triggers of django_jobs\.triggers"):
        triggers.leaving_out(CronTrigger(hour=1), CHRISTMAS)


@pytest.mark.parametrize("state", [{"dates": ["x"]}, {"dates": 1}, {"function": 1}, []])
def test_damaged_dates_are_no_trigger(state):
    stored = triggers.dumps(triggers.crontab("0 6 * * *")).decode()
    import json

    damaged = json.dumps({**json.loads(stored), "not_on": state}).encode()
    with pytest.raises(UnknownTrigger):
        triggers.loads(damaged)


@pytest.mark.django_db
def test_a_row_cannot_have_any_function_called_by_the_clock(make_job):
    import json

    state = json.loads(triggers.dumps(triggers.crontab("* * * * *")))
    state["not_on"] = {"function": "os:abort"}
    make_job(id="x", job_state=json.dumps(state).encode(), next_run_time=timezone.now() - timedelta(hours=1))

    fire_due("default")

    assert "may not be called" in Job.objects.get().broken_reason
    assert not Run.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("coalesce", [True, False])
def test_a_clock_fires_nothing_of_a_date_that_was_left_out_meanwhile(make_job, coalesce):
    today = timezone.now().date()
    trigger = triggers.leaving_out(
        triggers.interval(3600, start=datetime(2026, 1, 1, tzinfo=UTC)), [today - timedelta(days=1)]
    )
    yesterday = datetime.combine(today - timedelta(days=1), datetime.min.time(), UTC)
    make_job(id="x", trigger=trigger, next_run_time=yesterday, coalesce=coalesce, max_instances=99)

    fire_due("default")

    fired = list(Run.objects.values_list("scheduled_at", flat=True))
    assert all(moment.date() == today for moment in fired)
    assert len(fired) == (1 if coalesce else timezone.now().hour + 1)


def test_the_time_before_passes_over_the_dates_too():
    for trigger in (triggers.crontab("0 6 * * *"), triggers.interval(86400, start=EVE - timedelta(days=9))):
        triggers.leaving_out(trigger, CHRISTMAS)
        moments = [triggers.first(trigger, EVE - timedelta(days=3))]
        for _ in range(4):
            moments.append(trigger.get_next_fire_time(moments[-1], moments[-1]))
        for before, after in pairwise(moments):
            assert triggers.previous(trigger, after) == before


def test_declared_schedules_take_them(forgotten):
    cron("0 6 * * mon-fri", timezone="Europe/Berlin", not_on=calendars.is_holiday, job_id="a")(jobs.nothing)
    recurring(hours=1, not_on=CHRISTMAS, job_id="b")(jobs.nothing)
    a, b = schedules.declarations()
    assert a.trigger.not_on.function == "tests.probes.calendars:is_holiday"
    assert b.trigger.not_on.dates == frozenset(CHRISTMAS)
    with pytest.raises(TypeError, match="leave out not_on"):
        recurring(triggers.crontab("0 6 * * *"), not_on=CHRISTMAS)
