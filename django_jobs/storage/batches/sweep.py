"""The second guard of batches: find what a mistake, a hand-edited row or a killed process left, and mend it.

What ends in the ordinary way leaves nothing to find.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Exists, OuterRef, Q

from django_jobs.models import BACKFILL_PREFIX, FINISHED, Batch, Dependency, Dependent, Run, Wait
from django_jobs.storage.batch_locks import lock
from django_jobs.storage.batches import control, members
from django_jobs.storage.batches.ends import LockedBatch
from django_jobs.storage.retention.rounds import take_turn
from django_jobs.storage.transactions import BATCH as ROWS
from django_jobs.storage.transactions import database_now, write_transaction
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    import threading
    from datetime import datetime

logger = logging.getLogger(__name__)

# The name of its `MaintenanceTask`.
SWEEP = "batches"
# A batch whose counts did not change for so long is counted.
STILL = timedelta(minutes=10)


def sweep_in_turn(using: str, stopped: threading.Event) -> int:
    """Sweep if no process has within the last minutes; return how many batches were mended."""
    unended = Batch.objects.using(using).filter(ended_at__isnull=True)
    if not unended.exists() or take_turn(SWEEP, using) is None:
        return 0
    return sweep(using=using, stopped=stopped)


def sweep(*, using: str, stopped: threading.Event | None = None, still: timedelta = STILL) -> int:
    """Look at all batches that have not ended; return how many were mended.

    Args:
        using: Alias of the database.
        stopped: Ends it early when set.
        still: Counts that did not change for so long are compared with the runs.
    """
    mended = after = 0
    before = database_now(using) - still
    unended = Batch.objects.using(using).filter(ended_at__isnull=True).order_by("pk")
    while ids := list(unended.filter(pk__gt=after).values_list("pk", flat=True)[:ROWS]):
        for batch_id in ids:
            if stopped is not None and stopped.is_set():
                return mended
            mended += _mend(batch_id, before, using)
        after = ids[-1]
    return mended


def _mend(batch_id: int, before: datetime, using: str) -> bool:
    batch = Batch.objects.using(using).filter(pk=batch_id).first()
    if batch is None:
        return False
    if batch.cancelled_at is not None:
        # Whoever cancelled it was killed before the last of its runs.
        runs = Run.objects.using(using)
        left = runs.ready().filter(batch_id=batch_id)
        unasked = runs.running().filter(batch_id=batch_id, cancel_requested=False)
        if left.exists() or unasked.exists():
            control.cancel_runs(batch_id, using=using)
            return _said(batch, "what its cancel left was cancelled")
    if batch.has_dependencies and (stuck := _stuck(batch, using)):
        with write_transaction(using):
            locked = _locked(batch_id, using)
            if locked is not None:
                locked.settle(stuck)
                locked.save()
        return _said(batch, f"runs that wait for nothing were released or ended: {stuck[:20]}")
    if batch.changed_at >= before:
        return False
    if batch.closed_at is None and batch.key.startswith(BACKFILL_PREFIX):
        # Whoever filled it was killed. The same call again makes a batch of the rest.
        return members.close(batch_id, using=using) and _said(batch, "it was filled half-way, and is closed")
    return _is_over(batch, using) and _count_again(batch, using)


def _said(batch: Batch, what: str) -> bool:
    logger.warning("batch=%s (%s): %s", printable(batch.key), printable(batch.name), what)
    return True


def _locked(batch_id: int, using: str) -> LockedBatch | None:
    batch = lock([batch_id], using=using).get(batch_id)
    return None if batch is None or batch.ended_at is not None else LockedBatch(batch, using=using)


def _stuck(batch: Batch, using: str) -> list[int]:
    """Return runs that wait for others, of which none is unfinished, or one has failed that they depend on."""
    runs = Run.objects.using(using)
    waiting = runs.ready().filter(pk=OuterRef("run_id"), waits_for=Wait.DEPENDENCY)
    edges = Dependency.objects.using(using).filter(run_id=OuterRef("run_id"))
    of_edge = runs.filter(pk=OuterRef("after_id"))
    is_free = ~Exists(edges.filter(Exists(of_edge.exclude(status__in=FINISHED))))
    has_failed = Exists(edges.filter(Exists(of_edge.filter(status__in=batch.failures))))
    dependents = Dependent.objects.using(using).filter(Exists(waiting), batch_id=batch.pk)
    found = dependents.filter(Q(is_free) | (Q(has_failed) & ~Q(after_failure="run")))
    return list(found.order_by("pk").values_list("pk", flat=True)[:ROWS])


def _is_over(batch: Batch, using: str) -> bool:
    unfinished = Run.objects.using(using).unfinished().filter(batch_id=batch.pk)
    return batch.closed_at is not None and not unfinished.exists()


def _count_again(batch: Batch, using: str) -> bool:
    """End a batch whose runs have all ended, and whose counts say something else."""
    with write_transaction(using):
        locked = _locked(batch.pk, using)
        if locked is None or not _is_over(batch, using):
            return False
        runs = Run.objects.using(using).filter(batch_id=batch.pk)
        counts = dict(runs.order_by().values_list("status").annotate(Count("pk")))
        for status in FINISHED:
            setattr(locked.batch, status.lower(), counts.get(status, 0))
        locked.batch.total = sum(counts.values())
        locked.save()
    return _said(batch, "all of its runs had ended, and it had not")
