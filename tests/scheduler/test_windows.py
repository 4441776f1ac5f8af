"""Runs that know their time on the schedule."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from apscheduler.triggers.cron import CronTrigger
from django.utils import timezone

from django_jobs import triggers
from django_jobs.execution.context import RunContext
from django_jobs.models import Job, Run
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.testing import drain_jobs

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("trigger", "moment", "expected"),
    [
        (triggers.crontab("0 * * * *"), NOON, NOON - timedelta(hours=1)),
        (triggers.crontab("0 * * * *"), NOON + timedelta(minutes=1), NOON),
        (triggers.crontab("0 6 * * mon"), NOON, NOON.replace(hour=6)),
        (triggers.crontab("0 6 1 1 *"), NOON, datetime(2026, 1, 1, 6, tzinfo=UTC)),
        (triggers.interval(90, start=NOON - timedelta(hours=1)), NOON, NOON - timedelta(seconds=90)),
        (triggers.interval(90, start=NOON), NOON, None),
        (triggers.interval(90, start=NOON), NOON + timedelta(seconds=1), NOON),
        (triggers.calendar(start=datetime(2025, 1, 15, tzinfo=UTC).date(), months=1), NOON, datetime(2026, 5, 15, tzinfo=UTC)),
        (triggers.crontab("0 * * * *", start=NOON), NOON, None),
        (triggers.at(NOON), NOON, None),
        (CronTrigger(hour=0, timezone=UTC, jitter=600), NOON.replace(hour=0, minute=5), NOON.replace(day=31, month=5, hour=0)),
    ],
)  # fmt: skip
def test_the_time_before_one_is_found_by_the_trigger(trigger, moment, expected):
    found = triggers.previous(trigger, moment)
    assert (found and found.astimezone(UTC)) == expected


def test_the_night_that_the_clocks_change_has_a_time_before_it():
    trigger = triggers.crontab("30 2 * * *", "Europe/Berlin")
    moments = [triggers.first(trigger, datetime(2026, 3, 28, tzinfo=UTC))]
    for _ in range(3):
        moments.append(trigger.get_next_fire_time(moments[-1], moments[-1]))
    for before, after in pairwise(moments):
        assert triggers.previous(trigger, after) == before


def seen(run_id):
    """Return the two times that a run's function finds."""
    run = Run.objects.get(pk=run_id)
    context = RunContext(
        job_id=run.job_id, run_id=run_id, attempt=1, queue_name="default", max_log_bytes=1,
        scheduled_at=run.scheduled_at, missed_since=(run.options or {}).get("missed_since"),
    )  # fmt: skip
    return context.scheduled_at, context.previous_scheduled_at


def test_a_function_finds_its_scheduled_time_and_the_one_before_in_each_attempt(manager, probes):
    trigger = triggers.crontab("0 * * * *")
    manager.add_job(probes.schedule_of_run, trigger, job_id="x")
    Job.objects.filter(pk="x").update(next_run_time=NOON)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    Job.objects.filter(pk="x").update(next_run_time=hour)

    drain_jobs(fire=True)
    first = Run.objects.get()
    assert manager.get_job("x")["result"] == [hour.isoformat(), (hour - timedelta(hours=1)).isoformat()]
    Run.objects.filter(pk=first.pk).update(status="FAILED")
    manager.retry_run(first.pk)
    drain_jobs()
    assert manager.get_job("x")["result"] == [hour.isoformat(), (hour - timedelta(hours=1)).isoformat()]


def test_a_run_of_several_missed_times_has_the_time_before_the_first_of_them(make_job):
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    make_job(id="x", trigger=triggers.crontab("0 * * * *"), next_run_time=hour - timedelta(hours=48))

    fire_due("default")

    assert seen(Run.objects.get().pk) == (hour, hour - timedelta(hours=49))


def test_a_run_that_was_added_by_hand_has_neither_unless_it_is_of_a_time(make_job, manager):
    make_job(id="x", trigger=triggers.crontab("0 * * * *"))
    manager.run_job("x")
    assert seen(Run.objects.get().pk) == (None, None)
    manager.run_job("x", as_of=NOON)
    assert seen(Run.objects.last().pk) == (NOON, NOON - timedelta(hours=1))
    with pytest.raises(ValueError, match="naive"):
        manager.run_job("x", as_of=NOON.replace(tzinfo=None))


def test_a_removed_job_has_no_time_before(make_job, manager):
    make_job(id="x", trigger=triggers.crontab("0 * * * *"))
    manager.run_job("x", as_of=NOON)
    Job.objects.all().delete()
    assert seen(Run.objects.get().pk) == (NOON, None)


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_can_ask_for_the_time_before(make_job, manager):
    make_job(id="x", trigger=triggers.crontab("0 * * * *"))
    manager.run_job("x", as_of=NOON)
    run = Run.objects.get()
    context = RunContext(
        job_id="x",
        run_id=run.pk,
        attempt=1,
        queue_name="default",
        max_log_bytes=1,
        scheduled_at=run.scheduled_at,
    )

    async def ask():
        return context.previous_scheduled_at

    assert asyncio.run(ask()) == NOON - timedelta(hours=1)
