"""Delete history in small transactions, with a rest after each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.models import FINISHED, Job, Rollup, Run, Status, Worker
from django_jobs.storage.retention.walks import in_batches, of_job
from django_jobs.storage.statistics.rows import outdated

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from django.db.models import QuerySet

    from django_jobs.storage.retention.walks import Row

# After each batch, rest as many times as long as it took: SQLite has one writer at a time.
REST = 4


@dataclass(slots=True)
class Pruned:
    """How many rows were deleted, or would be."""

    runs: int = 0
    workers: int = 0
    rollups: int = 0
    # Whether all was looked at; False when it ran out of time or was stopped.
    is_complete: bool = True


class Deleter:
    """Deletes rows in small transactions, rests after each, and counts.

    Args:
        using: Alias of the database.
        stopped: Ends it when set.
        dry_run: Only count.
        on_progress: Called after each batch.
    """

    def __init__(
        self,
        using: str,
        stopped: threading.Event,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Pruned], None] | None = None,
    ) -> None:
        self._using = using
        self._stopped = stopped
        self._is_dry = dry_run
        self._on_progress = on_progress
        self._ends_at: float | None = None
        self.pruned = Pruned()

    def limit(self, seconds: float) -> None:
        """Give what follows this much time."""
        self._ends_at = time.monotonic() + seconds

    @property
    def must_end(self) -> bool:
        """Whether it was stopped, or is out of time."""
        return self._stopped.is_set() or (self._ends_at is not None and time.monotonic() > self._ends_at)

    def each(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches while there is time, with a rest after each in which others write."""
        began = time.monotonic()
        for batch in batches:
            yield batch
            if self._on_progress is not None:
                self._on_progress(self.pruned)
            self._stopped.wait(min(1.0, REST * (time.monotonic() - began)))
            if self.must_end:
                self.pruned.is_complete = False
                return
            began = time.monotonic()

    def delete_runs(self, rows: Sequence[Row], ended_before: datetime) -> None:
        """Delete those that ended before some time, but for the newest of scheduled jobs."""
        old = [row for row in rows if row.has_ended(ended_before)]
        kept = self._last_runs(old)
        ids = [row.pk for row in old if row.pk not in kept]
        # Asked again: somebody may have retried one since it was read.
        runs = self._runs().filter(pk__in=ids, status__in=FINISHED, finished_at__lt=ended_before)
        self.pruned.runs += self._delete(runs, ids)

    def delete_job(self, job_id: str, edge: int, keep: int, cutoff: datetime | None) -> None:
        """Delete the runs of a job up to one; those that ended before the cutoff are counted already.

        As many of those that are not SKIPPED are kept by themselves: skipped ones do not push them out.
        """
        others = self._runs().filter(job_id=job_id).exclude(status=Status.SKIPPED).order_by("-pk")
        last = next(iter(others.values_list("pk", flat=True)[keep : keep + 1]), 0)
        for rows in self.each(of_job(self._using, job_id, edge)):
            ended = [row for row in rows if row.status in FINISHED and not (cutoff and row.has_ended(cutoff))]
            ids = [row.pk for row in ended if row.status == Status.SKIPPED or row.pk <= last]
            self.pruned.runs += self._delete(self._runs().filter(pk__in=ids, status__in=FINISHED), ids)

    def delete_workers(self, cutoff: datetime) -> None:
        """Delete the rows of workers that ended before some time."""
        ended = Worker.objects.using(self._using).filter(stopped_at__lt=cutoff)
        if self._is_dry:
            self.pruned.workers += ended.count()
            return
        for ids in self.each(in_batches(ended.order_by("stopped_at"))):
            self.pruned.workers += self._delete(ended.filter(pk__in=ids), ids)

    def delete_rollups(self, now: datetime) -> None:
        """Delete rollups that are older than they are kept."""
        for rollups in outdated(now, using=self._using):
            for ids in self.each(in_batches(rollups)):
                self.pruned.rollups += self._delete(Rollup.objects.using(self._using).filter(pk__in=ids), ids)

    def _runs(self) -> QuerySet[Run]:
        return Run.objects.using(self._using).all()

    def _last_runs(self, rows: Sequence[Row]) -> set[int | None]:
        jobs = Job.objects.using(self._using).filter(pk__in={row.job_id for row in rows})
        return set(jobs.values_list("last_run_id", flat=True)) if rows else set()

    def _delete(self, rows: QuerySet[Any], ids: Sequence[Any]) -> int:
        if not ids:
            return 0
        # One statement: nothing refers to these rows that would have to be looked for.
        return len(ids) if self._is_dry else int(rows._raw_delete(self._using))


def days_before(now: datetime, days: float) -> datetime:
    """Return the time some days before another one."""
    # No further than datetimes go.
    return now - timedelta(days=min(days, (now - datetime(1970, 1, 1, tzinfo=UTC)).days))
