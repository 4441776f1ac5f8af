"""Pages, searches and walks: each costs the same with a hundred rows of history and with ten million."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_jobs.models import Run
from django_jobs.operations.run_query.criteria import UNSUCCESSFUL, Criteria
from django_jobs.operations.run_query.id_bounds import Bounds, bounds_of, extent
from django_jobs.storage import tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.models import Q, QuerySet

    from django_jobs.models import RunQuerySet

# Rows of the history that one statement reads where no index answers its question: tens of milliseconds from
# memory. A page that finds nothing in them says so, and offers to go on.
LOOKED_AT = 100_000
# The same where they are rows of one status, tag or object: they lie scattered, so each can be a block to read.
LOOKED_AT_OF_STATUS = LOOKED_AT // 10
# Runs of a tag that are read first.
NEAR_TAGS = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first, and where to go on."""

    runs: list[Run]
    # For `before` and `after` of the pages beside it; None where there is none.
    older: int | None
    newer: int | None
    # The lowest id that was looked at, if the page stopped there because of LOOKED_AT.
    searched_to: int | None = None


def page(
    criteria: Criteria, runs: RunQuerySet, *, size: int, before: int | None, after: int | None, using: str
) -> Page:
    """Return a page of the runs that match.

    Args:
        criteria: The filters.
        runs: The runs to choose from, with the columns that the page wants.
        size: Most runs.
        before: Only runs with lower ids; None begins with the newest.
        after: Only the runs with the next higher ids; `before` is ignored then.
        using: Alias of the database.
    """
    among = extent(using=using) if criteria.is_searched or criteria.since or criteria.until else None
    bounds = bounds_of(criteria, using=using, among=among)
    rows = criteria.apply(runs)
    if after is not None:
        above = _newer(criteria, rows, bounds, size, after, using)
        if above is not None:
            return above
    floor = None
    if criteria.is_searched and among:
        floor = _floor(criteria.status, criteria.tag, criteria.about, bounds, before, among, using)
    tag = criteria.tag if criteria.is_searched else ""
    some = _below(rows, bounds, floor, before, size + 1, tag=tag, using=using)
    newer = None if before is None else before - 1
    if len(some) > size:
        return Page(some[:size], older=some[size - 1].pk, newer=newer)
    return Page(some, older=floor, newer=newer, searched_to=floor)


def search(
    runs: RunQuerySet,
    *,
    status: str,
    tag: str = "",
    about: str = "",
    before: int | None,
    size: int,
    using: str,
) -> tuple[list[Run], int | None]:
    """Look for runs in a bounded part of the history, newest first.

    Args:
        runs: The runs that match.
        status: The one that all of them have; empty for several.
        tag: One that all of them have; empty for none.
        about: What all of them are about; empty for anything.
        before: Only runs with lower ids; None begins with the newest.
        size: Most runs.
        using: Alias of the database.

    Returns:
        The runs, and the lowest id that was looked at; None if that was the oldest run.
    """
    among = extent(using=using)
    floor = _floor(status, tag, about, Bounds(), before, among, using)
    return _below(runs, Bounds(low=among[0]), floor, before, size, tag=tag, using=using), floor


def _below(
    runs: RunQuerySet,
    bounds: Bounds,
    floor: int | None,
    before: int | None,
    size: int,
    *,
    tag: str,
    using: str,
) -> list[Run]:
    # One bound for each end: of two, SQLite uses the first.
    narrowed = Bounds(floor if floor is not None else bounds.low, _lowest(bounds.high, before))
    return _first(runs, narrowed, "-pk", size, tag=tag, using=using)


def _first(runs: RunQuerySet, bounds: Bounds, order: str, size: int, *, tag: str, using: str) -> list[Run]:
    if not tag:
        return list(bounds.apply(runs).order_by(order)[:size])
    # Through the index of tags; planners choose the primary key, and look at all of it.
    some: list[Run] = []
    for ids in tags.runs_of(
        tag, low=bounds.low, high=bounds.high, newest_first=order == "-pk",
        first=max(size, NEAR_TAGS), most=LOOKED_AT_OF_STATUS, using=using,
    ):  # fmt: skip
        some += runs.filter(tags.among(ids, using=using)).order_by(order)[: size - len(some)]
        if len(some) == size:
            break
    return some


def _lowest(*ids: int | None) -> int | None:
    return min((pk for pk in ids if pk is not None), default=None)


def _newer(
    criteria: Criteria, rows: RunQuerySet, bounds: Bounds, size: int, after: int, using: str
) -> Page | None:
    """Return the page above an id, or None if that is the first page, which then shows as many as fit."""
    tag = criteria.tag if criteria.is_searched else ""
    end = after + LOOKED_AT if criteria.is_searched else None
    if criteria.is_searched and (tag or criteria.about):
        end = _nth(tag, criteria.about, above=after, using=using)
    bounds = Bounds(max(after + 1, bounds.low or 0), _lowest(bounds.high, None if end is None else end + 1))
    some = _first(rows, bounds, "pk", size + 1, tag=tag, using=using)
    if len(some) > size:
        return Page(some[:size][::-1], older=after + 1, newer=some[size - 1].pk)
    has_more = end is not None and Run.objects.using(using).filter(pk__gt=end).exists()
    return Page(some[::-1], older=after + 1, newer=end) if has_more else None


