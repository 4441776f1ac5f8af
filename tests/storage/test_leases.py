from datetime import timedelta

import pytest
from django.db.models import Q
from django.utils import timezone

from django_jobs.models import Run, Status, Worker
from django_jobs.storage import enqueue, leases, transitions
from tests.storage.attempts import claim, end_lease, new_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def test_a_heartbeat_extends_the_lease_of_a_live_worker_only(make_worker):
    live, dead = make_worker(), make_worker(stopped_at=timezone.now())
    before = live.lease_expires_at

    assert leases.heartbeat(live.id, lease_seconds=600, using="default") is not None
    assert leases.heartbeat(dead.id, lease_seconds=600, using="default") is None
    assert Worker.objects.get(pk=live.pk).lease_expires_at > before


def test_the_lease_is_counted_by_the_databases_clock(make_worker):
    worker = make_worker()

    leases.heartbeat(worker.id, lease_seconds=30, using="default")

    worker.refresh_from_db()
    assert worker.lease_expires_at - worker.heartbeat_at == pytest.approx(
        timedelta(seconds=30), abs=timedelta(milliseconds=2)
    )
    assert abs(worker.heartbeat_at - timezone.now()) < timedelta(seconds=5)


def test_rescue_leaves_the_runs_of_live_workers(make_run):
    make_run()
    claim("live")

    assert leases.rescue(max_rescues=3, using="default") == []


def test_runs_of_an_ended_lease_are_ready_again_with_the_reason(make_run):
    made = make_run()
    claim("dead")
    end_lease("dead")

    (rescued,) = leases.rescue(max_rescues=3, using="default")

    row = Run.objects.get(pk=made.pk)
    assert (rescued.run_id, rescued.worker_id, rescued.status) == (made.pk, "dead", "READY")
    assert (row.status, row.rescues, row.finished_at) == (Status.READY, 1, None)
    assert row.errors[0]["error"] == "WorkerDied: its worker died"
    assert row.errors[0]["worker_id"] == "dead"
    worker = Worker.objects.get(pk="dead")
    assert worker.was_lost
    assert worker.stopped_at is not None


def test_runs_of_a_worker_without_a_row_are_rescued(make_run):
    make_run()
    claim("gone")
    Worker.objects.filter(pk="gone").delete()

    assert len(leases.rescue(max_rescues=3, using="default")) == 1


def test_runs_of_a_process_known_to_be_gone_are_rescued_before_the_lease_ends(make_run):
    make_run()
    claim("gone")

    assert len(leases.rescue(max_rescues=3, gone=["gone"], using="default")) == 1


def test_a_run_whose_workers_keep_dying_is_failed(make_run):
    made = make_run(rescues=2, unique_key="i:x")
    claim("gone")
    end_lease("gone")

    (rescued,) = leases.rescue(max_rescues=2, using="default")

    row = Run.objects.get(pk=made.pk)
    assert (row.status, row.unique_key) == (Status.FAILED, None)
    assert rescued.reason == "its worker died 3 times"
    assert row.finished_at is not None


def test_an_at_most_once_run_is_failed_rather_than_rescued(make_run):
    made = make_run(options={"at_most_once": True})
    claim("gone")
    end_lease("gone")

    leases.rescue(max_rescues=3, using="default")

    row = Run.objects.get(pk=made.pk)
    assert row.status == Status.FAILED
    assert "at_most_once" in row.error


def test_a_run_that_was_to_be_cancelled_is_not_rescued(make_run):
    made = make_run()
    claim("gone")
    end_lease("gone")
    transitions.cancel(Q(pk=made.pk), using="default")

    leases.rescue(max_rescues=3, using="default")

    assert Run.objects.get(pk=made.pk).status == Status.CANCELLED


def test_rescue_with_nothing_to_rescue_costs_two_reads(make_worker, django_assert_num_queries):
    make_worker()

    with django_assert_num_queries(2):
        leases.rescue(max_rescues=3, using="default")


def test_what_is_paused_while_it_runs_is_held_when_it_is_rescued():
    enqueue.insert([new_run("paused"), new_run("other")])
    claim("dead")
    transitions.hold(Q(job_id="paused"), using="default")
    end_lease("dead")

    assert len(leases.rescue(max_rescues=3, using="default")) == 2

    states = {run.job_id: run.state for run in Run.objects.all()}
    assert states == {"paused": "paused", "other": "ready"}
