"""The locks of batches: who changes several of their runs holds them first.

The order of locks is: rows of RUNNING runs, then batches by their ids, then rows of other runs. Who has
to end, change or add runs that wait takes the batch before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Exists

from django_jobs.models import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.db.models import QuerySet

    from django_jobs.models import Run

# The key of `Run.options` that says which batch a run is of: when it ends, its batch is told.
MARK = "batch"


def lock(ids: Iterable[int], *, using: str) -> dict[int, Batch]:
    """Lock batches until the transaction under way ends; return those that are there, by id."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = Batch.objects.using(using).select_for_update().filter(pk__in=wanted).order_by("pk")
    return {batch.pk: batch for batch in rows}


def lock_of(options: Mapping[str, Any] | None, *, using: str) -> None:
    """Lock the batch that a run with some options is of, if it is of one."""
    if options and MARK in options:
        lock([options[MARK]], using=using)


def without_batches(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Return some runs if none of them is of a batch, and else none of them."""
    return runs.filter(~Exists(runs.filter(batch_id__isnull=False).order_by()))


def lock_those_of(runs: QuerySet[Run], *, using: str) -> bool:
    """Lock the batches that some runs are of, before the runs themselves are; return whether there are any."""
    found = runs.filter(batch_id__isnull=False).order_by().values_list("batch_id", flat=True).distinct()
    return bool(lock([pk for pk in found if pk is not None], using=using))