def _nth(
    tag: str, about: str, *, below: int | None = None, above: int | None = None, using: str
) -> int | None:
    """Return the id to which a page looks among the runs of a tag, or about an object; None without so many."""
    if tag:
        return tags.nth(tag, LOOKED_AT_OF_STATUS, below=below, above=above, using=using)
    runs = Run.objects.using(using).filter(about=about)
    runs = (
        runs.filter(pk__lt=below).order_by("-pk")
        if above is None
        else runs.filter(pk__gt=above).order_by("pk")
    )
    ids = runs.values_list("pk", flat=True)
    return next(iter(ids[LOOKED_AT_OF_STATUS - 1 : LOOKED_AT_OF_STATUS]), None)


def _floor(
    status: str, tag: str, about: str, bounds: Bounds, before: int | None, among: tuple[int, int], using: str
) -> int | None:
    """Return the id at which a search stops, or None if it reaches the oldest run."""
    low, high = among
    low = low if bounds.low is None else max(low, bounds.low)
    top = min(high, bounds.high or high, before or high)
    if tag or about:
        floor = _nth(tag, about, below=top, using=using)
        return floor if floor is not None and floor > low else None
    if status in UNSUCCESSFUL:
        # Through the index of that status, which has nothing but ids.
        of_status = Criteria(status=status).apply(Run.objects.using(using).filter(pk__lt=top))
        ids = of_status.order_by("-pk").values_list("pk", flat=True)
        floor = next(iter(ids[LOOKED_AT_OF_STATUS : LOOKED_AT_OF_STATUS + 1]), None)
        return floor if floor is not None and floor > low else None
    return top - LOOKED_AT if top - LOOKED_AT > low else None


def behind(rows: QuerySet[Any], order: Sequence[str], position: Sequence[Any] | None, size: int) -> list[Any]:
    """Return the rows behind a position in an order: one range of the index after the other, never an OR.

    Args:
        rows: The rows that match, of jobs or runs.
        order: Columns of an index, as for `order_by`.
        position: The values of those columns in the last row before; None begins with the first row.
        size: Most rows.
    """
    some: list[Any] = []
    for selected in [rows] if position is None else _ranges(rows, order, position):
        some += selected.order_by(*order)[: size - len(some)]
        if len(some) == size:
            break
    return some


def _ranges(rows: QuerySet[Any], order: Sequence[str], position: Sequence[Any]) -> Iterator[QuerySet[Any]]:
    names = [name.removeprefix("-") for name in order]
    for depth in reversed(range(len(order))):
        same = dict(zip(names[:depth], position[:depth], strict=True))
        way = "lt" if order[depth].startswith("-") else "gt"
        yield rows.filter(**same, **{f"{names[depth]}__{way}": position[depth]})


def walk(
    criteria: Criteria,
    *,
    size: int,
    where: Q | None = None,
    up_to: int | None = None,
    newest_first: bool = False,
    using: str,
) -> Iterator[tuple[list[int], float]]:
    """Yield the ids of all runs that match, some at a time, through the whole history.

    No statement reads more than `LOOKED_AT` rows, unless they are all of one job, or about one object.

    Args:
        criteria: The filters.
        size: Most ids at a time.
        where: What else must hold.
        up_to: The highest id to look at; None for that of the newest run.
        newest_first: Whether to go from high ids to low ones.
        using: Alias of the database.

    Yields:
        Ids in order, and the share of the way so far, up to 1. No ids where none matched for a while.
    """
    low, high = extent(using=using)
    bounds = bounds_of(criteria, using=using, among=(low, high))
    first = max(low, bounds.low or low)
    end = min(high, bounds.high or high, high if up_to is None else up_to + 1)
    runs = criteria.apply(Run.objects.using(using), by_id=True)
    if where is not None:
        runs = runs.filter(where)
    runs = runs.order_by("-pk" if newest_first else "pk")
    length = max(1, end - first)
    # The runs of one job, or about one object, have an index of their own, in which there is little to look at.
    window = length if criteria.job_id or criteria.named or criteria.about else LOOKED_AT
    for begin in range(0, length if end > first else 0, window):
        if newest_first:
            start, stop = max(first, end - begin - window), end - begin
        else:
            start, stop = first + begin, min(end, first + begin + window)
        while start < stop:
            ids = list(runs.filter(pk__gte=start, pk__lt=stop).values_list("pk", flat=True)[:size])
            if len(ids) < size:
                yield ids, min(1.0, (begin + window) / length)
                break
            if newest_first:
                stop = ids[-1]
                yield ids, (end - stop) / length
            else:
                start = ids[-1] + 1
                yield ids, (start - first) / length
