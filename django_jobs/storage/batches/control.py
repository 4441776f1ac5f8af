"""Cancel and retry batches, in transactions of a few hundred runs each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q

from django_jobs.models import Batch, Dependent, Run, Status, Wait
from django_jobs.storage import notifications, transitions
from django_jobs.storage.batch_locks import lock
from django_jobs.storage.batches.ends import LockedBatch
from django_jobs.storage.transactions import BATCH as ROWS
from django_jobs.storage.transactions import database_now, skips_locked, write_transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

# Why its runs ended.
CANCELLED = "its batch was cancelled"


def cancel(batch_id: int, *, using: str) -> bool:
    """Cancel what waits of a batch, ask what runs of it to stop, and take no more.

    A process that is killed meanwhile leaves the rest to the sweep.

    Returns:
        False when the batch has ended.
    """
    with write_transaction(using):
        batch = lock([batch_id], using=using).get(batch_id)
        if batch is None or batch.ended_at is not None:
            return False
        locked = LockedBatch(batch, using=using)
        if batch.cancelled_at is None:
            batch.cancelled_at = database_now(using)
        if batch.closed_at is None:
            locked.close()
        locked.save()
    cancel_runs(batch_id, using=using)
    notifications.notify(notifications.RUNS, using=using)
    return True


def cancel_runs(batch_id: int, *, using: str) -> None:
    """End what a cancelled batch has left."""
    waiting = Run.objects.using(using).ready().filter(batch_id=batch_id)
    # Those that wait for their turn backwards: the end of one would let the next through, and that one begin.
    for runs in (waiting.filter(waits_for=Wait.TURN).order_by("-pk"), waiting.order_by("pk")):
        while ids := list(runs.values_list("pk", flat=True)[:ROWS]):
            transitions.cancel_waiting(Q(pk__in=ids), CANCELLED, using=using)
    running = Run.objects.using(using).running().filter(batch_id=batch_id, cancel_requested=False)
    with write_transaction(using):
        if skips_locked(using):
            # Not those that end at this moment: who ends them may wait for a batch that is locked here.
            unlocked = running.select_for_update(skip_locked=True)
            running = running.filter(pk__in=list(unlocked.values_list("pk", flat=True)))
        if running.update(cancel_requested=True):
            notifications.notify(notifications.CANCELS, using=using)


def retry(batch_id: int, *, using: str) -> int:
    """Make what failed of a batch READY again; what was ended for it waits for it again.

    Returns:
        How many runs were retried by themselves.
    """
    count = 0
    for ids in _failed(batch_id, using):
        for run_id in ids:
            try:
                with transaction.atomic(using=using):
                    count += transitions.retry(run_id, using=using)
            except IntegrityError:
                # A job of its id was added since, and is unfinished.
                continue
    if count:
        notifications.notify(notifications.RUNS, using=using)
    return count


def _failed(batch_id: int, using: str) -> Iterator[list[int]]:
    """Yield the runs that ended without success, and not for another one's failure."""
    for_others = Dependent.objects.using(using).filter(pk=OuterRef("pk"), ended_by__isnull=False)
    statuses = [Status.FAILED, Status.CANCELLED, Status.SKIPPED]
    failed = (
        Run.objects.using(using).filter(batch_id=batch_id, status__in=statuses).exclude(Exists(for_others))
    )
    after = 0
    while ids := list(failed.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:ROWS]):
        yield ids
        after = ids[-1]


def row_of(key: str, *, using: str) -> Batch | None:
    """Return the batch of an id; None when there is none."""
    return Batch.objects.using(using).filter(key=key).first()
