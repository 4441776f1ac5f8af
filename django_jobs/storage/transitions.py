"""State changes that people ask for: cancel, hold, unhold and retry runs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from django_jobs import signals
from django_jobs.models import PAUSED, Kind, Run, Status
from django_jobs.storage import batch_locks, endings, fairness, statistics, steps
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.records import immediate_key, renewed
from django_jobs.storage.transactions import BATCH, database_now, skips_locked, write_transaction
from django_jobs.storage.unique_keys import key_of, mark_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet


def cancel(where: Q, reason: str = "", *, using: str) -> tuple[int, int]:
    """Cancel waiting runs, and ask running ones to stop.

    Returns:
        How many were cancelled, and how many were asked.
    """
    cancelled, has_batches = _cancel_waiting(where, reason, using=using)
    asked = Run.objects.using(using).running().filter(where)
    if has_batches and skips_locked(using):
        # Not those that end at this moment: who ends them may wait for a batch that is locked here.
        unlocked = asked.select_for_update(skip_locked=True).values_list("pk", flat=True)
        with write_transaction(using):
            asked = asked.filter(pk__in=list(unlocked))
            return cancelled, asked.update(cancel_requested=True)
    return cancelled, asked.update(cancel_requested=True)


def cancel_waiting(where: Q, reason: str = "", *, using: str) -> int:
    """Cancel waiting runs and leave running ones alone; return how many."""
    return _cancel_waiting(where, reason, using=using)[0]


def _cancel_waiting(where: Q, reason: str, *, using: str) -> tuple[int, bool]:
    runs = Run.objects.using(using).ready().filter(where)
    with write_transaction(using):
        if not connections[using].features.has_select_for_update:
            return end_cancelled(runs, reason, using=using), False
        # None where one of them is of a batch, which must be locked first; nobody else asks for batches.
        cancelled = end_cancelled(batch_locks.without_batches(runs), reason, using=using)
        if cancelled or not batch_locks.lock_those_of(runs, using=using):
            return cancelled, False
        return end_cancelled(runs, reason, using=using), True


def end_cancelled(runs: QuerySet[Run], reason: str, *, using: str) -> int:
    """End runs that wait, or would wait again, as CANCELLED; return how many."""
    return len(end_waiting(runs, Status.CANCELLED, reason, using=using))


def end_waiting(
    runs: QuerySet[Run], status: Status, reason: str, *, told: str = "", using: str
) -> list[endings.Ended]:
    """End runs that wait, or would wait again, without calling their functions.

    Args:
        runs: Those of a batch only with the batch locked, unless they are RUNNING.
        status: CANCELLED or SKIPPED.
        reason: Why, as their error.
        told: As for `endings.ended`.
        using: Alias of the database.
    """
    with write_transaction(using):
        columns = ("pk", "options", "func", "queue_name", "fair_key")
        rows = _locked(runs, columns, using)
        for start in range(0, len(rows), BATCH):
            # By their keys alone: MariaDB might look for the state in an index, and wait there.
            Run.objects.using(using).filter(pk__in=[row[0] for row in rows[start : start + BATCH]]).update(
                status=status,
                finished_at=timezone.now(),
                unique_key=_freed_key(),
                error=reason,
                waits_for=None,
            )
        ends = [endings.Ended(pk, status.value, options or {}, reason) for pk, options, *_ in rows]
        if any(endings.concerns(run.options) for run in ends):
            endings.ended(ends, using=using, told=told)
        if rows:
            fairness.left({row[4] for row in rows if row[4] is not None}, using=using)
            ended = [(func, queue_name, status.value) for _, _, func, queue_name, _ in rows]
            transaction.on_commit(lambda: statistics.note_ended(ended, using=using), using=using)
        if rows and status == Status.CANCELLED:
            cancelled = [(pk, options) for pk, options, *_ in rows]
            transaction.on_commit(
                lambda: signals.emit(signals.runs_cancelled, runs=cancelled, reason=reason), using=using
            )
    return ends


def _locked(runs: QuerySet[Run], columns: Sequence[str], using: str) -> list[tuple[Any, ...]]:
    """Lock runs, and return some columns of theirs."""
    if connections[using].vendor != "mysql":
        return list(runs.select_for_update().values_list(*columns))
    # A worker locks a run by its key, and then its entries in other indexes. What is found by one of
    # those is locked in the opposite order: two would wait for each other.
    ids = list(runs.values_list("pk", flat=True))
    backend_of(connections[using]).lock_runs(ids)
    return list(runs.filter(pk__in=ids).values_list(*columns)) if ids else []


def _freed_key() -> Any:
    # A firing keeps its key forever; an immediate job frees its id when it has ended.
    return Case(When(scheduled_at__isnull=True, then=Value(None)), default=F("unique_key"))


def free_key(job_id: str, *, using: str) -> None:
    """Let go of the id that a running immediate job holds, so that another may take it."""
    with write_transaction(using):
        running = Run.objects.using(using).running().filter(unique_key=immediate_key(job_id))
        rows = _locked(running, ("pk",), using)
        Run.objects.using(using).filter(pk__in=[row[0] for row in rows]).update(unique_key=None)


def hold(where: Q, *, using: str) -> int:
    """Keep waiting runs from being claimed until they are released; return how many.

    Runs that execute go on, and are held if they come back: to be tried again, or from a worker that
    stopped or died.
    """
    is_waiting = Q(status=Status.READY)
    is_due_or_blocked = Q(run_after__isnull=False) | Q(waits_for__isnull=False, held_run_after__isnull=True)
    # One statement, so that none slips through by being claimed, or coming back, between two. In this
    # order: MariaDB computes each value from what those before it have set.
    runs = Run.objects.using(using).unfinished().filter(where, ~is_waiting | is_due_or_blocked)
    return runs.update(
        held_run_after=Case(
            When(is_waiting, then=Coalesce("run_after", Value(database_now(using)))),
            default=Value(database_now(using)),
        ),
        run_after=Case(When(is_waiting, then=None), default=F("run_after")),
    )


def unhold(where: Q, *, using: str) -> int:
    """Let held runs be claimed: paused ones when they were due, at the earliest now; return how many.

    What else they wait for they go on waiting for.
    """
    is_held = Q(status=Status.READY, run_after__isnull=True, waits_for__isnull=True)
    now = database_now(using)
    due = Case(When(held_run_after__gt=now, then=F("held_run_after")), default=Value(now))
    # What went wrong with a run that waited for its retry is still its last error.
    error = Case(When(PAUSED, then=F("error")), default=Value("", output_field=TextField()))
    # One statement, and in this order, as in `hold`.
    runs = Run.objects.using(using).unfinished().filter(where, is_held | Q(held_run_after__isnull=False))
    return runs.update(
        error=error,
        run_after=Case(When(is_held, then=due), default=F("run_after")),
        held_run_after=None,
        **NOT_DISPATCHED,
    )


def run_now(where: Q, *, using: str) -> int:
    """Let runs be claimed now that wait for their time; return how many."""
    now = database_now(using)
    deferred = Run.objects.using(using).ready().filter(where, run_after__gt=now)
    steps.wake(deferred.values_list("pk", flat=True), using=using)
    return deferred.update(run_after=now, **NOT_DISPATCHED)


def retry(run_id: int, *, using: str) -> bool:
    """Make a run that ended without success READY again, now.

    Returns:
        Whether there was such a run.

    Raises:
        IntegrityError: An immediate job of its id is unfinished, or its key is taken.
    """
    ended = Run.objects.using(using).filter(
        pk=run_id, status__in=[Status.FAILED, Status.CANCELLED, Status.SKIPPED]
    )
    job_id, func, options = ended.values_list("job_id", "func", "options").first() or ("", "", None)
    mark = mark_of(options)
    key: Any = F("unique_key")
    # A key that is taken for a time this run has still, or another one has by now.
    if mark is None or "within" not in mark:
        held = immediate_key(job_id) if mark is None else key_of(func, options)
        key = Case(When(kind=Kind.IMMEDIATE, scheduled_at__isnull=True, then=Value(held)), default=key)
    now = database_now(using)
    changes: dict[str, Any] = (
        {"options": renewed(options, now)} if options and "expires_at" in options else {}
    )
    is_marked = endings.concerns(options)
    with write_transaction(using) if is_marked else nullcontext():
        batch_locks.lock_of(options, using=using)
        was = ended.values_list("status", flat=True).first() if is_marked else None
        is_reopened = bool(
            ended.update(
                status=Status.READY,
                run_after=now,
                held_run_after=None,
                finished_at=None,
                cancel_requested=False,
                rescues=0,
                error_key=None,
                # Its id, or its key, is in use again, as when it was added.
                unique_key=key,
                **NOT_DISPATCHED,
                **changes,
            )
        )
        if is_reopened and is_marked:
            reopened = endings.Ended(run_id, Status.READY.value, options or {}, was=was or "")
            endings.reopened([reopened], using=using)
    return is_reopened
