"""What each worker's runs came to, step by step. Counts tell no workers apart, so it is read from the newest runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q

from django_jobs.models import BIN_ENDS, FINISHED, RAN_BINS, Run, Status, Worker
from django_jobs.operations.run_query import Criteria, bounds_of
from django_jobs.storage.statistics import Durations, Point, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

# Runs that are read, the newest ones.
NEWEST = 5000


@dataclass(frozen=True, slots=True)
class WorkerPoints:
    """What was found.

    Attributes:
        points: By the id of the worker.
        names: Host and process of each; of those whose row is gone, the id.
        since: When the oldest run was added that was read; None where that is all of the time.
    """

    points: dict[str, list[Point]]
    names: dict[str, str]
    since: datetime | None


def by_worker(
    begins: Sequence[datetime], until: datetime, *, is_past: bool, queue_name: str | None, using: str
) -> WorkerPoints:
    """Return what the runs of each worker came to, with three queries, whatever the history.

    Args:
        begins: When each step begins.
        until: When the last step ends.
        is_past: Whether that is not now, which takes a query or two more.
        queue_name: Of this queue only; None for all.
        using: Alias of the database.
    """
    newest = Run.objects.using(using).order_by("-pk")
    if is_past:
        newest = bounds_of(Criteria(ended_until=until), using=using).apply(newest)
    (oldest,) = newest.values_list("pk", "enqueued_at")[NEWEST - 1 : NEWEST] or (None,)
    runs = newest.order_by() if oldest is None else newest.order_by().filter(pk__gte=oldest[0])
    runs = runs.filter(Q(finished_at__gte=begins[0]) | Q(status=Status.RUNNING)).exclude(worker_id="")
    if queue_name is not None:
        runs = runs.filter(queue_name=queue_name)
    columns = ("worker_id", "status", "run_after", "started_at", "finished_at")
    steps: dict[str, list[_Step]] = defaultdict(lambda: [_Step() for _ in begins])
    for worker_id, *row in runs.values_list(*columns):
        _count(steps[worker_id], begins, until, *row)
    points = {
        worker_id: [Point(at, step.summary()) for at, step in zip(begins, several, strict=True)]
        for worker_id, several in steps.items()
        if any(step.is_there for step in several)
    }
    is_whole = oldest is None or oldest[1] <= begins[0]
    return WorkerPoints(points, _names(points, using), None if is_whole or oldest is None else oldest[1])


class _Step:
    """What one worker's runs came to in one step."""

    def __init__(self) -> None:
        self.started = 0
        self.outcomes: dict[str, int] = defaultdict(int)
        self.ran: list[float] = []
        self.waited: list[float] = []

    @property
    def is_there(self) -> bool:
        return bool(self.started or self.outcomes)

    def summary(self) -> Summary:
        return Summary(dict(self.outcomes), _durations(self.ran), _durations(self.waited), self.started)


def _count(
    steps: list[_Step],
    begins: Sequence[datetime],
    until: datetime,
    status: str,
    run_after: datetime | None,
    started_at: datetime | None,
    finished_at: datetime | None,
) -> None:
    if started_at is not None and begins[0] <= started_at < until:
        steps[bisect_right(begins, started_at) - 1].started += 1
    if status not in FINISHED or finished_at is None or not begins[0] <= finished_at < until:
        return
    step = steps[bisect_right(begins, finished_at) - 1]
    step.outcomes[status] += 1
    if started_at is not None and status in {Status.SUCCESSFUL, Status.FAILED}:
        step.ran.append((finished_at - started_at).total_seconds())
        if run_after is not None:
            step.waited.append((started_at - run_after).total_seconds())


def _durations(seconds: list[float]) -> Durations:
    bins = [0] * len(RAN_BINS)
    for one in seconds:
        bins[bisect_left(BIN_ENDS, one)] += 1
    return Durations(len(seconds), sum(max(0.0, one) for one in seconds), tuple(bins) if seconds else ())


def _names(ids: Iterable[str], using: str) -> dict[str, str]:
    found = dict.fromkeys(ids)
    rows = Worker.objects.using(using).filter(pk__in=list(found)[:500]).values_list("pk", "host", "pid")
    return {
        **{worker_id: worker_id for worker_id in found},
        **{pk: f"{host}:{pid}" for pk, host, pid in rows},
    }
