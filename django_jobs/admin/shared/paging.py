"""Pages of the list of runs, by their ids: each costs the same with a hundred rows and with ten million."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_jobs.models import Run, RunQuerySet
from django_jobs.operations import selection
from django_jobs.operations.selection import UNSUCCESSFUL, Bounds, Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

# Rows that one page of a search without an index looks at, newest first.
SEARCHED = 100_000
# The same where they are those of one status, which lie scattered.
SEARCHED_OF_STATUS = 10_000


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first, and where to go on."""

    runs: list[Run]
    # For `before` and `after` of the pages beside it; None where there is none.
    older: int | None
    newer: int | None
    # The lowest id that was looked at, if older ones were left out for what that would cost.
    searched_to: int | None = None


def page(
    wanted: Selection, runs: RunQuerySet, *, size: int, before: int | None, after: int | None, using: str
) -> Page:
    """Return a page of the runs of a selection.

    Args:
        wanted: The filters.
        runs: What to choose from, with the columns that the page wants.
        size: Most runs.
        before: Only runs with lower ids; None begins with the newest.
        after: Only runs with higher ids, those nearest to it; `before` is not asked then.
        using: Alias of the database.
    """
    among = selection.extent(using=using) if wanted.is_searched or wanted.since or wanted.until else None
    bounds = selection.bounds_of(wanted, using=using, among=among)
    if after is not None and (above := _newer(wanted, runs, bounds, size, after, using)) is not None:
        return above
    floor = _floor(wanted, bounds, before, among, using) if among and wanted.is_searched else None
    # One bound for each end: of two SQLite chooses the first.
    bounds = Bounds(floor if floor is not None else bounds.low, _lowest(bounds.high, before))
    rows = wanted.apply(runs, bounds)
    some = list(rows.order_by("-pk")[: size + 1])
    newer = None if before is None else before - 1
    if len(some) > size:
        return Page(some[:size], older=some[size - 1].pk, newer=newer)
    return Page(some, older=floor, newer=newer, searched_to=floor)


def _lowest(*ids: int | None) -> int | None:
    return min((pk for pk in ids if pk is not None), default=None)


def _newer(
    wanted: Selection, runs: RunQuerySet, bounds: Bounds, size: int, after: int, using: str
) -> Page | None:
    """Return the page above a position; None where that is the first one, which then has all that fits it."""
    top = _lowest(bounds.high, after + 1 + SEARCHED if wanted.is_searched else None)
    rows = wanted.apply(runs, Bounds(max(after + 1, bounds.low or 0), top))
    some = list(rows.order_by("pk")[: size + 1])
    if len(some) > size:
        return Page(some[:size][::-1], older=after + 1, newer=some[size - 1].pk)
    has_more = wanted.is_searched and Run.objects.using(using).filter(pk__gt=after + SEARCHED).exists()
    return Page(some[::-1], older=after + 1, newer=after + SEARCHED) if has_more else None


def _floor(
    wanted: Selection, bounds: Bounds, before: int | None, among: tuple[int, int], using: str
) -> int | None:
    """Return the id at which a search stops; None where it reaches the end of what there is."""
    low, high = among
    low = low if bounds.low is None else max(low, bounds.low)
    top = min(high, bounds.high or high, before or high)
    if wanted.status in UNSUCCESSFUL:
        # Through that status' index, which knows nothing but their ids.
        of_status = Selection(status=wanted.status).apply(Run.objects.using(using).filter(pk__lt=top))
        last = of_status.order_by("-pk").values_list("pk", flat=True)[
            SEARCHED_OF_STATUS : SEARCHED_OF_STATUS + 1
        ]
        floor = next(iter(last), None)
        return floor if floor is not None and floor > low else None
    return top - SEARCHED if top - SEARCHED > low else None


def number_of(query: Mapping[str, str], name: str) -> int | None:
    """Return a run's number from a page's address; None where it is none."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
