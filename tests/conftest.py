import asyncio
import contextlib
import fcntl
import gc
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
import time_machine
from django.utils import timezone

# Some machines forbid Python to keep what it compiled: each of some hundred processes would do it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Before Python 3.12 the garbage collector may run within `ContextVar.set`, of which asgiref calls some thirty for each
# call that goes to a thread; a finalizer that sets a variable of the same context crashes the interpreter then
# (python/cpython#148891). There it runs after tests: each time for what is young, and at times for all.
if sys.version_info < (3, 12):
    gc.disable()
ALL_EVERY = 100
_tests_since = 0

ROOT = Path(__file__).parent.parent
DATABASES = ("sqlite", "postgresql", "mariadb")
SAID = "said"
# At most so many test processes unless `-n` says otherwise: each has a database, and starts processes itself.
MOST_WORKERS = 6
LOCK = pytest.StashKey()
# Those that a test has started.
PROCESSES = pytest.StashKey()
# What tests use that start processes; all that have the environment of one are among them.
STARTS_PROCESSES = {"child_env", "new_fleet", "fleet_on", "serve_apart", "site"}
# Where such tests are about what several processes do on one database.
CONTENDING = ("tests/faults/", "tests/storage/", "tests/worker/")


def pytest_addoption(parser):
    group = parser.getgroup("soak")
    group.addoption(
        "--soak", type=float, metavar="MINUTES",
        help="Random faults under load for so long, and the long form of tests that only repeat.",
    )  # fmt: skip
    group.addoption(
        "--rows", type=int, default=100_000, metavar="N", help="Of the loop in a soak. Default: 100,000."
    )
    group.addoption("--seed", type=int, help="Repeat a soak's faults.")


def pytest_xdist_auto_num_workers(config):
    """Two more test processes than processors, since tests wait for others; none for one file: it takes to start."""
    if len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py"):
        return 0
    return min((os.cpu_count() or 1) + 2, MOST_WORKERS)


def pytest_collection_modifyitems(config, items):
    """Mark tests by what they need, for `-m`; and order them where there are several processes."""
    for item in items:
        needed = set(item.fixturenames)
        if item.get_closest_marker("django_db") or needed & {"db", "transactional_db", "django_db_setup"}:
            item.add_marker("db")
        if needed & STARTS_PROCESSES:
            item.add_marker("process")
        if "chromium" in needed:
            item.add_marker("browser")
        if item.get_closest_marker("process") and item.nodeid.startswith(CONTENDING):
            item.add_marker("contention")
    if hasattr(config, "workerinput"):
        from tests.order import spread

        items[:] = spread(items, lambda item: item.get_closest_marker("process"), longest)


def longest(item):
    """Return how long a test may take, in seconds."""
    marker = item.get_closest_marker("timeout")
    return (marker.args[0] or sys.maxsize) if marker else 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Collect garbage where it is not collected by itself."""
    global _tests_since
    if not gc.isenabled():
        _tests_since = (_tests_since + 1) % ALL_EVERY
        gc.collect(1 if _tests_since else 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for process in item.stash.get(PROCESSES, ()):
            # What a test has deleted must not end the session.
            with contextlib.suppress(OSError):
                said = process.log.read_text(errors="replace")[-8000:]
                report.sections.append((f"of process {process.pid}", said))
    return report


def pytest_cmdline_main(config):
    """Run the whole suite once per database when all are asked for; any failure fails the run."""
    if os.environ.get("DJANGO_JOBS_TEST_DATABASES") != "all" or config.option.collectonly:
        return None
    codes = []
    for name in DATABASES:
        print(f"\n=== {name} ===", flush=True)  # noqa: T201 - says which database the next lines are about
        env = {**os.environ, "DJANGO_JOBS_TEST_DATABASES": name, "TESTPROJECT_DATABASE": name}
        # Who asks for everything wants to hear that there is no browser.
        env.setdefault("DJANGO_JOBS_TEST_BROWSER", "1")
        command = [sys.executable, "-m", "pytest", *config.invocation_params.args]
        codes.append(subprocess.run(command, env=env, check=False).returncode)
    return max(codes)


def pytest_configure(config):
    from tests import table_cleanup

    table_cleanup.install()
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        take_folder(config)
    # A shell makes what it starts in the background deaf to Ctrl-C, and with it the servers of these tests.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def take_folder(config):
    """End a second run in the same folder: each would take the other's databases away."""
    from django.conf import settings

    lock = config.stash[LOCK] = (settings.VAR_DIR / "tests.lock").open("w")
    config.add_cleanup(lock.close)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pytest.exit(f"other tests run in {settings.VAR_DIR}: set TESTPROJECT_VAR to another folder", 4)


def pytest_report_header():
    return f"database: {os.environ.get('TESTPROJECT_DATABASE') or 'sqlite'}"


