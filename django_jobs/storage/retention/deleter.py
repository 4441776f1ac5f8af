"""Delete history in small transactions, with a rest after each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Sum
from django.utils.functional import cached_property

from django_jobs.models import (
    FINISHED,
    Batch,
    Dependency,
    Dependent,
    DepthSample,
    Job,
    Rollup,
    Run,
    Status,
    Worker,
)
from django_jobs.storage import steps, tags
from django_jobs.storage.retention.walks import BATCH, in_batches, of_job, read_rows
from django_jobs.storage.statistics import depth
from django_jobs.storage.statistics.rows import outdated
from django_jobs.storage.transactions import database_now, write_transaction
from django_jobs.storage.unique_keys import WINDOW, mark_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from django.db.models import QuerySet

    from django_jobs.storage.retention.walks import Row

# After each batch, rest as many times as long as it took: SQLite has one writer at a time.
REST = 4
# A run that expired and is kept nevertheless, such as the last one of a schedule, is looked at again after this.
POSTPONED = timedelta(days=1)


@dataclass(slots=True)
class Pruned:
    """How many rows were deleted, or would be."""

    runs: int = 0
    workers: int = 0
    rollups: int = 0
    # Their runs are counted as well.
    batches: int = 0
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
        kept = self._last_runs(old) | self._within_a_time(old)
        ids = [row.pk for row in old if row.pk not in kept]
        # Asked again: somebody may have retried one since it was read.
        runs = self._runs().filter(pk__in=ids, status__in=FINISHED, finished_at__lt=ended_before)
        self.pruned.runs += self._delete_runs(runs, ids)

    def delete_job(self, job_id: str, edge: int, keep: int, cutoff: datetime | None) -> None:
        """Delete the runs of a job up to one; those that ended before the cutoff are counted already.

        As many of those that are not SKIPPED are kept by themselves: skipped ones do not push them out.
        """
        others = self._runs().filter(job_id=job_id).exclude(status=Status.SKIPPED).order_by("-pk")
        last = next(iter(others.values_list("pk", flat=True)[keep : keep + 1]), 0)
        for rows in self.each(of_job(self._using, job_id, edge)):
            own = [row for row in rows if row.status in FINISHED and row.is_for_itself]
            ended = [row for row in own if not (cutoff and row.has_ended(cutoff))]
            kept = self._within_a_time(ended)
            ids = [
                row.pk
                for row in ended
                if (row.status == Status.SKIPPED or row.pk <= last) and row.pk not in kept
            ]
            self.pruned.runs += self._delete_runs(self._runs().filter(pk__in=ids, status__in=FINISHED), ids)

    def delete_expired(self, now: datetime) -> None:
        """Delete runs that say themselves how long they are kept, along the index of that."""
        for rows in self.each(self._expired(now)):
            kept = self._last_runs(rows) | self._within_a_time(rows)
            ids = [row.pk for row in rows if row.pk not in kept]
            late = [row.pk for row in rows if row.pk in kept]
            runs = self._runs().filter(pk__in=ids, status__in=FINISHED, keep_until__lt=now)
            self.pruned.runs += self._delete_runs(runs, ids)
            if not self._is_dry:
                # Later, or they would be in the way of the next ones.
                self._runs().filter(pk__in=late).update(keep_until=now + POSTPONED)

    def _expired(self, now: datetime) -> Iterator[list[Row]]:
        runs = self._runs().filter(keep_until__lt=now).order_by("keep_until")
        if self._is_dry:
            ids = list(runs.values_list("pk", flat=True))
            starts = range(0, len(ids), BATCH)
            yield from (read_rows(self._runs().filter(pk__in=ids[start : start + BATCH])) for start in starts)
            return
        while ids := list(runs.values_list("pk", flat=True)[:BATCH]):
            yield read_rows(self._runs().filter(pk__in=ids))

    def delete_batches(self, cutoff: datetime) -> None:
        """Delete batches that ended before some time, each with all of its runs."""
        ended = Batch.objects.using(self._using).filter(ended_at__lt=cutoff).order_by("ended_at")
        if self._is_dry:
            self.pruned.batches += ended.count()
            self.pruned.runs += ended.aggregate(runs=Sum("total"))["runs"] or 0
            return
        for _ in self.each(self._parts_of_batches(ended)):
            if self.must_end:
                return

    def _parts_of_batches(self, ended: QuerySet[Batch]) -> Iterator[None]:
        while (batch := ended.first()) is not None:
            while self._delete_part(batch.pk, ended):
                yield
            yield

    def _delete_part(self, batch_id: int, ended: QuerySet[Batch]) -> bool:
        """Delete some runs of a batch, or the batch when it has none; return whether there may be more."""
        with write_transaction(self._using):
            # Somebody may have retried it since it was read.
            if not ended.filter(pk=batch_id).select_for_update().exists():
                return False
            ids = list(self._runs().filter(batch_id=batch_id).values_list("pk", flat=True)[:BATCH])
            if ids:
                self.pruned.runs += self._delete_runs(self._runs().filter(pk__in=ids), ids)
                edges = Dependency.objects.using(self._using)
                for rows in (
                    edges.filter(run_id__in=ids),
                    # Of more runs like these, which are of no batch.
                    edges.filter(after_id__in=ids),
                    Dependent.objects.using(self._using).filter(run_id__in=ids),
                ):
                    rows._raw_delete(self._using)
                return True
            self.pruned.batches += self._delete(
                Batch.objects.using(self._using).filter(pk=batch_id), [batch_id]
            )
            return False

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

    def delete_depths(self, now: datetime) -> None:
        """Delete samples of what waited that are older than they are kept; they are not counted."""
        for ids in self.each(in_batches(depth.outdated(now, using=self._using))):
            self._delete(DepthSample.objects.using(self._using).filter(pk__in=ids), ids)

    def _runs(self) -> QuerySet[Run]:
        return Run.objects.using(self._using).all()

    def _last_runs(self, rows: Sequence[Row]) -> set[int | None]:
        jobs = Job.objects.using(self._using).filter(pk__in={row.job_id for row in rows})
        return set(jobs.values_list("last_run_id", flat=True)) if rows else set()

    def _within_a_time(self, rows: Sequence[Row]) -> set[int | None]:
        """Return the runs whose keys are still taken: without their rows the keys would be free too early."""
        ids = [row.pk for row in rows if (row.unique_key or "").startswith(WINDOW)]
        if not ids:
            return set()
        now = database_now(self._using)
        marks = self._runs().filter(pk__in=ids).values_list("pk", "enqueued_at", "options")
        return {
            pk
            for pk, enqueued_at, options in marks
            if enqueued_at + timedelta(seconds=(mark_of(options) or {}).get("within", 0)) > now
        }

    def _delete(self, rows: QuerySet[Any], ids: Sequence[Any]) -> int:
        if not ids:
            return 0
        # One statement: nothing refers to these rows that would have to be looked for.
        return len(ids) if self._is_dry else int(rows._raw_delete(self._using))

    def _delete_runs(self, runs: QuerySet[Run], ids: Sequence[int]) -> int:
        """Delete runs with what they kept, and with their tags."""
        if self._is_dry or not ids or not self._have_more:
            return self._delete(runs, ids)
        with transaction.atomic(using=self._using):
            deleted = self._delete(runs, ids)
            for delete_of in self._have_more:
                delete_of(ids, using=self._using)
        return deleted

    @cached_property
    def _have_more(self) -> list[Callable[..., None]]:
        using = self._using
        found = [(steps.has_any(using=using), steps.delete_of), (tags.are_any(using=using), tags.delete_of)]
        return [delete_of for has_any, delete_of in found if has_any]


def days_before(now: datetime, days: float) -> datetime:
    """Return the time some days before another one."""
    # No further than datetimes go.
    return now - timedelta(days=min(days, (now - datetime(1970, 1, 1, tzinfo=UTC)).days))
