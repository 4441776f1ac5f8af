"""django-apscheduler's own store, in the process that works, as its readme shows it."""

from __future__ import annotations

import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta

import django
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from tests.benchmarks.peers import functions

_state: dict[str, BackgroundScheduler] = {}


def _scheduler(*, paused: bool) -> BackgroundScheduler:
    from django_apscheduler.jobstores import DjangoJobStore

    if "it" not in _state:
        scheduler = _state["it"] = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(10)},
            # Its default would call a backlog missed, and run none of it.
            job_defaults={"misfire_grace_time": None},
        )
        scheduler.add_jobstore(DjangoJobStore(), "default")
        scheduler.start(paused=paused)
    return _state["it"]


def _add(function: object, *args: str, late: int = 0) -> None:
    at = datetime.now(UTC) + timedelta(seconds=late)
    _scheduler(paused=True).add_job(function, "date", run_date=at, args=args, id=uuid.uuid4().hex)


def enqueue_nothing() -> None:
    """Enqueue one no-op."""
    _add(functions.nothing)


def enqueue_begin(path: str) -> None:
    """Enqueue the first job."""
    _add(functions.note_time, path)


def enqueue_end(path: str) -> None:
    """Enqueue the last job."""
    _add(functions.note_time, path)


def main() -> None:
    """Work until the process is ended."""
    django.setup()
    _scheduler(paused=False)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
