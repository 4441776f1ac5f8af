"""A process that cannot do its work says so in its log, in health or by its exit code, and mends what it can."""

import signal
import sqlite3
import sys
import threading
import time
from urllib.error import HTTPError

import pytest
from django.db import connection, transaction

from django_jobs.models import Run, ScheduleRevision, Worker
from django_jobs.operations import health
from tests.children import free_port
from tests.faults.processes import MANAGE, answers, end, get
from tests.probes import ledger as probes

FAST = {"HEARTBEAT_SECONDS": 0.5, "POLL_SECONDS": 0.5}


@pytest.fixture
def file(tmp_path, transactional_db):
    """Return a function that makes a copy of the tests' SQLite database under a name."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's database is a file")

    def make(name):
        source, made = sqlite3.connect(connection.settings_dict["NAME"]), sqlite3.connect(tmp_path / name)
        source.backup(made)
        source.close()
        made.close()
        return tmp_path / name

    return make


def ask(path, sql):
    found = sqlite3.connect(path, timeout=20)
    try:
        return found.execute(sql).fetchall()
    finally:
        found.close()


def beats(path):
    """Whether a worker has said more than once that it lives: all its threads are connected."""
    age = "(julianday(heartbeat_at) - julianday(started_at)) * 86400"
    return bool(ask(path, f"SELECT 1 FROM django_jobs_worker WHERE stopped_at IS NULL AND {age} > 1"))


def replace(path, by):
    """Put another file in a database's place, as one does who restores a copy."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    by.replace(path)


def test_a_process_whose_sqlite_file_is_replaced_works_on_the_new_one(worker, start, file, until, ledger):
    path = file("jobs.sqlite3")
    on_copy = {"TESTPROJECT_DATABASE_NAME": str(path), "jobs": FAST}
    process = worker(wait=False, **on_copy)
    until(lambda: beats(path))

    replace(path, file("other.sqlite3"))

    until(lambda: "was replaced by another one" in process.log.read_text())
    add = start(*MANAGE, "jobs", "add", "tests.probes.ledger:note", **on_copy)
    assert add.wait(30) == 0, add.log.read_text()
    until(lambda: ask(path, "SELECT status FROM django_jobs_run") == [("SUCCESSFUL",)])
    until(lambda: ask(path, "SELECT 1 FROM django_jobs_worker WHERE stopped_at IS NULL"))
    assert end(process) == 0, process.log.read_text()
    assert ask(path, "SELECT COUNT(*) FROM django_jobs_worker WHERE stopped_at IS NULL") == [(0,)]


def test_a_process_whose_sqlite_file_is_gone_says_so(worker, file, until):
    path = file("jobs.sqlite3")
    process = worker(wait=False, TESTPROJECT_DATABASE_NAME=str(path), jobs=FAST)
    until(lambda: beats(path))

    path.rename(path.with_suffix(".away"))

    until(lambda: f"file {path} is gone" in process.log.read_text())
    assert not path.exists()


def test_runjobs_without_tables_says_so_and_that_it_serves_only_when_it_does(start, file, until):
    path = file("jobs.sqlite3")
    empty = path.with_name("empty.sqlite3")
    process = start(*MANAGE, "runjobs", TESTPROJECT_DATABASE_NAME=str(empty))
    until(lambda: "tables are missing" in process.log.read_text())
    assert "serves" not in process.log.read_text()

    replace(empty, path)

    until(lambda: "serves all queues" in process.log.read_text())
    assert end(process) == 0, process.log.read_text()


def test_draining_without_tables_fails_with_the_reason(start, file):
    empty = file("jobs.sqlite3").with_name("empty.sqlite3")

    process = start(*MANAGE, "runjobs", "--drain", TESTPROJECT_DATABASE_NAME=str(empty))

    assert process.wait(60) == 1
    assert "CommandError: nothing could be executed here: tables are missing" in process.log.read_text()


@pytest.mark.parametrize(
    "fields",
    [
        {"process_key": "no key at all"},
        {"process_key": "OWN/not-a-number/1"},
        {"process_key": "OWN/99999999999999999999/1"},
        {"queues": 5},
        {"queues": {"a": 1}},
        {"details": [1, 2]},
        {"details": {"problems": 5, "clock_ahead": "late", "project": [1]}},
        {"pid": 0, "host": ""},
    ],
    ids=str,
)
def test_a_malformed_row_of_a_worker_keeps_no_process_from_starting(
    worker, manager, make_worker, until, fields
):
    from django_jobs.storage import identity

    own = identity.process_key().rpartition("/")[0].rpartition("/")[0]
    if "process_key" in fields:
        fields = {"process_key": fields["process_key"].replace("OWN", own)}
    make_worker(**{"host": identity.host(), "queues": [], **fields})

    process = worker("--drain", wait=False)

    assert process.wait(60) == 0, process.log.read_text()
    assert "Traceback" not in process.log.read_text()
    assert health.report()["workers"]