def pytest_terminal_summary(terminalreporter):
    # Properties come with the reports of other processes, too; a test has up to three of these.
    lines = {
        (report.nodeid, line)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, line in getattr(report, "user_properties", ())
        if name == SAID
    }
    for _, line in sorted(lines):
        terminalreporter.write_line(line)


@pytest.fixture
def say(request):
    """Return a function that has a line shown at the end, whether tests fail or not."""
    return lambda line: request.node.user_properties.append((SAID, line))


@pytest.fixture
def soak_minutes(request):
    """Minutes of soak that were asked for, or None in a normal run."""
    return request.config.getoption("--soak")


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch):
    """Start each test without declared schedules: the example project's would fire in all of them."""
    from django_jobs.registry import schedules

    monkeypatch.setattr(schedules, "_declared", {})


@pytest.fixture
def forgotten(monkeypatch):
    """Forget after the test which functions it registered: they stay registered in the process otherwise."""
    from django_jobs.registry import functions

    monkeypatch.setattr(functions, "_registered", set(functions._registered))


@pytest.fixture(autouse=True)
def no_limits_seen(monkeypatch):
    """Start each test as in a process that knows no limits: others look at each heartbeat for what waits."""
    from django_jobs.registry import limits

    monkeypatch.setattr(limits.seen, "any", False, raising=False)


@pytest.fixture(autouse=True)
def tidy_tables(monkeypatch):
    """Leave out what the server knows of its tables: tests leave dead rows, and servers may be told to keep them."""
    from django_jobs.storage import table_health

    monkeypatch.setattr(table_health, "problems", lambda using: iter(()))
    monkeypatch.setattr(table_health, "_looks", {"default": (math.inf, [])})


@pytest.fixture
def registry():
    """No registered types but those that the test registers."""
    from django_jobs.codec import tags

    with patch.dict(tags.custom_by_type, clear=True), patch.dict(tags.custom_by_tag, clear=True):
        yield


@pytest.fixture
def old(db, monkeypatch):
    """A scheduler of django-apscheduler's, whose store writes its rows; without a thread that fires them."""
    from apscheduler.schedulers.base import BaseScheduler
    from django_apscheduler.jobstores import DjangoJobStore

    class StillScheduler(BaseScheduler):
        def wakeup(self):
            pass

        def shutdown(self, wait=True):
            super().shutdown(wait)

    # Its own closes the connection that the test's transaction is on.
    monkeypatch.setattr(DjangoJobStore, "shutdown", lambda self: None)
    scheduler = StillScheduler(timezone="Europe/Paris")
    scheduler.add_jobstore(DjangoJobStore(), "default")
    scheduler.start(paused=True)
    yield scheduler
    scheduler.shutdown()


@pytest.fixture
def make_run(db):
    """Return a factory of `Run` rows; a status and times that fit each other are filled in."""
    from django_jobs import codec
    from django_jobs.models import FINISHED, Run, Status
    from django_jobs.storage import tags
    from django_jobs.texts.failures import key_of

    def make(**fields):
        now = timezone.now()
        func = fields.setdefault("func", "tests.probes.jobs:nothing")
        payload = fields.setdefault("payload", codec.dump_arguments((), {}))
        fields.setdefault("signature", codec.sign(func, payload))
        fields.setdefault("name", func.rpartition(":")[2])
        fields.setdefault("job_id", uuid.uuid4().hex)
        fields.setdefault("kind", "immediate")
        fields.setdefault("enqueued_at", now)
        fields.setdefault("run_after", now)
        status = fields.setdefault("status", Status.READY)
        if status in {Status.RUNNING, Status.SUCCESSFUL, Status.FAILED}:
            fields.setdefault("started_at", now)
            fields.setdefault("attempt", 1)
            fields.setdefault("worker_id", "worker-of-a-test")
        if status in FINISHED:
            fields.setdefault("finished_at", now)
        if status == Status.FAILED and fields.get("error"):
            kept = fields.get("errors")
            last = kept[-1] if isinstance(kept, list) and kept else None
            trace = last.get("traceback", "") if isinstance(last, dict) else ""
            fields.setdefault("error_key", key_of("", trace, fields["error"], func))
        run = Run.objects.create(**fields)
        tags.insert([run], [run.pk], using=run._state.db)
        return run

    return make


@pytest.fixture
def make_job(db):
    """Return a factory of `Job` rows: recurring every minute, and not due yet."""
    from django_jobs import codec, triggers
    from django_jobs.models import Job

    def make(**fields):
        func = fields.setdefault("func", "tests.probes.jobs:nothing")
        payload = fields.setdefault("payload", codec.dump_arguments((), {}))
        fields.setdefault("signature", codec.sign(func, payload))
        fields.setdefault("name", func.rpartition(":")[2])
        fields.setdefault("id", uuid.uuid4().hex)
        fields.setdefault("kind", "recurring")
        trigger = fields.pop("trigger", None) or triggers.interval(60)
        fields.setdefault("job_state", triggers.dumps(trigger))
        fields.setdefault("next_run_time", trigger.get_next_fire_time(None, timezone.now()))
        return Job.objects.create(**fields)

    return make


