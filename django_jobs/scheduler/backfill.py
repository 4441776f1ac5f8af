"""Runs of the scheduled times in the past that have none, as a batch.

A batch is found again by the job and the two times that it is about. So a backfill that was killed half-way is
continued by the same call, and two that are called at the same time fill one batch.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from django.db import IntegrityError
from django.db.models import Q

from django_jobs import triggers
from django_jobs.exceptions import JobLookupError
from django_jobs.models import BACKFILL_PREFIX, Batch, Job, Run, Status
from django_jobs.scheduler import overlaps
from django_jobs.scheduler.broken import read_trigger
from django_jobs.scheduler.occurrences import Batch as Due
from django_jobs.scheduler.occurrences import DueJob, insert_once, occurrence_run
from django_jobs.storage import transactions, transitions
from django_jobs.storage.batch_locks import lock
from django_jobs.storage.batches import members
from django_jobs.storage.batches.ends import LockedBatch
from django_jobs.storage.records import occurrence_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_jobs.models import RunQuerySet
    from django_jobs.storage.records import NewRun

# Scheduled times of one backfill: each is a run, and all of them are gone through first.
MOST = 10_000
# Times of one transaction, which has the batch and the job locked.
TIMES = 500
# Of a batch's name.
_MOST_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill found, and did unless it was a dry run.

    Attributes:
        times: How many scheduled times there are from start to end.
        added: How many of them had no run, or a SKIPPED one, and have one now.
        batch_id: Of the batch of these runs, for `JobManager.wait`, `get_batch`, `cancel_batch` and `retry_batch`.
            Where nothing was added, of the last backfill of the same times. None where there is none, and for a
            dry run.
    """

    times: int
    added: int
    batch_id: str | None = None

    @property
    def existing(self) -> int:
        """How many had a run already."""
        return self.times - self.added


def backfill(job_id: str, start: datetime, end: datetime, *, dry_run: bool, using: str) -> Backfill:
    """Add a run of each scheduled time from start to end that has none; see `JobManager.backfill`."""
    row = Job.objects.using(using).filter(pk=job_id).first()
    if row is None:
        raise JobLookupError(job_id)
    now = transactions.database_now(using)
    if start > end:
        raise ValueError(f"the start, {start.isoformat()}, is after the end, {end.isoformat()}")
    if end > now:
        raise ValueError(
            f"the end, {end.isoformat()}, has not come: the schedule itself fires what is to come"
        )
    times = _times(row, start, end)
    parts = [times[first : first + TIMES] for first in range(0, len(times), TIMES)]
    if dry_run:
        made = (_made(row.pk, part, using).exclude(status=Status.SKIPPED) for part in parts)
        return Backfill(
            len(times), len(times) - sum(runs.values("scheduled_at").distinct().count() for runs in made)
        )
    filling = _Filling(row.pk, start, end, using=using)
    added = 0
    for part in parts:
        count = filling.fill(part, now, is_last=part is parts[-1])
        if count is None:
            # Its batch was cancelled, and the rest of it with it.
            break
        added += count
    return Backfill(len(times), added, filling.batch_id or filling.find())


def _times(row: Job, start: datetime, end: datetime) -> list[datetime]:
    trigger = read_trigger(row)
    if getattr(trigger, "jitter", None):
        # The times that the schedule names, not those by which chance moved them.
        trigger = copy.copy(trigger)
        trigger.jitter = None
    times: list[datetime] = []
    moment = triggers.first(trigger, start)
    while moment is not None and moment <= end:
        # In UTC, as rows have them: a time that comes twice in its own zone equals none of another zone.
        times.append(moment.astimezone(UTC))
        if len(times) > MOST:
            raise ValueError(
                f"more than {MOST:,} scheduled times lie between {start.isoformat()} and {end.isoformat()}: "
                "take a shorter time, one after the other"
            )
        moment = trigger.get_next_fire_time(moment, moment)
    return times


def _made(job_id: str, times: Sequence[datetime], using: str) -> RunQuerySet:
    """Return the runs that firings and backfills made of some times."""
    runs = Run.objects.using(using).filter(job_id=job_id, scheduled_at__in=times)
    return runs.filter(unique_key__isnull=False)


