"""Put runs into the queue that are the only ones of their key: the unique index decides."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connections

from django_jobs.exceptions import ConflictingIdError
from django_jobs.models import Run, Status
from django_jobs.storage import fairness, notifications, tags
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.limits import gate
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.transactions import write_transaction
from django_jobs.storage.unique_keys import WAITS, begun, mark_of

if TYPE_CHECKING:
    from django_jobs.registry.unique import ConflictPolicy
    from django_jobs.storage.records import NewRun
    from django_jobs.storage.unique_keys import Holder

# Each try after the first takes a run of the key that was claimed, or ended, between two statements.
_MOST_TRIES = 100
# MariaDB's and MySQL's number of a deadlock, for which the transaction of one of those who wait is undone.
_DEADLOCK = 1213
# What a run's options have of the arguments, and of when it begins.
_OF_ARGUMENTS, _OF_TIME = ("sensitive",), ("expires_at",)


@dataclass(frozen=True, slots=True)
class Inserted:
    """What became of a call: its run, or the one that has its key."""

    job_id: str
    run_id: int
    is_new: bool


def insert_unique(run: NewRun, policy: ConflictPolicy, *, using: str) -> Inserted:
    """Insert a run whose `unique_key` is free, in the caller's transaction if there is one; else do as its policy says.

    In a transaction, a run of the key that waits is kept from being claimed until that ends: it is to see
    what the transaction writes. Nobody waits for a run that is executed.

    Raises:
        ConflictingIdError: The key is taken, and the policy raises.
    """
    for _ in range(_MOST_TRIES):
        try:
            inserted = _insert(run, policy, using)
        except OperationalError as error:
            # InnoDB has several who wait for one that rolled back each wait for the other.
            if connections[using].in_atomic_block or error.args[:1] != (_DEADLOCK,):
                raise
            continue
        if inserted is not None:
            return inserted
    raise _conflict(run, run.job_id)


def _insert(run: NewRun, policy: ConflictPolicy, using: str) -> Inserted | None:
    """Try once; return None where what has the key has changed meanwhile."""
    connection = connections[using]
    backend = backend_of(connection)
    has_limit = gate.has_limit(run.options)
    if fairness.has_turns(run.options):
        fairness.place([run], using=using)
    if has_limit:
        gate.place([run], using=using)
    with tags.whole(using=using) if tags.has_any([run]) else nullcontext():
        run_id = backend.insert_unless_taken(run)
        if run_id is not None:
            tags.insert([run], [run_id], using=using)
    if run_id is not None:
        fairness.placed([run], using=using)
        if has_limit:
            gate.placed([run], [run_id], using=using)
        return Inserted(run.job_id, run_id, is_new=True)
    key = str(run.unique_key)
    changes = policy.replaces or policy.postpones
    is_locking = changes or (connection.in_atomic_block and not policy.raises)
    with write_transaction(using) if changes and not connection.in_atomic_block else nullcontext():
        holder = backend.lock_holder(key, is_shared=not changes) if is_locking else None
        if holder is None:
            holder = backend.holder_of(key)
            if holder is None or (is_locking and holder.status == Status.READY):
                return None
        if _is_over(holder, key, policy, using):
            return None
        if policy.raises:
            raise _conflict(run, holder.job_id)
        if changes and (changed := _changes(holder, run, policy)):
            Run.objects.using(using).filter(pk=holder.id).update(**changed)
            if "error" in changed:
                notifications.notify(notifications.RUNS, using=using)
    return Inserted(holder.job_id, holder.id, is_new=False)


def _is_over(holder: Holder, key: str, policy: ConflictPolicy, using: str) -> bool:
    """Free a key that its run has no more right to; return whether it had none."""
    if policy.within is not None:
        if holder.enqueued_at + timedelta(seconds=policy.within) > holder.now:
            return False
        Run.objects.using(using).filter(pk=holder.id, unique_key=key).update(unique_key=None)
        return True
    if key.startswith(WAITS) and holder.status != Status.READY:
        # A process of a version without such keys has claimed it.
        rows = Run.objects.using(using).filter(pk=holder.id, unique_key=key).exclude(status=Status.READY)
        rows.update(unique_key=begun(key, holder.id))
        return True
    return False


def _changes(holder: Holder, run: NewRun, policy: ConflictPolicy) -> dict[str, Any]:
    """Return what a call changes of the run that waits, which is locked."""
    changes: dict[str, Any] = {}
    target = _time_of(run, holder.now)
    if policy.max_wait is not None:
        target = min(target, holder.enqueued_at + timedelta(seconds=policy.max_wait))
    if policy.replaces:
        options = _with(holder.options, run.options, (*_OF_ARGUMENTS, *_OF_TIME))
        changes.update(payload=run.payload, signature=run.signature, options=options)
        if holder.is_broken:
            # It may be the arguments that were wrong.
            changes.update(run_after=target, error="", **NOT_DISPATCHED)
    if policy.postpones:
        # Where neither is set it waits for something else, and not for its time.
        column, due = "run_after", holder.run_after
        if due is None:
            column, due = "held_run_after", holder.held_run_after
        if due is not None and due < target:
            changes.setdefault("options", _with(holder.options, run.options, _OF_TIME))
            changes.update({column: target, **NOT_DISPATCHED})
    return changes


def _time_of(run: NewRun, now: datetime) -> datetime:
    if isinstance(run.run_after, timedelta):
        return now + run.run_after
    return run.run_after if isinstance(run.run_after, datetime) else now


def _with(options: Any, others: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a run's options with some of another's."""
    kept = {name: value for name, value in (options or {}).items() if name not in names}
    return kept | {name: value for name, value in (others or {}).items() if name in names}


def _conflict(run: NewRun, job_id: str) -> ConflictingIdError:
    error = ConflictingIdError(job_id)
    key = (mark_of(run.options) or {}).get("key", "")
    error.args = (f"the key {key!r} of {run.func} is taken by the job {job_id!r}",)
    return error
