"""Stop or end this process at an exact instant, and write its events to the ledger.

FAULTS_AT holds instants like "django_jobs.storage.claims:claim after kill", separated by ";": a function of
django_jobs, "before" or "after" its call, and what happens there:

    kill    the process is killed, as by SIGKILL
    stop    the process is stopped, as by SIGSTOP; once
    lose    the database's answer is lost: the call raises OperationalError; once
    hold    the thread waits until the file FAULTS_GATE appears, having made FAULTS_GATE.reached

A call that returns an empty list found nothing to do, and "after" waits for one that did.
"""

import functools
import os
import signal
import time
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name

from django.db import OperationalError

from django_jobs import signals
from tests.probes import ledger


def install():
    """Set all instants of FAULTS_AT; a function that is no longer there is an error."""
    for instant in filter(None, os.environ.get("FAULTS_AT", "").split(";")):
        path, when, act = instant.split()
        set_at(path, when, ACTS[act]())
    if os.environ.get("FAULTS_ELSEWHERE"):
        # As on another host: nobody here can prove that this process is gone.
        resolve_name("django_jobs.storage.identity").process_key = lambda: ""


def set_at(path, when, act):
    """Have something called before or after each call of a function."""
    module, _, qualname = path.partition(":")
    *parents, name = qualname.split(".")
    owner = resolve_name(module)
    if parents:
        owner = attrgetter(".".join(parents))(owner)
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args, **kwargs):
        if when == "before":
            act()
        result = original(*args, **kwargs)
        if when == "after" and result != []:
            act()
        return result

    setattr(owner, name, call)


def _once(act):
    left = [act]

    def call():
        if left:
            left.pop()()

    return call


def _kill():
    return lambda: os.kill(os.getpid(), signal.SIGKILL)


def _stop():
    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)
        # Another thread may be the one that takes the signal, a moment before it stops this one.
        time.sleep(0.2)

    return _once(stop)


def _lose():
    def lose():
        raise OperationalError("the answer was lost")

    return _once(lose)


def _hold():
    gate = Path(os.environ["FAULTS_GATE"])

    def act():
        gate.with_suffix(".reached").touch()
        while not gate.exists():
            time.sleep(0.01)

    return act


ACTS = {"kill": _kill, "stop": _stop, "lose": _lose, "hold": _hold}


def write_events():
    """Have what this process recorded, refused, rescued and fired written to the ledger."""
    if not os.environ.get("FAULTS_LEDGER"):
        return
    signals.run_finished.connect(_recorded)
    signals.run_refused.connect(_refused)
    signals.run_rescued.connect(_rescued)
    signals.job_fired.connect(_fired)


def _recorded(*, run, outcome, **_):
    ledger.write("recorded", job=run.job_id, run=run.id, attempt=run.attempt, status=str(outcome.status))


def _refused(*, run, **_):
    ledger.write("refused", job=run.job_id, run=run.id, attempt=run.attempt)


def _rescued(*, job_id, run_id, status, **_):
    ledger.write("rescued", job=job_id, run=run_id, status=status)


def _fired(*, job_id, run_id, scheduled_at, **_):
    ledger.write("fired", job=job_id, run=run_id, scheduled_at=str(scheduled_at))
