"""Wait for a job's newest run to end: for what its function returned, or for the error that says why not."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone

from django_jobs import codec
from django_jobs.api import batch_info
from django_jobs.exceptions import JobCancelled, JobFailed, JobLookupError
from django_jobs.execution import context
from django_jobs.models import BATCH_PREFIX, FINISHED, Batch, Job, Kind, Run, Status
from django_jobs.storage import notifications
from django_jobs.storage.limits import line
from django_jobs.storage.queues import obstacle
from django_jobs.storage.records import TOO_MANY

if TYPE_CHECKING:
    from collections.abc import Iterable

E = TypeVar("E")
# Seconds between looks, which grow from the one to the other.
_FIRST, _LONGEST = 0.01, 0.25


def last_run(job_id: str, *, using: str) -> Run | None:
    """Return a job's newest run; None when it has none."""
    return Run.objects.using(using).filter(job_id=job_id).order_by("-id").first()


def wait(job_id: str, timeout: float | None, *, using: str) -> Any:
    """Return what a job's newest run returned, once it has; see `JobManager.wait`."""
    heard = threading.Event()

    def hear(topic: str) -> None:
        if topic in {notifications.FINISHED, notifications.ANYTHING}:
            heard.set()

    # Runs of this process are heard of immediately, those of others at the next look.
    notifications.subscribe(hear)
    try:
        watch = _watch_of(job_id, using)
        for pause in _pauses(timeout):
            heard.clear()
            if (ended := watch.ended()) is not None:
                return watch.outcome(ended)
            if timeout is None:
                _check_can_end(job_id, using)
            heard.wait(pause)
    finally:
        notifications.unsubscribe(hear)
    raise TimeoutError(f"job {job_id!r} has not ended after {timeout:g} s: {_state(watch, using)}")


async def await_end(job_id: str, timeout: float | None, *, using: str) -> Any:
    """Await `wait`, without holding a thread meanwhile."""
    watch = await sync_to_async(_watch_of)(job_id, using)
    for pause in _pauses(timeout):
        ended = await sync_to_async(watch.ended)()
        if ended is not None:
            return watch.outcome(ended)
        if timeout is None:
            await sync_to_async(_check_can_end)(job_id, using)
        await asyncio.sleep(pause)
    state = await sync_to_async(_state)(watch, using)
    raise TimeoutError(f"job {job_id!r} has not ended after {timeout:g} s: {state}")


def _watch_of(job_id: str, using: str) -> _Waiting[Any]:
    """Return what looks at a job, or at a batch.

    Raises:
        RuntimeError: A run waits for its own batch.
    """
    row = Batch.objects.using(using).filter(key=job_id).first() if job_id.startswith(BATCH_PREFIX) else None
    if row is None:
        return _Watch(job_id, using)
    run = context.current_run()
    if run is not None and Run.objects.using(using).running().filter(pk=run.run_id, batch_id=row.pk).exists():
        raise RuntimeError(
            f"batch {row.name!r} ends after this run, which is part of it: to do something at its end, use on_end"
        )
    return _BatchWatch(row, using)


class _Waiting(Generic[E]):
    """Looks again and again until something has ended."""

    def ended(self) -> E | None:
        """Return what has ended; None while that is to come."""
        raise NotImplementedError

    def outcome(self, ended: E) -> Any:
        """Return what it came to, or raise it."""
        raise NotImplementedError

    def state(self) -> str:
        """Say what it waits for."""
        raise NotImplementedError


class _BatchWatch(_Waiting[Batch]):
    """Looks at a batch until it has ended.

    Args:
        row: Of the batch.
        using: Alias of the database.
    """

    def __init__(self, row: Batch, using: str) -> None:
        self._row = row
        self._using = using

    def ended(self) -> Batch | None:
        """Return the batch, once it has ended."""
        row = Batch.objects.using(self._using).filter(pk=self._row.pk).first()
        if row is None:
            raise JobLookupError(self._row.key)
        self._row = row
        return None if row.ended_at is None else row

    def outcome(self, ended: Batch) -> Any:
        """Return the batch as a dict.

        Raises:
            JobFailed: Not all of it went well.
            JobCancelled: It was cancelled.
        """
        if ended.status == Status.CANCELLED:
            raise JobCancelled(ended.key)
        if ended.status != Status.SUCCESSFUL:
            raise JobFailed(ended.key, batch_info.failure_of(ended, using=self._using))
        return batch_info.of_row(ended)

    def state(self) -> str:
        """Say what it waits for."""
        row = self._row
        left = f"{row.total - row.ended_runs} of its {row.total} runs have not ended"
        return f"{left}, and it was not closed" if row.closed_at is None else left


