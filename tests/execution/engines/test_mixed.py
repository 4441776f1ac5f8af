"""The same mixed jobs come to the same table of outcomes on each engine, with its workers killed once."""

import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from django_jobs import codec
from django_jobs.models import Run, Worker
from tests.execution.engines.conftest import QUICK
from tests.probes.mixed import MIX

MANAGE = str(Path(__file__).parents[3] / "testproject" / "manage.py")
ENGINES = ["threads", "processes", "celery-rabbitmq", "celery-redis"]


class Workers:
    """Two `runjobs` processes."""

    def __init__(self, spawn, until, engine):
        self._spawn, self._until = spawn, until
        # What is rescued twice is executed apart; what crashes must not take a thread's process again.
        self.settings = {**QUICK, "ENGINES": {"mixed": engine}, "THREADS": 4, "MAX_RESCUES": 100}
        self.queue_name = "mixed"
        self._processes = []

    def start(self):
        env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "TESTS_DJANGO_JOBS": json.dumps(self.settings)}
        self._processes = [self._spawn(sys.executable, MANAGE, "runjobs", env=env) for _ in range(2)]

    def keep_going(self):
        """Do what a service manager does: start those that ended."""
        env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "TESTS_DJANGO_JOBS": json.dumps(self.settings)}
        for index, process in enumerate(self._processes):
            if process.poll() is not None:
                self._processes[index] = self._spawn(sys.executable, MANAGE, "runjobs", env=env)

    def kill(self):
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


class Celerys:
    """A Celery worker of two processes."""

    def __init__(self, fleet):
        self._fleet = fleet
        self.settings, self.queue_name = fleet.settings, fleet.queue_name
        self.start, self.kill = fleet.start, fleet.kill

    def keep_going(self):
        """Celery replaces its processes itself."""


@pytest.fixture
def workers(request, spawn, until, new_fleet, settings, serve):
    """What executes the queue `queue_name`, and this process's service to see to it."""
    name = request.param
    if name.startswith("celery"):
        found = Celerys(new_fleet(name.partition("-")[2], MAX_RESCUES=100))
    else:
        found = Workers(spawn, until, name)
    # It fires, dispatches, and finds what is dead; it executes nothing.
    settings.DJANGO_JOBS = found.settings
    serve(worker=True, queues=["nothing", *([found.queue_name] if name.startswith("celery") else [])])
    return found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", ENGINES, indirect=True)
def test_mixed_jobs_come_to_the_same_outcomes_on_each_engine(workers, manager, until, request, say):
    count = request.config.getoption("--mixed-jobs", None) or 100
    jobs = [name for name, (share, _, _) in MIX.items() for _ in range(share * count // 100)]
    random.Random(6).shuffle(jobs)
    workers.start()
    for number, name in enumerate(jobs):
        view = manager.using(queue_name=workers.queue_name, name=name, **MIX[name][1])
        view.add_immediate_job(f"tests.probes.mixed:{name}", number)

    def finished():
        workers.keep_going()
        return Run.objects.finished().count()

    until(lambda: finished() >= len(jobs) // 3, timeout=500, every=0.1)
    workers.kill()
    workers.start()
    until(lambda: finished() == len(jobs), timeout=500, every=0.2)

    table = Counter()
    for run in Run.objects.all():
        table[run.name, run.status, run.error.partition(":")[0]] += 1
    expected = Counter()
    for name in jobs:
        expected[(name, *MIX[name][2])] += 1
    assert table == expected
    for run in Run.objects.filter(status="SUCCESSFUL"):
        assert codec.load_arguments(run.payload)[0] == (codec.loads(run.result),)
    assert Worker.objects.filter(was_lost=True).exists()
    say(f"{request.node.callspec.id}: {dict(sorted(table.items()))}")
