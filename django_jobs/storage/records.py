"""A run as it is handed on: to insert, as claimed, and what one attempt came to; and what its row keeps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs.conf import jobs_settings
from django_jobs.models import DEFAULT_QUEUE_NAME, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

# Attempts that a run remembers, and how many times MAX_ERROR_BYTES their tracebacks may have:
# what a job that is tried for ever adds to its row has an end.
MOST_ERRORS, MOST_TRACEBACKS = 200, 20
# What the error of a firing begins with that `max_instances` let pass.
TOO_MANY = "MaxInstances"
# What a run remembers of an attempt that is not counted, for its worker stopped before it ended.
INTERRUPTED = "WorkerStopped: its worker stopped"


@dataclass(slots=True)
class NewRun:
    """A run to insert. `run_after` is a time, or "now" by the database's clock, or "held"."""

    job_id: str
    name: str
    func: str
    payload: str
    signature: str
    queue_name: str = DEFAULT_QUEUE_NAME
    priority: int = 0
    options: dict[str, Any] | None = None
    kind: str = Kind.IMMEDIATE.value
    run_after: datetime | str = "now"
    scheduled_at: datetime | None = None
    unique_key: str | None = None
    status: str = Status.READY.value
    error: str = ""
    worker_id: str = ""


@dataclass(slots=True)
class ClaimedRun:
    """A run as the worker that claimed it sees it."""

    id: int
    job_id: str
    func: str
    # Not shown: it may hold secrets, and receivers of signals write runs to logs.
    payload: str = field(repr=False)
    signature: str = field(repr=False)
    queue_name: str
    priority: int
    options: dict[str, Any]
    kind: str
    attempt: int
    rescues: int
    unique_key: str | None
    errors: list[dict[str, Any]]
    name: str
    worker_id: str
    # When it was due, as a raw cursor has it; None where that is not known.
    run_after: datetime | str | None = None


def claimed(run: NewRun, run_id: int) -> ClaimedRun:
    """Return a run that was inserted as RUNNING, as if its worker had claimed it then."""
    return ClaimedRun(
        id=run_id,
        job_id=run.job_id,
        func=run.func,
        payload=run.payload,
        signature=run.signature,
        queue_name=run.queue_name,
        priority=run.priority,
        options=dict(run.options or {}),
        kind=run.kind,
        attempt=1,
        rescues=0,
        unique_key=run.unique_key,
        errors=[],
        name=run.name,
        worker_id=run.worker_id,
        run_after=datetime.now(UTC),
    )


@dataclass(slots=True)
class Outcome:
    """What one attempt came to.

    A status of READY means: again `retry_in` seconds after it is written, by the database's clock;
    or without that only when somebody releases it.
    """

    status: str
    started_at: datetime
    finished_at: datetime
    result: str | None = None
    error: str = ""
    traceback: str = ""
    retry_in: float | None = None
    log: str = ""
    progress: dict[str, Any] | None = None
    # The class of what was raised, as module.qualname; empty where nothing was.
    exception: str = ""


def _short(job_id: str) -> str:
    # A key of 255 characters is the longest that MariaDB is sure to take, and an id may be as long.
    return job_id if len(job_id) <= 200 else f"sha256:{hashlib.sha256(job_id.encode()).hexdigest()}"


def immediate_key(job_id: str) -> str:
    """Return the unique key that an unfinished immediate job holds."""
    return f"i:{_short(job_id)}"


def occurrence_key(job_id: str, scheduled_at: datetime, since: datetime | None = None) -> str:
    """Return the unique key of one occurrence: one scheduled time of one job makes one run, ever.

    Args:
        job_id: Of the job.
        scheduled_at: Its scheduled time.
        since: Where an earlier job of this id has a run of this time: `Job.occurrences_since` of the new one.
    """
    of = "" if since is None else f"+{_microseconds(since)}"
    return f"f:{_short(job_id)}{of}@{_microseconds(scheduled_at)}"


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def renewed(options: dict[str, Any] | None, since: datetime | None = None) -> dict[str, Any] | None:
    """Return a run's options with its time to expire counted from some time, or from now."""
    if not options or "expires" not in options:
        return options
    return {**options, "expires_at": (since or timezone.now()).timestamp() + options["expires"]}


def with_error(errors: Sequence[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a run's errors with another one; of very many, the first and the last are kept whole."""
    kept = [*errors, entry]
    if len(kept) > MOST_ERRORS:
        del kept[1]
    room = MOST_TRACEBACKS * jobs_settings().MAX_ERROR_BYTES
    for index in range(len(kept) - 1, 0, -1):
        room -= len(kept[index]["traceback"])
        if room < 0:
            kept[index] = {**kept[index], "traceback": ""}
    return kept


def error_entry(attempt: int, worker_id: str, outcome: Outcome) -> dict[str, Any]:
    """Return what `Run.errors` keeps of one attempt that did not succeed."""
    return {
        "attempt": attempt,
        "worker_id": worker_id,
        "started_at": outcome.started_at.isoformat(),
        "finished_at": outcome.finished_at.isoformat(),
        "error": outcome.error,
        "traceback": outcome.traceback,
        "exception": outcome.exception,
    }
