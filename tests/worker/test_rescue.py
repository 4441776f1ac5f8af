from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Run, Worker
from django_jobs.storage import claims, identity, transactions
from django_jobs.worker.rescue import rescue_at_start


def test_a_worker_taken_for_dead_goes_on_under_a_new_name(serve, manager, probes, settings, until):
    settings.DJANGO_JOBS = {"HEARTBEAT_SECONDS": 0.05}
    service = serve()
    old = service.worker.id
    job_id = manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    (execution,) = service.worker.attempts()

    Worker.objects.filter(pk=old).update(stopped_at=timezone.now(), was_lost=True)

    until(lambda: execution.context.is_lost)
    until(lambda: Worker.objects.filter(stopped_at__isnull=True).count() == 1)
    # Before that its result would still be taken.
    until(lambda: Run.objects.get().rescues == 1)
    probes.go_on.set()
    assert manager.wait(job_id, 10) == "gone on"
    run = Run.objects.get()
    assert run.worker_id != old
    assert run.rescues == 1


def test_a_dead_processs_runs_are_taken_at_the_next_start(serve, manager, make_run, make_worker, monkeypatch):
    make_worker(id="dead", host=identity.host(), process_key="ended")
    monkeypatch.setattr(identity, "is_gone", lambda key: key == "ended")
    make_run(func="tests.probes.jobs:mark", job_id="x")
    assert claims.claim("dead", limit=1, using="default")

    serve()

    assert manager.wait("x", 10) == "called"
    assert Run.objects.get().rescues == 1


def test_an_ended_lease_is_no_death_at_the_start_of_a_process(serve, make_run, make_worker):
    silent = make_worker(id="silent")
    make_run(func="tests.probes.jobs:mark")
    assert claims.claim("silent", limit=1, using="default")
    # As after an outage that has just ended, for all who live.
    silent.lease_expires_at = timezone.now() - timedelta(seconds=1)
    silent.save()

    service = serve()
    service.worker.maintenance.beat()

    assert Run.objects.get().status == "RUNNING"
    assert Worker.objects.get(pk="silent").stopped_at is None

    # As if the others had had their time since.
    service.worker.maintenance.steadiness.doubted_until = 0
    service.worker.maintenance.beat()

    assert Run.objects.get().rescues == 1


@pytest.mark.parametrize(("witnessed", "status"), [(40, "READY"), (5, "RUNNING"), (80, "RUNNING")])
def test_who_was_silent_since_a_process_registered_long_ago_is_dead_at_the_next_start(
    make_run, make_worker, witnessed, status
):
    # Processes that live too short to see a lease out, as `runjobs --drain` once a minute.
    now = timezone.now()
    make_worker(id="silent")
    make_run(func="tests.probes.jobs:mark")
    assert claims.claim("silent", limit=1, using="default")
    Worker.objects.filter(pk="silent").update(lease_expires_at=now - timedelta(seconds=60))
    make_worker(started_at=now - timedelta(seconds=witnessed), stopped_at=now)

    rescue_at_start(transactions.database_now("default"), using="default", max_rescues=3)

    assert Run.objects.get().status == status
