"""What the dashboard and the page of a queue read: each thing once, and only when a part of a page asks for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs.admin.dashboard import upcoming
from django_jobs.models import Run, jobs_database
from django_jobs.operations import failures, health
from django_jobs.storage import statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.admin.dashboard.ranges import Range
    from django_jobs.operations.reports import Report

# How late something is that an operator should hear of.
OVERDUE = timedelta(minutes=1)
# How long a worker that was found dead is still shown.
LOST_WITHIN = timedelta(days=1)
# Running runs that are shown, and of which the chart says when they started.
RUNNING, STARTED = 5, 10_000
# Kinds of errors that are shown.
ERRORS = 8


class Overview:
    """The state of everything now, and what ended within a range, cut in the zone of the page.

    Args:
        chosen: The range.
        queue_name: What ended is only that of this queue.
    """

    def __init__(self, chosen: Range, *, queue_name: str | None = None) -> None:
        self.range = chosen
        self.queue_name = queue_name
        self.now = datetime.now(UTC)
        self.zone = timezone.get_current_timezone()
        self.since, self.until = chosen.times(self.now, self.zone)
        self._points_by: dict[str, dict[str, list[statistics.Point]]] = {}

    @cached_property
    def report(self) -> Report:
        """Workers, queues, jobs, and what is wrong."""
        return health.report(overdue=OVERDUE, lost_within=LOST_WITHIN)

    @cached_property
    def points(self) -> list[statistics.Point]:
        """What ended in each step, and how long it took; of its parts where those were read."""
        for parts in self._points_by.values():
            return [
                statistics.Point(at, statistics.merge(point.summary for point in points))
                for at, *points in zip(self.begins, *parts.values(), strict=False)
            ]
        return statistics.series(
            self.since,
            self.until,
            step=self.range.step,
            zone=self.zone,
            queue_name=self.queue_name,
            percentiles=True,
        )

    def points_by(self, column: str) -> dict[str, list[statistics.Point]]:
        """Return the same for each queue or function."""
        if column not in self._points_by:
            self._points_by[column] = statistics.series_by(
                column,
                self.since,
                self.until,
                step=self.range.step,
                zone=self.zone,
                queue_name=self.queue_name,
            )
        return self._points_by[column]

    @cached_property
    def begins(self) -> list[datetime]:
        """When each step begins; asks nothing."""
        return statistics.step_times(self.since, self.until, step=self.range.step, zone=self.zone)

    @cached_property
    def depths(self) -> list[int]:
        """The most that waited at one time in each step, of all queues or the one; now in the last."""
        names = None if self.queue_name is None else [self.queue_name]
        found = statistics.deepest(self.since, self.begins, queue_names=names, using=jobs_database())
        return self._with_now(found, names)

    def depths_by_queue(self) -> dict[str, list[int]]:
        """Return the same for each queue in which something waited."""
        found = statistics.deepest_by_queue(self.since, self.begins, using=jobs_database())
        for name in {one["name"] for one in self.report["queues"] if one["due"]}:
            found[name] = self._with_now(found.get(name, [0] * len(self.begins)), [name])
        return found

    def _with_now(self, depths: list[int], names: Sequence[str] | None) -> list[int]:
        if depths and self.range.until is None:
            reports = self.report["queues"]
            due = sum(one["due"] for one in reports if names is None or one["name"] in names)
            depths[-1] = max(depths[-1], due)
        return depths

    @cached_property
    def by_function_and_queue(self) -> dict[tuple[str, str], statistics.Summary]:
        """What ended, by function and queue."""
        return statistics.by_function_and_queue(self.since, self.until)

    @cached_property
    def total(self) -> statistics.Summary:
        """What ended, all together."""
        return statistics.merge(self.by_function_and_queue.values())

    @cached_property
    def by_function(self) -> dict[str, statistics.Summary]:
        """What ended, by function."""
        return self._grouped(lambda key: key[0])

    @cached_property
    def by_queue(self) -> dict[str, statistics.Summary]:
        """What ended, by queue."""
        return self._grouped(lambda key: key[1])

    @cached_property
    def failures(self) -> failures.Failures:
        """What failed, by exception and place."""
        return failures.since(
            self.since, until=self.range.until, most=ERRORS, is_full=False, using=jobs_database()
        )

    @cached_property
    def timeline(self) -> upcoming.Timeline:
        """What fires next."""
        return upcoming.timeline(self.now)

    @cached_property
    def running(self) -> list[Run]:
        """The runs that have been running the longest."""
        runs: Any = Run.objects.using(jobs_database()).running().order_by("started_at", "pk")
        shown = ("pk", "job_id", "func", "started_at", "worker_id", "progress", "status", "cancel_requested")
        return list(runs.only(*shown)[:RUNNING])

    @cached_property
    def started(self) -> list[tuple[datetime, str, str]]:
        """When the running runs started, with queue and function of each: counts have those that ended."""
        runs = Run.objects.using(jobs_database()).running().filter(started_at__gte=self.since).order_by()
        if self.queue_name is not None:
            runs = runs.filter(queue_name=self.queue_name)
        rows = runs.values_list("started_at", "queue_name", "func")[:STARTED]
        return [(at, queue_name, func) for at, queue_name, func in rows if at is not None]

    @property
    def within(self) -> dict[str, str]:
        """The filter of runs that ended within the range."""
        found = {"ended_from": self.since.isoformat()}
        return found if self.range.until is None else {**found, "ended_until": self.until.isoformat()}

    @property
    def minutes(self) -> float:
        """How many minutes the range has had so far."""
        return max(1.0, (self.until - self.since).total_seconds() / 60)

    def _grouped(self, key: Callable[[tuple[str, str]], str]) -> dict[str, statistics.Summary]:
        parts: dict[str, list[statistics.Summary]] = {}
        for names, summary in self.by_function_and_queue.items():
            parts.setdefault(key(names), []).append(summary)
        return {name: statistics.merge(several) for name, several in parts.items()}
