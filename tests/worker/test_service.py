import threading
from pathlib import Path
from pkgutil import resolve_name

import pytest

from django_jobs.models import Worker
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.worker import service as service_module


@pytest.mark.parametrize(
    "step",
    [
        "scheduler.clock:Clock.shutdown",
        "storage.notifications.thread:ListenerThread.stop",
        "worker.worker:Worker.stop",
        "worker.maintenance:Maintainer.stop",
    ],
)
def test_shutdown_takes_all_its_steps_when_one_of_them_fails(serve, manager, monkeypatch, caplog, step):
    path, _, name = step.rpartition(".")
    kind = resolve_name(f"django_jobs.{path}")
    real = getattr(kind, name)
    left = []

    def fail(self, *args, **kwargs):
        real(self, *args, **kwargs)
        raise RuntimeError("cannot join thread before it is started")

    before = set(threading.enumerate())
    serve()
    monkeypatch.setattr(ScheduleSync, "leave", lambda self: left.append(self))
    monkeypatch.setattr(kind, name, fail)

    manager.shutdown()

    assert not Worker.objects.filter(stopped_at__isnull=True).exists()
    assert left
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]
    assert not {t for t in set(threading.enumerate()) - before if t.name.startswith("django_jobs-")}


def test_shutdown_may_be_called_twice_and_before_start(manager, transactional_db):
    manager.shutdown()
    manager.start()
    manager.start()
    manager.shutdown()
    manager.shutdown()


@pytest.mark.timeout(300)
def test_a_thousand_starts_and_shutdowns_leak_neither_threads_nor_connections_nor_rows(
    manager, transactional_db
):
    def ours():
        return {t for t in threading.enumerate() if t.name.startswith(("django_jobs", "APScheduler"))}

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    threads, files = ours(), open_files()
    for number in range(1000):
        manager.start()
        # Some are stopped before they have quite started.
        assert number % 3 or manager.service.wait_started(10)
        manager.shutdown()

    assert ours() <= threads
    # SQLite keeps a few of a file's descriptors for its next connections; a leak would be thousands.
    assert open_files() < files + 50
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


@pytest.mark.parametrize(
    "unborn", ["django_jobs-worker", "django_jobs-maintenance", "APScheduler", "django_jobs-listener"]
)
def test_a_process_that_ends_while_it_starts_leaves_no_row_behind(
    manager, transactional_db, monkeypatch, until, unborn
):
    real = threading.Thread.start

    def start(thread):
        # As Python 3.12 does while a process ends.
        if thread.name == unborn:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    manager.start()
    until(
        lambda: (
            Worker.objects.exists()
            and not any(t.name == "django_jobs-starter" for t in threading.enumerate())
        )
    )

    manager.shutdown()

    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


@pytest.mark.parametrize(
    "unborn",
    [
        "django_jobs-completer",
        "django_jobs-worker",
        "django_jobs-maintenance",
        "APScheduler",
        "django_jobs-listener",
    ],
)
def test_a_process_that_is_refused_a_thread_undoes_its_start_and_tries_again(
    manager, transactional_db, probes, monkeypatch, caplog, unborn
):
    real, refused = threading.Thread.start, []

    def start(thread):
        if thread.name == unborn and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    def ours():
        return {t for t in threading.enumerate() if t.name.startswith(("django_jobs", "APScheduler"))}

    def undo(service, error):
        real_undo(service, error)
        left.append(({t.name for t in ours() - before}, Worker.objects.filter(stopped_at=None).count()))

    before, left, real_undo = ours(), [], service_module.Service._undo
    monkeypatch.setattr(service_module, "THREADS_SECONDS", 0.0)
    monkeypatch.setattr(service_module.Service, "_undo", undo)
    monkeypatch.setattr(threading.Thread, "start", start)

    manager.start()
    assert manager.service.wait_started(10)

    assert manager.wait(manager.add_immediate_job(probes.give, 42), 10) == 42
    assert not manager.service.failure
    assert left == [({"django_jobs-starter"}, 0)] * 2
    said = [record for record in caplog.records if "Cannot start workers" in record.getMessage()]
    assert [record.levelname for record in said] == ["ERROR"]
