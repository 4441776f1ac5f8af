import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from django_jobs.execution.engines import processes
from tests.children import ROOT, environment
from tests.execution.engines import celery_apps
from tests.zygote import start_process

# As quick as a test may be: what waits for a poll, a heartbeat or the loss of a message.
QUICK = {"HEARTBEAT_SECONDS": 0.5, "POLL_SECONDS": 0.5, "LEASE_SECONDS": 20, "REDISPATCH_SECONDS": 30}


def pytest_addoption(parser):
    parser.getgroup("engines").addoption(
        "--mixed-jobs", type=int, metavar="COUNT", help="How many mixed jobs each engine gets. Default: 100."
    )


def require_broker(name):
    """Skip, or fail where the tests' servers must be there, if nothing listens where a broker should."""
    url = urlsplit(celery_apps.URLS[name])
    try:
        socket.create_connection((url.hostname, url.port), timeout=5).close()
    except OSError as error:
        message = f"no {name} at {url.hostname}:{url.port}: {error}"
        (pytest.fail if os.environ.get("DJANGO_JOBS_TEST_DATABASES") else pytest.skip)(message)


class Fleet:
    """A Celery worker on the tests' database, and the queue that it serves."""

    def __init__(self, zygote, broker, folder, *options, **jobs):
        self._zygote = zygote
        self.broker = broker
        self.app = getattr(celery_apps, broker)
        self.queue_name = f"tests-{uuid.uuid4().hex[:12]}"
        self.settings = {
            **QUICK,
            "ENGINES": {self.queue_name: "celery"},
            "CELERY_APP": f"tests.execution.engines.celery_apps.{broker}",
            **jobs,
        }
        self.options = options or ("-P", "prefork", "-c", "2")
        self.env = {**environment(), "TESTS_DJANGO_JOBS": json.dumps(self.settings)}
        self.log = folder / f"{self.queue_name}.log"
        self.process = None

    def start(self):
        """Start it, unless it runs, and wait until it listens."""
        if self.process is not None and self.process.poll() is None:
            return
        self.log.touch()
        begun = self.log.read_text().count(" ready.")
        with self.log.open("a") as out:
            command = [
                sys.executable, "-m", "celery", "-A", f"tests.execution.engines.celery_apps:{self.broker}", "worker",
                "-Q", self.queue_name, "-l", "INFO", "--without-gossip", "--without-mingle",
                "--without-heartbeat",
                # A name of its own each time: RabbitMQ holds a killed one's for a while.
                "-n", f"{uuid.uuid4().hex}@%h", *self.options,
            ]  # fmt: skip
            self.process = start_process(self._zygote, command, self.env, out)
        end = time.monotonic() + 90
        while self.log.read_text().count(" ready.") == begun:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def terminate(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """Kill it with all its processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def waiting(self):
        """How many messages no worker has taken."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            if self.broker == "redis":
                keys = channel._q_for_pri
                return sum(
                    channel.client.llen(keys(self.queue_name, step)) for step in channel.priority_steps
                )
            return channel.queue_declare(self.queue_name, durable=True, auto_delete=False).message_count

    def purge(self):
        with self.app.connection_for_write() as connection:
            channel = connection.default_channel
            channel.queue_declare(self.queue_name, durable=True, auto_delete=False)
            return channel.queue_purge(self.queue_name)

    def close(self):
        self.kill()
        with self.app.connection_for_write() as connection:
            connection.default_channel.queue_delete(self.queue_name)


@pytest.fixture
def forked_children(zygote, monkeypatch):
    """Have the engine `processes` fork its children; those of `runjobs` that tests start are its own."""

    def start(command, *, env, **more):
        if command[0] != interpreter:
            return subprocess.Popen(command, env=env, **more)
        return zygote.converse(command, env, ROOT)

    interpreter = sys.executable
    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))


@pytest.fixture(scope="module")
def _fleets(django_db_setup, django_db_blocker, zygote):
    from django_jobs.models import Worker

    fleets = {}
    with django_db_blocker.unblock():
        yield fleets
        for fleet in fleets.values():
            fleet.close()
        # What they wrote after the last test was over: to others they would be workers that live.
        Worker.objects.all().delete()


@pytest.fixture
def fleet_on(_fleets, transactional_db, tmp_path_factory, settings, zygote):
    """Return a function that gives the Celery worker that tests share, by its broker; it runs."""

    def get(broker):
        require_broker(broker)
        if broker not in _fleets:
            _fleets[broker] = Fleet(zygote, broker, tmp_path_factory.mktemp("celery"))
        fleet = _fleets[broker]
        fleet.start()
        settings.DJANGO_JOBS = fleet.settings
        return fleet

    return get


@pytest.fixture
def new_fleet(transactional_db, tmp_path, settings, zygote):
    """Return a function that makes a queue on a broker and its Celery worker, not started, for one test."""
    made = []

    def make(broker, *options, **jobs):
        require_broker(broker)
        fleet = Fleet(zygote, broker, tmp_path, *options, **jobs)
        made.append(fleet)
        settings.DJANGO_JOBS = fleet.settings
        return fleet

    yield make

    for fleet in made:
        fleet.close()
