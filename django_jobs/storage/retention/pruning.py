"""Delete all history beyond some limits, as `jobs prune` does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django_jobs.models import jobs_database
from django_jobs.storage.retention.deleter import Deleter, Pruned, days_before
from django_jobs.storage.retention.walks import all_beyond, by_age
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Callable


def prune(
    *,
    keep_days: float | None,
    keep_runs_per_job: int | None,
    dry_run: bool = False,
    on_progress: Callable[[Pruned], None] | None = None,
    stopped: threading.Event | None = None,
    using: str | None = None,
) -> Pruned:
    """Delete all history beyond some limits, looking at all of it once.

    Runs that say themselves how long they are kept are deleted when that is over, whatever the limits.
    Only finished runs, and rows of workers that have ended. The newest run of a scheduled or recurring
    job is kept whatever its age, so that the job can show it. May run beside anything else, also
    beside itself.

    Args:
        keep_days: Days since a run finished, or a worker ended; None for no limit.
        keep_runs_per_job: Runs of each job, the newest; None for no limit. To find jobs that have more,
            the index of jobs is read as a whole, without a lock.
        dry_run: Only count.
        on_progress: Called after each batch, with what was deleted so far.
        stopped: Ends it early when set.
        using: Alias of the database; None for that of the jobs.

    Raises:
        ValueError: A limit is negative, or no run of a job would be kept.
    """
    if keep_days is not None and keep_days < 0:
        raise ValueError(f"keep_days must be at least 0, not {keep_days}")
    if keep_runs_per_job is not None and keep_runs_per_job < 1:
        raise ValueError(f"keep_runs_per_job must be at least 1, not {keep_runs_per_job}")
    using = using or jobs_database()
    deleter = Deleter(using, stopped or threading.Event(), dry_run=dry_run, on_progress=on_progress)
    now = database_now(using)
    cutoff = None if keep_days is None else days_before(now, keep_days)
    deleter.delete_expired(now)
    if cutoff is not None:
        deleter.delete_workers(cutoff)
        deleter.delete_batches(cutoff)
        for rows, _ in deleter.each(by_age(using, cutoff)):
            deleter.delete_runs(rows, cutoff)
    if keep_runs_per_job is not None:
        for job_id, edge in all_beyond(using, keep_runs_per_job):
            deleter.delete_job(job_id, edge, keep_runs_per_job, cutoff)
            if deleter.must_end:
                break
    return deleter.pruned