class _Watch(_Waiting[Run]):
    """Looks at a job again and again, until the run that the caller means has ended.

    Args:
        job_id: Of the job.
        using: Alias of the database.
    """

    def __init__(self, job_id: str, using: str) -> None:
        self._job_id = job_id
        self._using = using
        # The newest run that was seen unfinished.
        self._seen: int | None = None
        # The newest run while the job is still to come, 0 for none: of another job that had its id.
        self._past: int | None = None

    def ended(self) -> Run | None:
        """Return the run whose end is the job's; None while that is to come.

        Raises:
            JobLookupError: There is no such job.
        """
        newest = last_run(self._job_id, using=self._using)
        if newest is not None and newest.status not in FINISHED:
            self._seen = newest.pk
            return None
        job = Job.objects.using(self._using).filter(pk=self._job_id).first()
        if job is None:
            # It may have fired since the run was looked for, which takes a scheduled job's row away.
            newest = last_run(self._job_id, using=self._using)
        elif job.kind == Kind.SCHEDULED and newest is not None and newest.pk != job.last_run_id:
            self._past = newest.pk
            return None
        if newest is None or (job is None and newest.pk == self._past):
            if job is None:
                raise JobLookupError(self._job_id)
            return None
        # One that was claimed had expired, and is the one that is meant.
        is_let_pass = newest.status == Status.SKIPPED and not newest.attempt
        return self._beside(newest) if is_let_pass else self._if_ended(newest)

    def outcome(self, ended: Run) -> Any:
        """Return what the run's function returned.

        Raises:
            JobFailed: It ended FAILED or SKIPPED.
            JobCancelled: It was cancelled.
        """
        match ended.status:
            case Status.SUCCESSFUL:
                return None if ended.result is None else codec.loads(ended.result)
            case Status.CANCELLED:
                raise JobCancelled(ended.job_id)
            case _:
                trace = (ended.errors or [{}])[-1].get("traceback", "")
                raise JobFailed(ended.job_id, ended.error, trace)

    def state(self) -> str:
        """Say what it waits for."""
        return _waits_for(self._job_id, self._using)

    def _if_ended(self, run: Run) -> Run | None:
        if run.status in FINISHED:
            return run
        self._seen = run.pk
        return None

    def _beside(self, skipped: Run) -> Run | None:
        """Return the run that goes on, or went on, while a firing was skipped beside it."""
        runs = Run.objects.using(self._using).filter(job_id=self._job_id)
        unfinished = runs.unfinished().order_by("-id").first()
        if unfinished is not None:
            return self._if_ended(unfinished)
        if self._seen is not None:
            return runs.filter(pk=self._seen).first() or skipped
        if not skipped.error.startswith(TOO_MANY):
            return skipped
        # It has ended before the first look.
        return (
            runs.filter(pk__lt=skipped.pk).exclude(status=Status.SKIPPED).order_by("-id").first() or skipped
        )


def _pauses(timeout: float | None) -> Iterable[float]:
    """Yield the pauses between looks, growing, until the time is over; the last look comes at its end."""
    end = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST
    while True:
        left = pause if end is None else end - time.monotonic()
        yield max(0.0, min(pause, left))
        if end is not None and left <= 0:
            return
        pause = min(_LONGEST, pause * 1.5)


_IN_ATOMIC = (
    "inside atomic() nothing begins that the transaction adds, until it commits: wait after it; in tests, "
    "have jobs executed with jobs.drain()"
)


def _check_can_end(job_id: str, using: str) -> None:
    """Refuse to wait without an end inside a transaction.

    Raises:
        RuntimeError: One is under way.
    """
    if connections[using].in_atomic_block:
        raise RuntimeError(f"job {job_id!r} has not ended, and is waited for without a timeout; {_IN_ATOMIC}")


def _state(watch: _Waiting[Any], using: str) -> str:
    """Say what is waited for in vain."""
    state = watch.state()
    return f"{state}; {_IN_ATOMIC}" if connections[using].in_atomic_block else state


def _waits_for(job_id: str, using: str) -> str:
    run = Run.objects.using(using).unfinished().filter(job_id=job_id).order_by("-id").first()
    if run is None:
        return "it has not fired yet"
    if run.status == Status.RUNNING:
        return f"it runs in {run.worker_id}, and goes on"
    if run.state == "dependent":
        return "it waits for other runs of its batch"
    if (place := line.place_of(run, using=using)) is not None and run.held_run_after is None:
        return f"it waits for {place}"
    if run.run_after is None:
        return f"it is broken: {run.error}" if run.state == "broken" else "it is paused"
    if run.run_after > timezone.now():
        return f"it is to begin at {run.run_after.isoformat()}"
    why = {
        "paused": ", which is paused",
        "unserved": ", which no live worker serves",
        "unknown": f", for a process that knows {run.func}",
    }
    found = obstacle(run.queue_name, run.func, using=using)
    return f"it waits in the queue {run.queue_name!r}{why.get(found, '')}"