class _Filling:
    """Adds the runs of one backfill to its batch.

    Args:
        job_id: Of the job.
        start: From when.
        end: To when.
        using: Alias of the database.
    """

    def __init__(self, job_id: str, start: datetime, end: datetime, *, using: str) -> None:
        self._job_id = job_id
        self._using = using
        first, last = (f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for moment in (start, end))
        self._name = f"Backfill from {first} to {last} UTC: {job_id}"[:_MOST_CHARACTERS]
        self._about = f"{job_id}\n{start.timestamp()}\n{end.timestamp()}"
        # The batch that takes runs, or None where a new one is to be made under `_key`.
        self._open_id: int | None = None
        self._key = ""
        self.batch_id: str | None = None
        self.find()

    def find(self) -> str | None:
        """Find the batch of the same times that is still open, and else the key of the next one; return the last."""
        for number in itertools.count():
            text = f"{self._about}\n{number}"
            # A digest: MariaDB compares keys without case, and ids of jobs may differ in it alone.
            self._key = f"{BACKFILL_PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:32]}"
            row = Batch.objects.using(self._using).filter(key=self._key).first()
            if row is not None:
                self.batch_id = row.key
            if row is None or row.closed_at is None:
                self._open_id = None if row is None else row.pk
                break
        return self.batch_id

    def fill(self, times: Sequence[datetime], now: datetime, *, is_last: bool) -> int | None:
        """Add runs of some times in one transaction; return how many, and None where the batch was cancelled."""
        for _attempt in range(3):
            try:
                with transactions.write_transaction(self._using):
                    return self._fill(times, now, is_last=is_last)
            except (IntegrityError, _Closed):
                # The same backfill is called elsewhere, and made or closed the batch meanwhile.
                self.find()
        raise RuntimeError(
            f"the backfill of {self._job_id!r} is called too often at the same time: call it again"
        )

    def _fill(self, times: Sequence[datetime], now: datetime, *, is_last: bool) -> int | None:
        batches = self._lock(times)
        if self._open_id is not None:
            batch = batches.get(self._open_id)
            if batch is not None and batch.cancelled_at is not None:
                return None
            if batch is None or batch.closed_at is not None:
                raise _Closed
        row = Job.objects.using(self._using).select_for_update().filter(pk=self._job_id).first()
        if row is None:
            raise JobLookupError(self._job_id)
        made = _made(row.pk, times, self._using)
        there = set(made.values_list("scheduled_at", flat=True))
        runs = [_run(row, moment, now) for moment in times if moment not in there]
        # Others are of a batch that was not locked in time, and are left to the next call.
        skipped = made.filter(Q(batch_id=None) | Q(batch_id__in=batches), status=Status.SKIPPED)
        reopened = [(run.pk, run.batch_id) for run in skipped if _reopen(run, self._using)]
        joining = [run_id for run_id, batch_id in reopened if batch_id is None]
        ids = self._join(batches, DueJob(row, now, [], None), runs, joining, is_last=is_last)
        waiting = [*ids, *(run_id for run_id, _ in reopened)]
        overlaps.wait_for_turn(waiting, using=self._using)
        overlaps.let_through(row.pk, row.max_instances, using=self._using)
        return len(waiting)

    def _lock(self, times: Sequence[datetime]) -> dict[int, Batch]:
        """Lock all batches that will change before the job, as who ends a run of both does; a new one is inserted.

        A key that is taken has PostgreSQL wait for whoever has that row locked.
        """
        made = _made(self._job_id, times, self._using)
        skipped = list(made.filter(status=Status.SKIPPED).values_list("batch_id", flat=True))
        batches = lock([pk for pk in {self._open_id, *skipped} if pk is not None], using=self._using)
        is_missing = made.values("scheduled_at").distinct().count() < len(times)
        if self._open_id is None and (is_missing or None in skipped):
            batch = self._create()
            batches[batch.pk] = batch
            self._open_id, self.batch_id = batch.pk, batch.key
        return batches

    def _join(
        self, batches: dict[int, Batch], job: DueJob, runs: list[NewRun], joining: list[int], *, is_last: bool
    ) -> list[int]:
        """Insert runs into the batch, take others into it, and count them; return the ids of the new ones."""
        if self._open_id is None:
            return []
        batch = batches[self._open_id]
        for run in runs:
            members.mark(run, batch.pk)
        _, ids = insert_once(Due([job], []), runs, self._using)
        for pk in joining:
            row = Run.objects.using(self._using).get(pk=pk)
            members.mark(row, batch.pk)
            row.save(using=self._using, update_fields=["batch_id", "options"])
        locked = LockedBatch(batch, using=self._using)
        locked.batch.total += len(ids) + len(joining)
        if not locked.batch.total:
            # Somebody else made these runs before the job was locked.
            batch.delete(using=self._using)
            self._open_id = self.batch_id = None
            return []
        if is_last:
            locked.close()
        locked.save()
        return ids

    def _create(self) -> Batch:
        failures = [Status.CANCELLED.value, Status.FAILED.value, Status.SKIPPED.value]
        return members.create(self._key, self._name, callbacks={}, failures=failures, using=self._using)


class _Closed(Exception):
    """The batch takes no more."""


def _run(row: Job, moment: datetime, now: datetime) -> NewRun:
    # Its time to expire counts from now: it is late on purpose.
    run = occurrence_run(row, None, since=now)
    run.scheduled_at, run.unique_key = moment, occurrence_key(row.id, moment)
    overlaps.have_wait(run)
    return run


def _reopen(run: Run, using: str) -> bool:
    """Make a SKIPPED run READY, held for `wait_for_turn`; one of a batch is unfinished in that again."""
    if not transitions.retry(run.pk, using=using):
        return False
    options = {"overlap": "wait", **(run.options or {})}
    Run.objects.using(using).filter(pk=run.pk).update(run_after=None, error="", options=options)
    return True
