"""Child side of executors: execute one run in a process that nobody talks to, so that it watches the run itself."""

from __future__ import annotations

import json
from dataclasses import asdict

from django_jobs.execution.attempt import Attempt
from django_jobs.execution.watchdog import AttemptWatch
from django_jobs.models import jobs_database
from django_jobs.storage import connections
from django_jobs.storage.records import ClaimedRun


def execute_in_child(run: str) -> str:
    """Execute a run that was claimed for the worker of another process; return its outcome as JSON."""
    attempt = Attempt(ClaimedRun(**json.loads(run)))
    attempt.start_clock()
    connections.tidy()
    try:
        with AttemptWatch(attempt, jobs_database()):
            outcome = attempt.execute_to_end()
    finally:
        connections.end_transactions()
        connections.give_back()
    return json.dumps({**asdict(outcome), "is_interrupted": attempt.is_interrupted}, default=str)
