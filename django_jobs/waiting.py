"""Wait for a job's newest run to end: for what its function returned, or for the error that says why not."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_jobs import codec, wakeup
from django_jobs.exceptions import JobCancelled, JobFailed, JobLookupError
from django_jobs.models import FINISHED, Job, Run, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

# Seconds between looks, which grow from the one to the other.
_FIRST, _LONGEST = 0.01, 0.25


def last_run(job_id: str, *, using: str) -> Run | None:
    """Return a job's newest run; None when it has none."""
    return Run.objects.using(using).filter(job_id=job_id).order_by("-id").first()


def wait(job_id: str, timeout: float | None, *, using: str) -> Any:
    """Return what a job's newest run returned, once it has; see `JobManager.wait`."""
    heard = threading.Event()

    def hear(topic: str) -> None:
        if topic in {wakeup.FINISHED, wakeup.ANYTHING}:
            heard.set()

    # Runs of this process are heard of at once, those of others at the next look.
    wakeup.subscribe(hear)
    try:
        for pause in _pauses(timeout):
            heard.clear()
            run = _newest_run(job_id, using)
            if run is not None and run.status in FINISHED:
                return _outcome(run)
            heard.wait(pause)
    finally:
        wakeup.unsubscribe(hear)
    raise _too_late(job_id, timeout)


async def await_end(job_id: str, timeout: float | None, *, using: str) -> Any:
    """Await `wait`, without holding a thread meanwhile."""
    for pause in _pauses(timeout):
        run = await sync_to_async(_newest_run)(job_id, using)
        if run is not None and run.status in FINISHED:
            return _outcome(run)
        await asyncio.sleep(pause)
    raise _too_late(job_id, timeout)


def _newest_run(job_id: str, using: str) -> Run | None:
    """Return a job's newest run; None when the job has not run yet.

    Raises:
        JobLookupError: There is no such job.
    """
    last = last_run(job_id, using=using)
    if last is None and not Job.objects.using(using).filter(pk=job_id).exists():
        raise JobLookupError(job_id)
    return last


def _outcome(run: Run) -> Any:
    match run.status:
        case Status.SUCCESSFUL:
            return None if run.result is None else codec.loads(run.result)
        case Status.CANCELLED:
            raise JobCancelled(run.job_id)
        case _:
            trace = (run.errors or [{}])[-1].get("traceback", "")
            raise JobFailed(run.job_id, run.error, trace)


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


def _too_late(job_id: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"job {job_id!r} has not ended after {timeout:g} s; it goes on")
