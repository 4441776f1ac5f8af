"""Kill and stop processes that execute runs, at an exact instant or at a random one, at the cost of a fork each.

    python -m tests.faults kills around KILLS SECONDS SEED
    python -m tests.faults kills at CASES

This process has imported everything, and holds no connection. It forks a child that claims and executes runs as a
worker's thread does; once that is dead, or stopped for longer than its lease, the next child takes its runs. What
came of it is written as JSON to FAULTS_GATE.report.
"""

import json
import os
import random
import select
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from django.db import connections

from django_jobs import get_job_manager
from django_jobs.execution import recording
from django_jobs.execution.attempt import Attempt
from django_jobs.execution.steps import loop
from django_jobs.models import Run, Worker
from django_jobs.storage import claims
from django_jobs.storage.transactions import database_now
from django_jobs.worker import registration
from django_jobs.worker.rescue import rescue, rescue_at_start
from django_jobs.worker.worker import Worker as WorkerOfThisProcess
from tests.faults import instants
from tests.probes import durable, effects  # noqa: F401 - imported before the first fork
from tests.probes.models import Mark

# The last kills come so many times as long after a function's begin as it takes to its outcome.
REACH = 2.0
# Runs that are added when there are none.
ADDED = 100
ENOUGH_RESCUES = 10_000


def main(what, *arguments):
    """Do what was asked for, and report."""
    connections.close_all()
    # However slow this machine is, a page is kept at its end.
    loop.KEEP_SECONDS = float("inf")
    report = {"around": around, "at": at}[what](*arguments)
    Path(os.environ["FAULTS_GATE"] + ".report").write_text(json.dumps(report))


# At a random instant


def around(kills, seconds, seed):
    """Kill `kills` processes around the commit of an atomic function, or as many as there is time for."""
    chance = random.Random(int(seed))
    whole = _measure()
    ends = time.monotonic() + float(seconds)
    done = 0
    while done < int(kills) and time.monotonic() < ends:
        done += _kill_one(chance.uniform(0, REACH * whole))
    to_end(lambda _: drain())
    return {"kills": done, "milliseconds": round(whole * 1000, 2)}


def _measure():
    """Return the seconds from a function's begin to its outcome, in a process that has just begun: the median."""
    lengths = []
    for _ in range(15):
        pid, told = fork(lambda tell: _work_for_ever(tell, most=1))
        at = []
        while os.read(told, 1):
            at.append(time.monotonic())
        os.close(told)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        lengths.append(at[1] - at[0])
    return sorted(lengths)[len(lengths) // 2]


def _kill_one(after):
    """Have a child work, and kill it so many seconds after a function began; return whether one did."""
    pid, told = fork(_work_for_ever)
    is_begun = bool(select.select([told], [], [], 30)[0] and os.read(told, 1))
    ends = time.monotonic() + after
    while time.monotonic() < ends:
        # A sleep is not as exact.
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(told)
    return is_begun


def _work_for_ever(tell, *, most=0):
    """Execute runs one after the other, and tell when each begins and ends."""
    effects.tell = lambda: os.write(tell, b"b")
    worker_id = register()
    done = 0
    while not most or done < most:
        if _execute_one(worker_id):
            os.write(tell, b"e")
            done += 1
        else:
            get_job_manager().add_many([(effects.mark_this_run, ()) for _ in range(ADDED)])


# At an exact instant


def at(cases):
    """Kill or stop the process that executes a run at an instant of each case; return what became of the runs.

    A case is a function, its arguments, the instant as of `tests.faults.instants`, at which call of that function, and
    "kill" or "stop".
    """
    return [_case(*case) for case in json.loads(cases)]


def _case(func, args, instant, nth, act):
    path, when = instant.split()

    def be_hit(_):
        instants.set_at(path, when, at_call(nth, signal.SIGKILL if act == "kill" else signal.SIGSTOP))
        drain()

    run_id = int(to_end(lambda tell: os.write(tell, str(_add(func, args)).encode())))
    pid, told = fork(be_hit)
    code = os.waitpid(pid, os.WUNTRACED)[1]
    os.close(told)
    assert os.WIFSIGNALED(code) if act == "kill" else os.WIFSTOPPED(code), f"{func} was not hit {instant}"
    to_end(lambda _: drain(after_lease=True))
    if act == "stop":
        os.kill(pid, signal.SIGCONT)
        assert os.waitpid(pid, 0)[1] == 0
    return json.loads(to_end(lambda tell: os.write(tell, json.dumps(_outcome(run_id)).encode())))


def at_call(nth, number):
    calls = [0]

    def act():
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), number)

    return act


def _add(func, args):
    return Run.objects.get(job_id=get_job_manager().add_immediate_job(func, *args)).pk


def _outcome(run_id):
    run = Run.objects.get(pk=run_id)
    marks = Mark.objects.filter(text__startswith=f"{run_id} ").order_by("pk").values_list("text", flat=True)
    return [run.status, run.attempt, " ".join(text.partition(" ")[2] for text in marks)]


# What children do


def drain(*, after_lease=False):
    """Execute runs until none is left.

    Args:
        after_lease: Whether the leases of all that came before have ended.
    """
    if after_lease:
        an_hour_ago = database_now("default") - timedelta(hours=1)
        Worker.objects.filter(stopped_at__isnull=True).update(lease_expires_at=an_hour_ago)
        rescue(database_now("default"), [], using="default", max_rescues=ENOUGH_RESCUES, by_lease=True)
    worker_id = register()
    while Run.objects.unfinished().exists():
        if not _execute_one(worker_id):
            time.sleep(0.02)


def register():
    worker = WorkerOfThisProcess(using="default", claims=False)
    registration.open_row(worker, worker.id)
    return worker.id


def _execute_one(worker_id):
    # Each time: a run that the database still has locked for one that was just killed is left out.
    rescue_at_start(database_now("default"), using="default", max_rescues=ENOUGH_RESCUES)
    runs = claims.claim(worker_id, limit=1, using="default")
    for run in runs:
        attempt = Attempt(run)
        attempt.begin()
        recording.record([(run, attempt.execute())], using="default")
    return bool(runs)


def fork(work):
    """Have a child do something; return its id, and what to read from that it tells."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writes)
        return pid, reads
    code = 1
    try:
        os.close(reads)
        work(writes)
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def to_end(work):
    """Have a child do something to its end; return what it told."""
    pid, told = fork(work)
    text = b""
    while more := os.read(told, 1000):
        text += more
    os.close(told)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text