class Lock:
    """A transaction of somebody else's, which holds a lock until it is released."""

    def __init__(self, take):
        self._take, self._is_taken, self._release = take, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self):
        try:
            with transaction.atomic():
                self._take()
                self._is_taken.set()
                self._release.wait(120)
        finally:
            connection.close()

    def __enter__(self):
        self._thread.start()
        assert self._is_taken.wait(20)
        return self

    def __exit__(self, *error):
        self._release.set()
        self._thread.join(20)


def rows_of(model, **fields):
    return lambda: list(model.objects.select_for_update().filter(**fields))


@pytest.fixture
def has_row_locks(child_env):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite locks its file as a whole, and for a limited time")


@pytest.mark.usefixtures("has_row_locks")
def test_a_lock_on_the_releases_keeps_no_process_from_executing_and_is_said(worker, manager, until, ledger):
    first = worker()
    until(lambda: ScheduleRevision.objects.filter(fingerprint="").exists())

    with Lock(rows_of(ScheduleRevision, fingerprint="")):
        second = worker("--queue", "second", wait=False, jobs=FAST)
        job = manager.using(queue_name="second").add_immediate_job(probes.note)
        until(lambda: ledger.count("recorded", job=job) == 1)
        until(lambda: "somebody holds a lock on their tables" in second.log.read_text())
        said = "the declared schedules were not looked at"
        until(lambda: any(said in problem["text"] for problem in health.report()["problems"]))

        began = time.monotonic()
        assert [end(first), end(second)] == [0, 0], first.log.read_text() + second.log.read_text()
        assert time.monotonic() - began < 30


@pytest.mark.usefixtures("has_row_locks")
@pytest.mark.parametrize("model", [Worker, Run, ScheduleRevision])
def test_a_process_ends_although_somebody_holds_locks_on_its_rows(
    worker, manager, until, ledger, gate, model
):
    process = worker(jobs={"SHUTDOWN_SECONDS": 1})
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began") == 1)

    with Lock(rows_of(model)):
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert time.monotonic() - began < 40, process.log.read_text()


def test_a_server_without_time_zones_says_that_it_executes_nothing_and_takes_no_jobs(
    start, until, transactional_db
):
    port = free_port()
    process = start(
        sys.executable, "-m", "gunicorn", "-w", "1", "-b", f"127.0.0.1:{port}", "testproject.wsgi",
        FAULTS_USE_TZ="0",
    )  # fmt: skip
    until(lambda: answers(port), timeout=40)

    until(
        lambda: (
            "Cannot start workers in this process: django_jobs needs aware datetimes"
            in process.log.read_text()
        )
    )
    with pytest.raises(HTTPError, match="500"):
        get(port, "add/")
    assert "ImproperlyConfigured: django_jobs needs aware datetimes" in process.log.read_text()
    assert not Run.objects.exists()


def test_a_process_of_another_project_waits_while_one_works_on_its_tables(
    worker, start, manager, until, ledger
):
    ours = worker()
    theirs = worker(wait=False, FAULTS_SECRET_KEY="the key of another project")
    until(
        lambda: "workers of another project, or with another SECRET_KEY (tests on" in theirs.log.read_text()
    )
    drained = start(*MANAGE, "runjobs", "--drain", FAULTS_SECRET_KEY="the key of another project")
    assert drained.wait(60) == 1
    assert "nothing could be executed here: workers of another project" in drained.log.read_text()

    jobs = [manager.add_immediate_job(probes.note) for _ in range(20)]

    until(lambda: ledger.count("recorded", status="SUCCESSFUL") == len(jobs))
    assert "started: queues" not in theirs.log.read_text()
    assert end(ours) == 0
    until(lambda: "started: queues" in theirs.log.read_text())


def test_a_new_key_with_the_old_one_as_its_fallback_is_no_other_project(worker, until):
    worker()

    second = worker(FAULTS_SECRET_KEY="a new key", FAULTS_OLD_KEYS="1")

    assert "another project" not in second.log.read_text()
