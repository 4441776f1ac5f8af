"""Attempts to count, and what was counted."""

from datetime import timedelta
from types import SimpleNamespace

from django.utils import timezone

from django_jobs.storage import statistics
from django_jobs.storage.records import Outcome

NOW = timezone.now


def attempt(
    status="SUCCESSFUL", *, func="m:f", queue_name="default", ran=0.0, waited=0.0, ended=None, retry_in=None
):
    ended = ended or NOW()
    started = ended - timedelta(seconds=ran)
    due = None if waited is None else started - timedelta(seconds=waited)
    run = SimpleNamespace(func=func, queue_name=queue_name, run_after=due)
    return run, Outcome(status, started, ended, retry_in=retry_in)


def count(*attempts):
    statistics.note_attempts(attempts)
    assert statistics.flush("default")


def last_hour(**more):
    return statistics.totals(NOW() - timedelta(hours=1), **more)
