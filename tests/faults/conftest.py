import contextlib
import functools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.children import environment, free_port
from tests.faults import servers
from tests.faults.processes import MANAGE, ROOT, Client, Ledger, answers, is_started


@pytest.fixture
def chance(request):
    """A source of chance whose seed a failing test shows."""
    seed = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    sys.stderr.write(f"repeat with --seed {seed}\n")
    source = random.Random(seed)
    source.chosen_seed = seed
    return source


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def gate(tmp_path):
    """A file that runs wait for; `open()` lets them go on."""

    class Gate:
        path = str(tmp_path / "gate")
        reached = Path(path).with_suffix(".reached")

        def open(self):
            Path(self.path).touch()

    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def start(spawn, ledger, gate):
    """Return a function that starts any command under the fault settings."""

    def start(*command, at="", jobs=None, **env):
        return spawn(
            *command,
            env={
                "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
                "FAULTS_LEDGER": str(ledger.path),
                "FAULTS_GATE": gate.path,
                "FAULTS_AT": at,
                "FAULTS_DJANGO_JOBS": json.dumps(jobs or {}),
                **env,
            },
        )

    return start


@pytest.fixture
def report_of(start, gate):
    """Return a function that calls a module of these for what it forks and kills; it returns the report."""

    def run(module, *arguments, timeout=100):
        process = start(sys.executable, "-m", "tests.faults", module, *map(str, arguments))
        assert process.wait(timeout) == 0, process.log.read_text()
        return json.loads(Path(f"{gate.path}.report").read_text())

    return run


@pytest.fixture
def kills(report_of):
    """Return a function that has processes killed and stopped, see `tests.faults.kills`; it returns their report."""
    return functools.partial(report_of, "kills")


@pytest.fixture
def worker(start, until):
    """Return a function that starts `runjobs`, and waits until it runs unless told not to."""

    def run(*arguments, wait=True, **more):
        process = start(*MANAGE, "runjobs", *arguments, **more)
        if wait:
            until(lambda: is_started(process), timeout=30)
        return process

    return run


@pytest.fixture
def web(start, until):
    """Return a function that starts gunicorn with a view that adds jobs, and waits until it answers."""

    def run(*arguments, workers=2, **more):
        port = free_port()
        process = start(
            sys.executable, "-m", "gunicorn", "-w", str(workers), "-b", f"127.0.0.1:{port}", *arguments,
            "testproject.wsgi", **more,
        )  # fmt: skip
        process.port = port
        until(lambda: answers(port), timeout=40)
        return process

    return run


@pytest.fixture
def clients():
    """Return a function that keeps calling something on a thread; `stop()` gives what was accepted.

    The calls are made about `rate` times a second: that is the load, nothing waits for it. A call
    that raises may or may not have added a job.
    """
    started = []

    def run(add, rate):
        client = Client(add, rate)
        started.append(client)
        return client

    yield run

    for client in started:
        client.stop()


# Databases that a test may break


@pytest.fixture(scope="session")
def _servers():
    started = {}
    yield started
    for server in started.values():
        server.close()


def _server(vendor, started, size=None):
    if (vendor, size) not in started:
        kind = servers.KINDS[vendor]
        if not kind.is_installed():
            message = f"no server program of {vendor} here that a test may kill"
            (pytest.fail if os.environ.get("DJANGO_JOBS_TEST_DATABASES") else pytest.skip)(message)
        server = started[vendor, size] = kind(size)
        env = {**environment(), **server.env}
        subprocess.run([*MANAGE, "migrate", "-v", "0"], env=env, check=True, cwd=ROOT)
    return started[vendor, size]


@pytest.fixture
def database(_servers, child_env):
    """A database of this test's own to break: `kill()`, `stop()`, `start()`.

    This process, and those started with its `env`, work on it.
    """
    yield from _database(_servers, child_env)


@pytest.fixture
def small_database(_servers, child_env):
    """As `database`, with a disk of its own to fill: `fill_disk()`, `free_disk()`."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a server a disk of its own")
    yield from _database(_servers, child_env, size="600m")


def _database(_servers, child_env, size=None):
    from django.db import connection

    settings = connection.settings_dict
    before = {**settings, "OPTIONS": {**settings["OPTIONS"]}}
    connection.close()
    if connection.vendor == "sqlite":
        server = servers.Locked(settings["NAME"])
        settings["OPTIONS"]["timeout"] = servers.LOCK_SECONDS
    else:
        server = _server(connection.vendor, _servers, size)
        server.start()
        settings.update(HOST="127.0.0.1", PORT=str(server.port), NAME=server.database)
    child_env.update(server.env)
    _empty()

    yield server

    server.start()
    connection.close()
    settings.update(before)


def _empty():
    from django_apscheduler.models import DjangoJob

    from django_jobs.models import Job, Queue, Run, Worker

    for model in (Job, DjangoJob, Run, Worker, Queue):
        model.objects.all().delete()


@pytest.fixture
def is_raised():
    """Return a function that says how a call fails with the database's own error, and how long that took."""
    from django.db import DatabaseError, connection

    def call(function, *args):
        connection.close()
        began = time.monotonic()
        with contextlib.closing(connection), pytest.raises(DatabaseError) as raised:
            function(*args)
        return raised.value, time.monotonic() - began

    return call
