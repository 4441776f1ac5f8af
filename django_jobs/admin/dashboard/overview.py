"""What the dashboard reads: each thing once, and only when a part of the page asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from django_jobs.admin.dashboard import failures, upcoming
from django_jobs.models import Run, jobs_database
from django_jobs.operations import health
from django_jobs.storage import statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.utils.functional import _StrOrPromise

# How late something is that an operator should hear of.
OVERDUE = timedelta(minutes=1)
# How long a worker that was found dead is still shown.
LOST_WITHIN = timedelta(days=1)
# Running runs that are shown.
RUNNING = 10


@dataclass(frozen=True, slots=True)
class Range:
    """A time to look back on, and what it is cut into."""

    name: str
    label: _StrOrPromise
    length: timedelta
    step: timedelta
    each: _StrOrPromise


RANGES = {
    one.name: one
    for one in (
        Range("hour", _("Last hour"), timedelta(hours=1), timedelta(minutes=1), _("Runs per minute")),
        Range("6-hours", _("Last 6 hours"), timedelta(hours=6), timedelta(minutes=10), _("Runs per 10 minutes")),
        Range("day", _("Last 24 hours"), timedelta(days=1), timedelta(hours=1), _("Runs per hour")),
        Range("week", _("Last 7 days"), timedelta(days=7), timedelta(hours=6), _("Runs per 6 hours")),
        Range("month", _("Last 30 days"), timedelta(days=30), timedelta(days=1), _("Runs per day")),
    )
}  # fmt: skip
DEFAULT_RANGE = "hour"


class Overview:
    """The state of everything now, and what ended within a range before."""

    def __init__(self, chosen: Range) -> None:
        self.range = chosen
        self.now = datetime.now(UTC)
        # The last bar is the present minute or hour, which is not over.
        self.since = _floor(self.now, chosen.step) + chosen.step - chosen.length

    @cached_property
    def report(self) -> health.Report:
        """Workers, queues, jobs, and what is wrong."""
        return health.report(overdue=OVERDUE, lost_within=LOST_WITHIN)

    @cached_property
    def points(self) -> list[statistics.Point]:
        """What ended in each step."""
        return statistics.series(self.since, self.now, step=self.range.step)

    @cached_property
    def by_function_and_queue(self) -> dict[tuple[str, str], statistics.Summary]:
        """What ended, by function and queue."""
        return statistics.by_function_and_queue(self.since, self.now)

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
        return failures.since(self.since)

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

    @property
    def minutes(self) -> float:
        """How many minutes the range has had so far."""
        return max(1.0, (self.now - self.since).total_seconds() / 60)

    def _grouped(self, key: Callable[[tuple[str, str]], str]) -> dict[str, statistics.Summary]:
        parts: dict[str, list[statistics.Summary]] = {}
        for names, summary in self.by_function_and_queue.items():
            parts.setdefault(key(names), []).append(summary)
        return {name: statistics.merge(several) for name, several in parts.items()}


def _floor(moment: datetime, step: timedelta) -> datetime:
    seconds = int(step.total_seconds())
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)
