from datetime import UTC, date, datetime, timedelta

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from django.db import connection
from django.utils import timezone

from django_jobs import triggers
from django_jobs.exceptions import ConflictingIdError
from django_jobs.models import Job, Run
from django_jobs.scheduler import occurrences, schedule_edits
from django_jobs.scheduler.occurrences import fire_due

pytestmark = pytest.mark.django_db


def past(**delta):
    return timezone.now() - timedelta(**delta)


def test_a_one_off_with_the_id_and_time_of_one_that_fired_is_fired_too(manager, probes):
    at = past(seconds=5)
    manager.add_scheduled_job(probes.mark, at, "first", job_id="x")
    fire_due("default")
    Run.objects.update(status="SUCCESSFUL", finished_at=timezone.now())

    manager.add_scheduled_job(probes.mark, at, "second", job_id="x")
    fire_due("default")

    assert [run.scheduled_at for run in Run.objects.all()] == [at, at]
    assert not Job.objects.exists()
    assert manager.get_job("x")["args"] == ["second"]


def test_a_one_off_that_replaces_one_that_fired_at_its_time_is_fired(manager, probes):
    at = past(seconds=5)
    manager.add_scheduled_job(probes.mark, at, "first", job_id="x")
    fire_due("default")

    manager.using(on_conflict="replace").add_scheduled_job(probes.mark, at, "second", job_id="x")
    fire_due("default")

    assert [run.status for run in Run.objects.order_by("id")] == ["CANCELLED", "READY"]
    assert manager.get_job("x")["args"] == ["second"]


def test_an_edit_to_a_time_that_has_fired_fires_it_again(manager, probes, make_job):
    at = past(seconds=5)
    make_job(id="x", next_run_time=at, trigger=triggers.interval(3600), max_instances=5)
    fire_due("default")

    assert schedule_edits.edit("x", next_run_time=at)
    fire_due("default")
    assert schedule_edits.edit("x", trigger=triggers.at(at))
    fire_due("default")

    assert [run.scheduled_at for run in Run.objects.all()] == [at] * 3


@pytest.mark.parametrize("is_of_an_old_version", [False, True])
def test_a_later_job_of_an_id_is_not_fired_twice_when_it_is_set_back(
    make_job, make_run, is_of_an_old_version
):
    at = past(seconds=5)
    plain_key = f"f:x@{int(at.timestamp() * 1_000_000)}"
    make_run(job_id="x", unique_key=plain_key, enqueued_at=past(seconds=4), status="SUCCESSFUL")
    job = make_job(
        id="x", next_run_time=at, occurrences_since=None if is_of_an_old_version else past(seconds=1)
    )

    for _ in range(2):
        fire_due("default")
        Job.objects.filter(pk="x").update(next_run_time=at)

    (run,) = Run.objects.filter(scheduled_at=at)
    assert run.unique_key not in {None, plain_key}
    assert run.job_id == job.pk


def test_a_time_that_a_clock_of_the_version_before_fired_is_not_fired_again(make_job, make_run):
    at = past(seconds=5)
    make_job(id="x", next_run_time=at, occurrences_since=past(seconds=10))
    # As it writes it: the key has the id and the time, and nothing else.
    make_run(job_id="x", scheduled_at=at, unique_key=f"f:x@{int(at.timestamp() * 1_000_000)}")

    fire_due("default")

    assert Run.objects.count() == 1
    assert Job.objects.get().next_run_time > timezone.now()


def test_the_first_key_of_a_time_is_the_one_that_the_version_before_would_write(make_job):
    at = past(seconds=5)
    make_job(id="x", next_run_time=at, occurrences_since=past(seconds=1))

    fire_due("default")

    assert Run.objects.get().unique_key == f"f:x@{int(at.timestamp() * 1_000_000)}"


def test_ids_that_a_database_takes_for_equal_do_not_end_the_round(make_job, make_run):
    at = past(seconds=5)
    make_run(job_id="Report", unique_key=f"f:Report@{int(at.timestamp() * 1_000_000)}", status="SUCCESSFUL")
    make_job(id="report", next_run_time=at)

    assert fire_due("default") == 1

    assert Run.objects.filter(scheduled_at=at).count() == 1


def test_a_changed_start_date_is_heeded_by_adding_again_and_by_an_edit(manager, probes):
    def monthly(day):
        return CalendarIntervalTrigger(months=1, start_date=date(2090, 1, day), hour=3, timezone="UTC")

    manager.add_job(probes.mark, monthly(1), job_id="x")
    manager.add_job(probes.mark, monthly(15), job_id="x")
    assert Job.objects.get().next_run_time == datetime(2090, 1, 15, 3, tzinfo=UTC)

    assert schedule_edits.edit("x", trigger=triggers.check(monthly(20)))

    assert Job.objects.get().next_run_time == datetime(2090, 1, 20, 3, tzinfo=UTC)


