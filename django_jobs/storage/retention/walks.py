"""Find old runs, and jobs that have too many, along indexes.

A run's id says when it was enqueued, so the oldest are found along the primary key, and those of one
job along the index of jobs: no search reads what it does not delete, but for runs that took long.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import Count, OuterRef, Subquery

from django_jobs.models import FINISHED, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

# Rows of one statement, which is a transaction of its own: some milliseconds.
BATCH = 300


class Row(NamedTuple):
    """What is read of a run to see whether it may go."""

    pk: int
    job_id: str
    status: str
    enqueued_at: datetime
    finished_at: datetime | None
    unique_key: str | None = None
    batch_id: int | None = None
    keep_until: datetime | None = None

    @property
    def is_for_itself(self) -> bool:
        """Whether neither its batch nor its own option says how long it is kept."""
        return self.batch_id is None and self.keep_until is None

    def has_ended(self, before: datetime) -> bool:
        """Return whether it is finished, and was before some time, and only the settings say how long it is kept."""
        return (
            self.is_for_itself
            and self.status in FINISHED
            and self.finished_at is not None
            and self.finished_at < before
        )


def by_age(using: str, horizon: datetime, after: int = 0) -> Iterator[tuple[list[Row], int]]:
    """Walk from the oldest run to those enqueued at the horizon; yield batches, and how far each goes."""
    while True:
        rows = read_rows(Run.objects.using(using).filter(pk__gt=after))
        met = [row for row in rows if row.enqueued_at < horizon]
        if met:
            yield met, met[-1].pk
        if not met or len(rows) < BATCH:
            return
        after = rows[-1].pk


def of_job(using: str, job_id: str, edge: int) -> Iterator[list[Row]]:
    """Walk through the runs of a job up to one; yield batches."""
    after = 0
    while rows := read_rows(Run.objects.using(using).filter(job_id=job_id, pk__gt=after, pk__lte=edge)):
        yield rows
        after = rows[-1].pk


def read_rows(runs: QuerySet[Run]) -> list[Row]:
    """Return the first batch of some runs."""
    columns = runs.order_by("pk").values_list(*Row._fields)
    return [Row(*row) for row in columns[:BATCH]]


def in_batches(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """Yield primary keys to delete until there are none."""
    while ids := list(rows.values_list("pk", flat=True)[:BATCH]):
        yield ids


def _edges(using: str, run_ids: Sequence[int], keep: int) -> dict[str, int]:
    """Return the jobs of some runs that have more than they may, and the newest run of each beyond."""
    runs = Run.objects.using(using)
    one_each = {job_id: pk for pk, job_id in runs.filter(pk__in=run_ids).values_list("pk", "job_id")}
    beyond = runs.filter(job_id=OuterRef("job_id")).order_by("-pk").values("pk")[keep : keep + 1]
    jobs = runs.filter(pk__in=list(one_each.values())).annotate(edge=Subquery(beyond))
    return {job_id: edge for job_id, edge in jobs.values_list("job_id", "edge") if edge is not None}


def sampled_beyond(using: str, ranges: Sequence[tuple[range, int]], keep: int) -> Iterator[tuple[str, int]]:
    """Yield jobs that have too many runs, from samples of ids: ranges, and how many of each."""
    for ids, count in ranges:
        sample = random.sample(ids, count) if len(ids) > count else list(ids)
        for start in range(0, len(sample), BATCH):
            yield from _edges(using, sample[start : start + BATCH], keep).items()


def all_beyond(using: str, keep: int) -> Iterator[tuple[str, int]]:
    """Yield all jobs that have too many runs."""
    runs = Run.objects.using(using)
    counted = runs.values("job_id").annotate(count=Count("pk")).filter(count__gt=keep).order_by("job_id")
    for job_id in list(counted.values_list("job_id", flat=True)):
        beyond = runs.filter(job_id=job_id).order_by("-pk").values_list("pk", flat=True)
        for edge in beyond[keep : keep + 1]:
            yield job_id, edge
