"""Make a batch, add runs to it, and close it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_jobs.exceptions import BatchClosed
from django_jobs.models import BATCH_PREFIX, Batch, Dependency, Dependent, Run, Wait
from django_jobs.storage import enqueue
from django_jobs.storage.batch_locks import MARK, lock
from django_jobs.storage.batches.ends import LockedBatch
from django_jobs.storage.transactions import BATCH as ROWS
from django_jobs.storage.transactions import database_now, write_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.records import NewRun

_GONE = "the batch is not there: the transaction that made it is not committed or was rolled back, or it was pruned"


@dataclass(slots=True)
class Member:
    """A run to add to a batch.

    Attributes:
        run: As it is inserted.
        after: Ids of the runs that it waits for, in the order in which its arguments refer to them.
        after_failure: What becomes of it when one of those fails: "cancel", "run" or "skip".
    """

    run: NewRun
    after: tuple[int, ...] = ()
    after_failure: str = "cancel"


def new_key() -> str:
    """Return an id for a new batch."""
    return f"{BATCH_PREFIX}{uuid.uuid4().hex}"


def create(
    key: str,
    name: str,
    *,
    callbacks: dict[str, dict[str, Any]],
    failures: Sequence[str],
    using: str,
) -> Batch:
    """Insert a batch without runs, open for more, in the caller's transaction."""
    now = database_now(using)
    return Batch.objects.using(using).create(
        key=key,
        name=name,
        callbacks=callbacks or None,
        failures=list(failures),
        created_at=now,
        changed_at=now,
    )


def mark(run: NewRun | Run, batch_id: int) -> None:
    """Make a run one of a batch, before it is written; the same transaction counts it there."""
    run.batch_id = batch_id
    run.options = {**(run.options or {}), MARK: batch_id}


def insert(batch_id: int, members: Sequence[Member], *, using: str) -> list[int]:
    """Insert runs of a batch in the caller's transaction; return their ids, in order.

    Those that wait for others are released by whoever ends the last of these. They are not counted yet: see
    `count` and `add`.
    """
    for member in members:
        run = member.run
        mark(run, batch_id)
        if member.after:
            run.run_after, run.waits_for = "held", Wait.DEPENDENCY.value
    runs = [member.run for member in members]
    if connections[using].features.can_return_rows_from_bulk_insert:
        ids = enqueue.insert(runs, using=using)
    else:
        # MySQL returns the id of one only.
        ids = [enqueue.insert([run], using=using)[0] for run in runs]
    waiting = [(run_id, member) for run_id, member in zip(ids, members, strict=True) if member.after]
    Dependent.objects.using(using).bulk_create(
        [
            Dependent(
                run_id=run_id,
                batch_id=batch_id,
                waits=len(set(member.after)),
                after_failure=member.after_failure,
            )
            for run_id, member in waiting
        ],
        batch_size=ROWS,
    )
    Dependency.objects.using(using).bulk_create(
        (
            Dependency(run_id=run_id, position=position, after_id=after_id)
            for run_id, member in waiting
            for position, after_id in enumerate(member.after)
        ),
        batch_size=1000,
    )
    return ids


def count(batch_id: int, added: int, *, has_dependencies: bool, using: str) -> None:
    """Count the runs that were inserted into a batch of the same transaction, which are all, and close it."""
    locked = _locked(batch_id, using)
    locked.batch.total += added
    locked.batch.has_dependencies = has_dependencies
    locked.close()
    locked.save()


def add(batch_id: int, members: Sequence[Member], *, from_run: int | None, using: str) -> list[int]:
    """Add runs to a batch that others see already.

    Args:
        batch_id: Of the batch.
        members: At least one.
        from_run: The run of the batch that adds them, if one does; it may add to a closed batch.
        using: Alias of the database.

    Returns:
        Their ids, in order.

    Raises:
        BatchClosed: The batch was closed, cancelled, or has ended.
        ValueError: A run that one of them is to wait for is not there, or of another batch.
    """
    with write_transaction(using):
        locked = _locked(batch_id, using)
        _check_open(locked.batch, from_run, using)
        _check_dependencies(batch_id, {pk for member in members for pk in member.after}, using)
        ids = insert(batch_id, members, using=using)
        locked.batch.total += len(ids)
        waiting = [run_id for run_id, member in zip(ids, members, strict=True) if member.after]
        if waiting:
            locked.batch.has_dependencies = True
            locked.settle(waiting)
        locked.save()
    return ids


def close(batch_id: int, *, using: str) -> bool:
    """Close a batch, which ends with the last of its runs; return whether it was open."""
    with write_transaction(using):
        locked = _locked(batch_id, using)
        if locked.batch.closed_at is not None:
            return False
        locked.close()
        locked.save()
    return True


def names_of(batch_id: int, *, using: str) -> tuple[str, str]:
    """Return the id of a batch for the API, and its name.

    Raises:
        BatchClosed: It is not there.
    """
    names = Batch.objects.using(using).filter(pk=batch_id).values_list("key", "name").first()
    if names is None:
        raise BatchClosed(_GONE)
    return names


def _locked(batch_id: int, using: str) -> LockedBatch:
    batch = lock([batch_id], using=using).get(batch_id)
    if batch is None:
        raise BatchClosed(_GONE)
    return LockedBatch(batch, using=using)


def _check_open(batch: Batch, from_run: int | None, using: str) -> None:
    if batch.cancelled_at is not None:
        raise BatchClosed(f"batch {batch.name!r} was cancelled, and takes no more runs")
    if batch.ended_at is not None:
        raise BatchClosed(f"batch {batch.name!r} has ended: make another one")
    if batch.closed_at is None:
        return
    is_ours = from_run is not None and Run.objects.using(using).running().filter(
        pk=from_run, batch_id=batch.pk
    )
    if not is_ours or not is_ours.exists():
        raise BatchClosed(
            f"batch {batch.name!r} was closed, and takes more only from its own running runs: add before "
            "close(), or with current_run().batch inside one of its runs"
        )


def _check_dependencies(batch_id: int, wanted: set[int], using: str) -> None:
    ids = sorted(wanted)
    found: dict[int, int | None] = {}
    for start in range(0, len(ids), ROWS):
        rows = Run.objects.using(using).filter(pk__in=ids[start : start + ROWS])
        found.update(rows.values_list("pk", "batch_id"))
    for pk in ids:
        if pk not in found:
            raise ValueError(
                f"run {pk} cannot be waited for, since this transaction does not see it: the one that added it "
                "is not committed, was rolled back, or is another database's. Add both in one transaction"
            )
        if found[pk] != batch_id:
            raise ValueError(
                f"run {pk} cannot be waited for: it is part of another batch. Add both to one batch, or start this one "
                "with on_success of the other"
            )
