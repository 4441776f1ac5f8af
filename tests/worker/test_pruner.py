import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jobs.models import MaintenanceTask, Run, Status, Worker
from django_jobs.storage.retention import deleter, walks
from django_jobs.worker import pruner as pruner_module
from django_jobs.worker.maintenance import Maintainer
from django_jobs.worker.pruner import Pruner
from django_jobs.worker.worker import Worker as WorkerLoop

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_old(make_run):
    """Return a function that makes a run which finished long ago."""

    def make():
        then = timezone.now() - timedelta(days=100)
        return make_run(status=Status.SUCCESSFUL, enqueued_at=then, run_after=then, finished_at=then)

    return make


@pytest.mark.django_db(transaction=True)
def test_the_maintenance_thread_prunes_on_a_thread_of_its_own(make_old, monkeypatch, until):
    make_old()
    worker = WorkerLoop(using="default")
    worker.register(worker.id)
    Maintainer(worker).look()
    assert Run.objects.count() == 1

    monkeypatch.setattr(pruner_module, "FIRST_LOOK", (0.0, 0.0))
    maintainer = Maintainer(worker)
    maintainer.look()

    until(lambda: not Run.objects.exists())
    maintainer.stop()
    assert MaintenanceTask.objects.exists()


def refuse_pruners(monkeypatch):
    real = threading.Thread.start

    def start(thread):
        if thread.name == "django_jobs-pruner":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.django_db(transaction=True)
def test_a_pruner_whose_thread_cannot_be_started_can_be_stopped(monkeypatch):
    refuse_pruners(monkeypatch)
    monkeypatch.setattr(pruner_module, "FIRST_LOOK", (0.0, 0.0))
    pruner = Pruner("default")
    with pytest.raises(RuntimeError):
        pruner.look()

    pruner.stop()


def test_a_worker_that_stops_prunes_no_more(serve, manager, probes, monkeypatch, until):
    service = serve()
    manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    looks = []
    monkeypatch.setattr(Pruner, "look", lambda self: looks.append(self))
    stopper = threading.Thread(target=lambda: (service.stop(), connection.close()))
    stopper.start()
    until(lambda: not worker_threads())
    looks.clear()
    last_heartbeat = Worker.objects.get().heartbeat_at

    until(lambda: Worker.objects.get().heartbeat_at > last_heartbeat)

    assert not looks
    probes.go_on.set()
    stopper.join(10)


def worker_threads(name="worker"):
    return [thread for thread in threading.enumerate() if thread.name == f"django_jobs-{name}"]


@pytest.mark.django_db(transaction=True)
def test_stopping_a_pruner_ends_its_round(make_old, monkeypatch, until):
    monkeypatch.setattr(deleter, "REST", 1e6)
    monkeypatch.setattr(walks, "BATCH", 1)
    for _ in range(50):
        make_old()
    monkeypatch.setattr(pruner_module, "FIRST_LOOK", (0.0, 0.0))
    pruner = Pruner("default")
    pruner.look()
    until(lambda: Run.objects.count() < 50)

    pruner.stop()

    # The wait of `stop` has an end, and the thread may be slow.
    until(lambda: not worker_threads("pruner"))
    assert Run.objects.exists()
