from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jobs import codec, job
from django_jobs.models import Run, Status
from django_jobs.storage.retention import prune
from django_jobs.storage.retention.rounds import prune_in_turn
from tests.probes import jobs as probes

pytestmark = pytest.mark.django_db


@job(keep=timedelta(hours=1), keep_arguments=False)
def charge(card):
    return "charged"


@job(keep_arguments=False)
def refuse(card):
    raise ValueError("no")


def past(**times):
    Run.objects.update(**{name: timezone.now() - ago for name, ago in times.items()})


def test_a_run_notes_until_when_it_is_kept(manager, jobs):
    manager.add_immediate_job(charge, "4000-1")
    assert Run.objects.get().keep_until is None

    jobs.drain()

    run = Run.objects.get()
    assert run.status == Status.SUCCESSFUL
    assert timedelta(minutes=59) < run.keep_until - run.finished_at < timedelta(minutes=61)


def test_a_run_is_deleted_when_its_own_time_is_over_and_not_before(manager, jobs, stopped_round, settings):
    settings.DJANGO_JOBS = {"KEEP_DAYS": 0.0001, "KEEP_RUNS_PER_JOB": 1}
    manager.add_immediate_job(charge, "4000-1")
    jobs.drain()
    past(enqueued_at=timedelta(days=30), finished_at=timedelta(days=30))

    assert prune(keep_days=1, keep_runs_per_job=1).runs == stopped_round().runs == 0
    past(keep_until=timedelta(seconds=1))
    assert prune(keep_days=None, keep_runs_per_job=None, dry_run=True).runs == 1
    assert stopped_round().runs == 1
    assert not Run.objects.exists()


def test_the_last_run_of_a_schedule_is_kept_and_not_in_the_way(manager, jobs, stopped_round):
    manager.add_recurring_job(charge, 60, "4000-1", job_id="r")
    for _ in range(2):
        manager.run_job("r")
    jobs.drain()
    past(keep_until=timedelta(seconds=1))

    assert stopped_round().runs == 1
    assert Run.objects.get().keep_until > timezone.now()


def test_a_run_that_is_tried_again_is_kept_until_it_has_ended(manager, jobs, stopped_round):
    job_id = manager.using(keep=60).add_immediate_job(probes.fail)
    jobs.drain()
    past(keep_until=timedelta(seconds=1))

    assert manager.retry_job(job_id)

    assert Run.objects.get().keep_until is None
    assert stopped_round().runs == 0


def test_the_arguments_of_a_run_that_succeeded_are_removed(manager, jobs):
    charged, refused = (
        manager.add_immediate_job(charge, "4000-1"),
        manager.add_immediate_job(refuse, "4000-2"),
    )
    assert manager.get_job(charged)["args"] == ["4000-1"]

    jobs.drain()

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT payload, signature FROM {Run._meta.db_table} ORDER BY id")
        (payload, signature), (kept, _) = cursor.fetchall()
    assert (payload, signature) == (codec.REMOVED, "")
    assert "4000-2" in kept
    assert manager.get_job(charged)["args"] == []
    assert manager.get_job(charged)["result"] == "charged"
    with pytest.raises(ValueError, match="its arguments were removed after it succeeded"):
        manager.run_job(charged)
    assert manager.retry_job(refused)


@pytest.fixture
def stopped_round():
    """Return a function that prunes as the maintenance does, when its turn has come."""
    import threading

    from django_jobs.models import MaintenanceTask

    def round_():
        MaintenanceTask.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        return prune_in_turn("default", threading.Event())

    return round_


def test_runs_that_expired_are_found_through_an_index(make_run):
    make_run(status=Status.SUCCESSFUL, keep_until=timezone.now())

    plan = Run.objects.filter(keep_until__lt=timezone.now()).order_by("keep_until")[:300].explain()

    assert connection.vendor != "sqlite" or "django_jobs_run_keep" in plan
