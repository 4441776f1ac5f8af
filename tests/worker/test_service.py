import threading
from pathlib import Path
from pkgutil import resolve_name

import pytest

from django_jobs.models import Worker
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.worker import parts as parts_module
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
def test_starts_and_shutdowns_leak_neither_threads_nor_connections_nor_rows(
    manager, transactional_db, soak_minutes
):
    def ours():
        return {t for t in threading.enumerate() if t.name.startswith(("django_jobs", "APScheduler"))}

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    threads, files = ours(), open_files()
    for number in range(1000 if soak_minutes else 100):
        manager.start()
        # Some are stopped before they have quite started.
        assert number % 3 or manager.service.wait_started(10)
        manager.shutdown()

    assert ours() <= threads
    # SQLite keeps a few of a file's descriptors for its next connections; a leak would be one or more each time.
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

    def prepare(parts):
        there.append(({t.name for t in ours() - before}, Worker.objects.filter(stopped_at=None).count()))
        return real_prepare(parts)

    before, there, real_prepare = ours(), [], parts_module.Parts.prepare
    monkeypatch.setattr(service_module, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(parts_module.Parts, "prepare", prepare)
    monkeypatch.setattr(threading.Thread, "start", start)

    manager.start()
    assert manager.service.wait_started(10)

    assert manager.wait(manager.add_immediate_job(probes.give, 42), 10) == 42
    assert not manager.service.failure
    assert there == [({"django_jobs-starter"}, 0)] * 3
    said = [record for record in caplog.records if "Cannot start workers" in record.getMessage()]
    assert [record.levelname for record in said] == ["ERROR"]


def test_a_mistake_while_a_process_starts_is_logged_shown_and_tried_again(
    manager, transactional_db, probes, monkeypatch, caplog, until
):
    real, is_mended = parts_module.Parts.prepare, threading.Event()

    def prepare(parts):
        if not is_mended.is_set():
            raise LookupError("a malformed row")
        return real(parts)

    monkeypatch.setattr(parts_module.Parts, "prepare", prepare)
    monkeypatch.setattr(service_module, "AGAIN_SECONDS", 0.01)
    manager.start()
    until(lambda: manager.service.problems() == ["LookupError: a malformed row"])

    is_mended.set()

    assert manager.service.wait_started(10)
    assert manager.service.problems() == []
    assert manager.wait(manager.add_immediate_job(probes.give, 42), 10) == 42
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [
        "a mistake while this process starts to execute jobs",
        "Cannot start workers in this process (LookupError: a malformed row); no jobs will run here until it can",
    ]
    assert caplog.records[0].exc_info


def test_a_process_that_waits_says_why_again_only_after_a_while(
    manager, transactional_db, monkeypatch, caplog, until
):
    looks = []
    monkeypatch.setattr(service_module, "TABLES_SECONDS", 0.01)
    monkeypatch.setattr(service_module, "missing_tables", lambda: looks.append(1) or {"django_jobs_run"})

    manager.start()
    until(lambda: len(looks) > 3)

    assert manager.service.is_refused
    assert [record.getMessage() for record in caplog.records] == [
        "waiting before starting: tables are missing (django_jobs_run): run `manage.py migrate`"
    ]
