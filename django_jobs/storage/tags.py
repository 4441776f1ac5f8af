"""Tags of runs: a row for each, so that those of one tag are found through an index."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import BooleanField, Exists, F, Func, OuterRef, Q, Value

from django_jobs.models import Run, RunTag
from django_jobs.registry.limits import digest
from django_jobs.storage.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from django.db.models import QuerySet

    from django_jobs.storage.records import NewRun

# Tags that are inserted with one query, and runs of a tag that are read with one where the first few are not enough.
CHUNK, READ = 1000, 5000


def whole(*, using: str) -> AbstractContextManager[Any]:
    """Return what has runs and their tags be inserted together: a transaction, unless one is under way."""
    return nullcontext() if connections[using].in_atomic_block else write_transaction(using)


def insert(runs: Sequence[NewRun], ids: Sequence[int], *, using: str) -> None:
    """Insert the tags of runs that were inserted, in the same transaction; without any, do nothing."""
    rows = [
        RunTag(run_id=run_id, tag=digest(tag))
        for run, run_id in zip(runs, ids, strict=True)
        for tag in _tags_of(run)
    ]
    if rows:
        RunTag.objects.using(using).bulk_create(rows, batch_size=CHUNK)


def has_any(runs: Sequence[NewRun]) -> bool:
    """Return whether any of some runs has a tag."""
    return any(map(_tags_of, runs))


def _tags_of(run: NewRun) -> Sequence[str]:
    return (isinstance(run.options, dict) and run.options.get("tags")) or ()


def of_runs(tag: str) -> Q:
    """Return what holds for runs with a tag, as a look at the index for each."""
    return Q(Exists(RunTag.objects.filter(run_id=OuterRef("pk"), tag=digest(tag))))


def of_jobs(tag: str, *, using: str) -> Q:
    """Return what holds for jobs with a tag; each is looked at."""
    if connections[using].vendor != "sqlite":
        return Q(options__tags__contains=[tag])
    return Q(_HasTag(F("options"), Value(tag), output_field=BooleanField()))


class _HasTag(Func):
    """Whether the tags of some options have one: Django has no word for that on SQLite."""

    template = "EXISTS (SELECT 1 FROM JSON_EACH(%(expressions)s)"
    arg_joiner = ", '$.tags') WHERE value = "
    conditional = True


def runs_of(
    tag: str,
    *,
    low: int | None = None,
    high: int | None = None,
    newest_first: bool = True,
    first: int,
    most: int,
    using: str,
) -> Iterator[list[int]]:
    """Yield the ids of runs with a tag in their order, with a few queries along the index.

    Args:
        tag: The tag.
        low: The lowest id; None for no bound.
        high: The one behind the highest; None for no bound.
        newest_first: Whether to go from high ids to low ones.
        first: How many to read at first; at least 1.
        most: How many to read in all.
        using: Alias of the database.
    """
    left, size = most, first
    while left > 0:
        wanted = min(size, left)
        ids = list(_ids(tag, low, high, newest_first=newest_first, using=using)[:wanted])
        if ids:
            yield ids
        if len(ids) < wanted:
            return
        low, high = (low, ids[-1]) if newest_first else (ids[-1] + 1, high)
        left, size = left - wanted, READ


def among(ids: Sequence[int], *, using: str) -> Q:
    """Return what holds for the runs of some ids, which may be thousands."""
    if connections[using].vendor != "postgresql":
        return Q(pk__in=ids)
    return Q(_Among(F("pk"), Value(ids), output_field=BooleanField()))


class _Among(Func):
    """Whether a run is one of those ids, as one value.

    The driver cuts the statement at each value of a list, and PostgreSQL's planner weighs each: that takes longer
    than to read the runs.
    """

    template = "%(expressions)s::bigint[])))"
    arg_joiner = " = ANY(ARRAY(SELECT UNNEST("
    conditional = True


def nth(
    tag: str, count: int, *, below: int | None = None, above: int | None = None, using: str
) -> int | None:
    """Return the id of the run that comes so many runs of a tag below or above an id; None without one."""
    low = None if above is None else above + 1
    ids = _ids(tag, low, below, newest_first=above is None, using=using)
    return next(iter(ids[count - 1 : count]), None)


def _ids(
    tag: str, low: int | None, high: int | None, *, newest_first: bool, using: str
) -> QuerySet[Any, int]:
    rows = RunTag.objects.using(using).filter(tag=digest(tag))
    rows = rows if low is None else rows.filter(run_id__gte=low)
    rows = rows if high is None else rows.filter(run_id__lt=high)
    return rows.order_by("-run_id" if newest_first else "run_id").values_list("run_id", flat=True)


def are_any(*, using: str) -> bool:
    """Return whether any run has a tag."""
    return RunTag.objects.using(using).exists()


def delete_of(run_ids: Sequence[int], *, using: str) -> None:
    """Delete the tags of runs that are no longer there."""
    runs = Run.objects.using(using).filter(pk=OuterRef("run_id"))
    tags: Any = RunTag.objects.using(using).filter(~Exists(runs), run_id__in=run_ids)
    tags._raw_delete(using)