def test_adding_again_puts_a_next_run_right_that_a_clock_ahead_left_behind(manager, probes):
    manager.add_cron_job(probes.mark, "0 3 * * *", job_id="x")
    right = Job.objects.get().next_run_time
    Job.objects.update(next_run_time=right + timedelta(days=800))

    manager.add_cron_job(probes.mark, "0 3 * * *", job_id="x")

    assert Job.objects.get().next_run_time == right


def test_adding_again_keeps_a_next_run_that_a_person_chose(manager, probes):
    manager.add_cron_job(probes.mark, "0 3 * * *", job_id="x")
    chosen = timezone.now() + timedelta(days=800)
    schedule_edits.edit("x", next_run_time=chosen)

    for _ in range(2):
        manager.add_cron_job(probes.mark, "0 3 * * *", job_id="x")

    assert Job.objects.get().next_run_time == chosen


def test_a_next_run_stored_by_rules_that_changed_fires_once_and_at_the_right_time(make_job):
    berlin = triggers.crontab("0 9 * * *", "Europe/Berlin")
    right = datetime(2026, 12, 1, 8, tzinfo=UTC)
    # As if the zone had been an hour further east when it was stored.
    make_job(id="x", trigger=berlin, next_run_time=right - timedelta(hours=1))
    job = Job.objects.get()

    due = occurrences._due_job(job, right - timedelta(minutes=59))

    assert (due.times, due.next_run_time) == ([], right)


needs_a_loose_collation = pytest.mark.skipif(
    connection.vendor != "mysql", reason="this database compares ids exactly"
)


@needs_a_loose_collation
@pytest.mark.parametrize("on_conflict", [None, "skip", "replace", "raise"])
def test_an_id_that_the_database_takes_for_equal_overwrites_no_job(manager, probes, on_conflict):
    later = timezone.now() + timedelta(days=1)
    manager.add_recurring_job(probes.mark, 60, "theirs", job_id="müller")
    manager.add_scheduled_job(probes.mark, later, "theirs", job_id="Report")
    manager.add_immediate_job(probes.mark, "theirs", job_id="now")
    enqueuer = manager.using(on_conflict=on_conflict)

    for add in (
        lambda job_id: enqueuer.add_recurring_job(probes.mark, 60, job_id=job_id),
        lambda job_id: enqueuer.add_scheduled_job(probes.mark, later, job_id=job_id),
        lambda job_id: enqueuer.add_immediate_job(probes.mark, job_id=job_id),
    ):
        for job_id in ("muller", "report", "NOW"):
            with pytest.raises(ConflictingIdError, match="same id"):
                add(job_id)

    assert sorted(Job.objects.values_list("id", flat=True)) == ["Report", "müller"]
    assert list(Run.objects.values_list("job_id", "status")) == [("now", "READY")]


@needs_a_loose_collation
def test_a_job_is_not_paused_removed_or_shown_for_an_id_that_the_database_takes_for_equal(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="müller")
    manager.add_immediate_job(probes.mark, job_id="Report")

    for job_id in ("muller", "report"):
        assert manager.get_job(job_id) is None
        assert not manager.pause_job(job_id)
        assert not manager.cancel_job(job_id)
        assert not manager.remove_job(job_id)

    assert manager.get_job("müller")["status"] == "scheduled"
    assert manager.get_job("Report")["status"] == "queued"


def test_a_recurring_job_does_not_delete_the_pending_one_off_of_its_id(manager, probes):
    later = timezone.now() + timedelta(days=1)
    manager.add_scheduled_job(probes.mark, later, job_id="x")

    with pytest.raises(ConflictingIdError):
        manager.add_recurring_job(probes.mark, 60, job_id="x")
    manager.using(on_conflict="skip").add_recurring_job(probes.mark, 60, job_id="x")

    job = Job.objects.get()
    assert (job.kind, job.next_run_time) == ("scheduled", later)


def test_a_recurring_job_replaces_the_pending_one_off_of_its_id_when_told_to(manager, probes):
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(days=1), job_id="x")

    manager.using(on_conflict="replace").add_recurring_job(probes.mark, 60, job_id="x")

    assert Job.objects.get().kind == "recurring"


@pytest.mark.parametrize("kind", ["immediate", "scheduled"])
def test_on_conflict_holds_for_a_recurring_job_whose_id_an_unfinished_run_has(
    manager, probes, make_run, kind
):
    make_run(job_id="x", kind=kind)

    with pytest.raises(ConflictingIdError):
        manager.add_recurring_job(probes.mark, 60, job_id="x")
    manager.using(on_conflict="skip").add_recurring_job(probes.mark, 60, job_id="x")
    assert not Job.objects.exists()
    manager.using(on_conflict="replace").add_recurring_job(probes.mark, 60, job_id="x")

    assert Job.objects.get().kind == "recurring"
    assert Run.objects.get().status == "CANCELLED"


def test_a_recurring_job_that_was_removed_may_come_back_while_its_run_goes_on(manager, probes, make_run):
    make_run(job_id="x", kind="recurring", status="RUNNING")

    manager.add_recurring_job(probes.mark, 60, job_id="x")

    assert Job.objects.exists()