@pytest.fixture
def make_worker(db):
    """Return a factory of `Worker` rows with a lease of a minute."""
    from django_jobs.models import Worker

    def make(**fields):
        now = timezone.now()
        fields.setdefault("id", f"worker-{uuid.uuid4().hex[:8]}")
        fields.setdefault("host", "elsewhere")
        fields.setdefault("process_key", "")
        fields.setdefault("pid", 1)
        fields.setdefault("version", "0")
        fields.setdefault("threads", 1)
        fields.setdefault("has_clock", False)
        fields.setdefault("started_at", now)
        fields.setdefault("heartbeat_at", now)
        fields.setdefault("lease_expires_at", now + timedelta(minutes=1))
        return Worker.objects.create(**fields)

    return make


@pytest.fixture
def probes():
    """The module of functions to call, with its events cleared."""
    from tests.probes import jobs

    jobs.began.clear()
    jobs.go_on.clear()
    yield jobs
    jobs.go_on.set()


@pytest.fixture
def manager(db):
    """A manager as a fresh process would have it; what it starts is stopped."""
    from django_jobs.api.manager import JobManager

    manager = JobManager()
    yield manager
    manager.shutdown()


@pytest.fixture
def serve(transactional_db, manager):
    """Return a function that starts a clock and a worker in this process, and waits until they run."""
    from django_jobs.worker.service import Service

    def start(**options):
        service = Service(**options)
        assert manager.serve(service)
        assert service.wait_started(60)
        return service

    return start


@pytest.fixture
def run_async():
    """Return `asyncio.run`, which closes the connections of the threads that lend themselves to async code."""
    from asgiref.sync import sync_to_async
    from django.db import connections

    from django_jobs.api.async_support import give_back_connections

    def run(coroutine):
        async def main():
            try:
                return await coroutine
            finally:
                await sync_to_async(connections.close_all)()
                await sync_to_async(give_back_connections)()

        return asyncio.run(main())

    return run


@pytest.fixture
def set_clock(monkeypatch):
    """Return a function that sets the database's clock by some time, once; SQLite's is the host's."""
    from django.db import connection

    from django_jobs.storage.backends.choose import backend_of

    travellers = []

    def by(**delta):
        seconds = timedelta(**delta).total_seconds()
        if connection.vendor == "sqlite":
            travellers.append(time_machine.travel(timezone.now() + timedelta(**delta), tick=True))
            travellers[-1].start()
            return
        backend = type(backend_of(connection))
        real = backend.now.fget
        later = {"postgresql": f"+ INTERVAL '{seconds} second'", "mysql": f"+ INTERVAL {seconds} SECOND"}
        text = later[connection.vendor]
        monkeypatch.setattr(backend, "now", property(lambda self: f"({real(self)} {text})"))

    yield by

    for traveller in reversed(travellers):
        traveller.stop()


@pytest.fixture(scope="session")
def until():
    """Return a function that looks until something is true, and fails after a while."""

    # Long for a busy machine, and shorter than a lease: what is only noticed when one ends fails.
    def look(condition, timeout=25, every=0.02):
        end = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < end, "it did not come to that in time"
            time.sleep(every)
        return value

    return look


@pytest.fixture
def child_env(transactional_db):
    """The environment of a process that works on this test's database."""
    from tests.children import environment

    return environment()


@pytest.fixture(scope="session")
def zygote():
    """What forks processes that have Django imported already; None where they are to start in full."""
    from tests.zygote import Zygote

    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def spawn(child_env, tmp_path, zygote, request):
    """Return a function that starts a process on this test's database; what is left is killed.

    Python is forked where that makes no difference but in time, see `tests.zygote`. What its processes
    wrote is shown where a test fails.
    """
    from tests.zygote import start_process

    processes = request.node.stash[PROCESSES] = []

    def start(*command, env=None, **more):
        env = {**child_env, **(env or {})}
        with (tmp_path / f"process-{len(processes)}.log").open("w") as out:
            process = start_process(zygote, command, env, out, **more)
        process.log = Path(out.name)
        processes.append(process)
        return process

    yield start

    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(10)


@pytest.fixture
def runjobs(spawn):
    """Return a function that starts `manage.py runjobs` with some arguments."""

    def start(*arguments, **more):
        return spawn(sys.executable, str(ROOT / "testproject" / "manage.py"), "runjobs", *arguments, **more)

    return start


@pytest.fixture
def receiver():
    """A web server that keeps what is posted to it."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, body, self.headers["X-Django-Jobs-Signature"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)
