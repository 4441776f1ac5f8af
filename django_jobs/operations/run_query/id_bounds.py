"""Between which ids the runs of some time lie. Times have no index, but ids grow with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Max, Subquery

from django_jobs.models import Run

if TYPE_CHECKING:
    from datetime import datetime

    from django_jobs.models import RunQuerySet
    from django_jobs.operations.run_query.criteria import Criteria

# A row gets its id when it is inserted, and its time when its transaction begins: at most so far apart.
SLACK = timedelta(minutes=10)
# Ids whose times are read with one query, and the uncertainty that is left to the query that follows.
PROBES, NEAR = 1000, 5000


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of ids. `low` is the first one, `high` is behind the last one; None means no bound."""

    low: int | None = None
    high: int | None = None

    def apply(self, runs: RunQuerySet) -> RunQuerySet:
        """Return the runs in the range."""
        if self.low is not None:
            runs = runs.filter(pk__gte=self.low)
        return runs if self.high is None else runs.filter(pk__lt=self.high)


def extent(*, using: str) -> tuple[int, int]:
    """Return the lowest id of all runs and the one behind the highest, with one query."""
    runs = Run.objects.using(using).order_by("pk")
    last = Run.objects.using(using).order_by("-pk").values("pk")[:1]
    # Not MIN and MAX: SQLite answers both together from every row.
    row = runs.annotate(last=Subquery(last)).values_list("pk", "last").first()
    if row is None:
        return 0, 0
    first, highest = row
    if highest is None:
        # MariaDB was seen to find the first and no last: a bound that is too low would hide runs.
        highest = Run.objects.using(using).aggregate(highest=Max("pk"))["highest"] or first
    return first, highest + 1


def bounds_of(criteria: Criteria, *, using: str, among: tuple[int, int] | None = None) -> Bounds:
    """Return the range of ids in which runs of the criteria's times lie, with a query or two for each end.

    Args:
        criteria: Its `since` and `until`; what started or ended before a time was enqueued before it.
        using: Alias of the database.
        among: What `extent` returned, if the caller has it.
    """
    ends = (criteria.until, criteria.ended_until, criteria.started_until)
    until = min((at for at in ends if at is not None), default=None)
    if criteria.since is None and until is None:
        return Bounds()
    low, high = among or extent(using=using)
    first, end = low, high
    if criteria.since is not None:
        first, _ = _near(criteria.since - SLACK, low, high, using)
    if until is not None:
        _, end = _near(until + SLACK, low, high, using)
    return Bounds(first, end)


def _near(moment: datetime, low: int, high: int, using: str) -> tuple[int, int]:
    """Return two ids that are near each other.

    Runs of that time or later have the first id or a higher one. Earlier runs have one below the second.
    """
    runs = Run.objects.using(using)
    while high - low > NEAR:
        step = (high - low) // (PROBES + 1) + 1
        points = range(low + step, high, step)
        times: dict[int, datetime | None] = dict(runs.filter(pk__in=points).values_list("pk", "enqueued_at"))
        if len(times) <= len(points) // 10:
            # Most of these were deleted: read what follows some of them.
            times = _following(points[:: len(points) // 30 + 1], using)
        for point, enqueued_at in sorted(times.items()):
            if enqueued_at is None or enqueued_at >= moment:
                high = point
                break
            low = point + 1
    return low, high


def _following(points: range, using: str) -> dict[int, datetime | None]:
    """Return the times of the first runs with these ids or later; None where there is none."""
    runs = Run.objects.using(using).order_by("pk")
    probes = {
        f"after_{point}": Subquery(runs.filter(pk__gte=point).values("enqueued_at")[:1]) for point in points
    }
    return dict(zip(points, runs.annotate(**probes).values_list(*probes)[0], strict=True))
