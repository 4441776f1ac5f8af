"""What keeps the list of runs cheap: it costs the same with a hundred rows and with ten million."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.db.models import Max, Min, Subquery
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from django_jobs.models import Run

    _Paginator = Paginator[Run]
else:
    # Cannot be subscripted when the program runs.
    _Paginator = Paginator

# Rows that are counted, and can be paged through.
COUNTED = 10_000
# Rows that a search without an index looks at, newest first.
SEARCHED = 200_000
# Row ids are given when a row is inserted, its time when its transaction begins: so far apart.
SLACK = timedelta(minutes=10)
# Ids looked up with one query: ten million rows are narrowed down to one with five.
PROBES = 31


class CappedPaginator(_Paginator):
    """Pages through the newest rows of a table that is too long to count."""

    @cached_property
    def count(self) -> int:
        """Number of rows, at most COUNTED."""
        rows: Any = self.object_list
        return rows.values("pk")[:COUNTED].count()  # type: ignore[no-any-return]

    @property
    def has_more(self) -> bool:
        """Whether there may be more rows than were counted."""
        return self.count >= COUNTED


def newest(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Select among the newest rows only, for conditions that no index helps."""
    last = runs.model._default_manager.aggregate(last=Max("pk"))["last"] or 0
    return runs.filter(pk__gt=last - SEARCHED)


def since(runs: QuerySet[Run], moment: datetime) -> QuerySet[Run]:
    """Select rows enqueued since a time, which has no index: their ids grow with it, and are searched."""
    return runs.filter(
        pk__gte=_first_id(runs.model._default_manager.all(), moment - SLACK), enqueued_at__gte=moment
    )


def _first_id(runs: QuerySet[Run], moment: datetime) -> int:
    # Two queries: SQLite answers either from the index's end, and both together from every row.
    low = runs.aggregate(low=Min("pk"))["low"] or 0
    high = (runs.aggregate(high=Max("pk"))["high"] or -1) + 1
    while low < high:
        points = list(range(low, high, (high - low) // (PROBES + 1) + 1))
        probes = {
            f"after_{point}": Subquery(runs.filter(pk__gte=point).order_by("pk").values("enqueued_at")[:1])
            for point in points
        }
        times = runs.order_by("pk").annotate(**probes).values_list(*probes)[0]
        for point, enqueued_at in zip(points, times, strict=True):
            if enqueued_at is None or enqueued_at >= moment:
                high = point
                break
            low = point + 1
    return low
