"""What the pages say of queues: depth, rates, times and who serves them. The cost grows with what waits and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Min, Q

from django_jobs.admin.dashboard.ranges import DEFAULT_RANGE
from django_jobs.models import Queue, Run, jobs_database
from django_jobs.operations import health
from django_jobs.storage import statistics
from django_jobs.storage.queues import is_served

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_jobs.admin.dashboard.overview import Overview
    from django_jobs.operations.reports import QueueReport, WorkerReport
    from django_jobs.storage.statistics import Point, Summary

# Rates are means of this time.
RATE_OF = timedelta(hours=1)
# Runs that the rate at which they are added is counted from, the newest ones: no index tells the queue of those
# that have ended.
NEWEST = 10_000


@dataclass(frozen=True, slots=True)
class Figures:
    """One queue.

    Attributes:
        name: Its name.
        report: What waits in it, and its pause; None where nothing waits and it is not paused.
        summary: What ended in it within the range.
        points: The same step by step; empty for nothing.
        depths: The most that waited in each step; empty for nothing.
        added: Runs added per minute.
        ended: Runs that ended per minute.
        workers: Live workers that serve it.
    """

    name: str
    report: QueueReport | None
    summary: Summary
    added: float
    ended: float
    points: Sequence[Point] = ()
    depths: Sequence[int] = ()
    workers: list[WorkerReport] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Whether it is paused, serving or unserved."""
        if self.report is not None:
            return health.queue_state(self.report)
        return "serving" if self.workers else "unserved"

    @property
    def due(self) -> int:
        """Runs that could be executed now."""
        return self.report["due"] if self.report else 0

    @property
    def seconds_to_empty(self) -> float | None:
        """How long until nothing is due, if it goes on as in the last hour; None where it never is."""
        if not self.due:
            return 0.0
        faster = self.ended - self.added
        return 60 * self.due / faster if faster > 0 and self.state == "serving" else None


def every(overview: Overview) -> list[Figures]:
    """Return the queues that have a row, that something waits in or ended in within the range, or that are served."""
    points = overview.points_by("queue_name")
    rows = Queue.objects.using(jobs_database()).values_list("name", flat=True)
    reports = {one["name"]: one for one in overview.report["queues"]}
    living = _living(overview)
    named = {name for worker in living for name in worker["queues"]}
    depths = overview.depths_by_queue()
    ended, added = _ended(overview, points), added_per_minute(overview.now)
    # What was too various to be told apart was counted under no name.
    names = {*reports, *points, *depths, *rows, *named, *ended, *added} - {""}
    return [
        Figures(
            name,
            reports.get(name),
            statistics.merge(point.summary for point in points.get(name, ())),
            added.get(name, 0.0),
            ended.get(name, 0.0),
            points.get(name, ()),
            depths.get(name, ()),
            _serving(name, living),
        )
        for name in sorted(names)
    ]


def one(overview: Overview, name: str) -> Figures:
    """Return a queue, whether anything is known of it or not; of the overview's queue."""
    reports = {one["name"]: one for one in overview.report["queues"]}
    return Figures(
        name,
        reports.get(name),
        statistics.merge(point.summary for point in overview.points),
        added_to(name, overview.now),
        _ended(overview, {name: overview.points}).get(name, 0.0),
        overview.points,
        overview.depths,
        _serving(name, _living(overview)),
    )


def _living(overview: Overview) -> list[WorkerReport]:
    workers = overview.report["workers"]
    return [worker for worker in workers if worker["state"] != "gone" and not worker["is_quiet"]]


def _serving(name: str, living: Sequence[WorkerReport]) -> list[WorkerReport]:
    return [worker for worker in living if is_served(name, [worker["queues"]])]


def _ended(overview: Overview, points: Mapping[str, Sequence[Point]]) -> dict[str, float]:
    if overview.range.name == DEFAULT_RANGE:
        # The range is that hour, and was read already.
        return {
            name: sum(point.summary.ended for point in several) / overview.minutes
            for name, several in points.items()
        }
    minutes = RATE_OF.total_seconds() / 60
    found = statistics.by_queue(overview.now - RATE_OF, overview.now)
    return {name: summary.ended / minutes for name, summary in found.items()}


def added_per_minute(now: datetime) -> dict[str, float]:
    """Return how many runs each queue gets per minute of the last hour, or as far as the newest runs reach."""
    runs = Run.objects.using(jobs_database()).order_by("-pk")
    (first,) = runs.values_list("pk", flat=True)[NEWEST - 1 : NEWEST] or (None,)
    newest = runs.order_by() if first is None else runs.order_by().filter(pk__gte=first)
    is_lately = Q(enqueued_at__gt=now - RATE_OF)
    rows = list(
        newest.values("queue_name").annotate(
            added=Count("pk", filter=is_lately), oldest=Min("enqueued_at", filter=is_lately)
        )
    )
    oldest = min((row["oldest"] for row in rows if row["oldest"] is not None), default=None)
    minutes = _minutes(now, oldest, is_all=first is None)
    return {row["queue_name"]: row["added"] / minutes for row in rows if row["added"]}


def added_to(name: str, now: datetime) -> float:
    """Return the same for one queue, with one query."""
    newest = (
        Run.objects.using(jobs_database()).order_by("-pk").values("pk", "queue_name", "enqueued_at")[:NEWEST]
    )
    is_lately = Q(enqueued_at__gt=now - RATE_OF)
    found = newest.aggregate(
        looked_at=Count("pk"),
        added=Count("pk", filter=is_lately & Q(queue_name=name)),
        oldest=Min("enqueued_at", filter=is_lately),
    )
    return float(found["added"] / _minutes(now, found["oldest"], is_all=found["looked_at"] < NEWEST))


def _minutes(now: datetime, oldest: datetime | None, *, is_all: bool) -> float:
    reaches = RATE_OF if is_all or oldest is None else min(RATE_OF, now - oldest)
    return max(1.0, reaches.total_seconds() / 60)
