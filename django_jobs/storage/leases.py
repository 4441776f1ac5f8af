"""Extend the leases of live workers, and rescue the runs of dead ones."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import IntegrityError, connections, transaction
from django.db.models import Exists, OuterRef, Q

from django_jobs import signals
from django_jobs.models import Run, Status, Worker
from django_jobs.storage import endings, fences, notifications, statistics, steps
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.backends.values import read_json, read_time
from django_jobs.storage.records import Outcome, error_entry, with_error
from django_jobs.storage.transactions import database_now, skips_locked, write_transaction
from django_jobs.storage.unique_keys import SUPERSEDED, WINDOW, waiting_again

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django_jobs.storage.records import ClaimedRun, Key

# Why a run ended that the database has as RUNNING and its worker does not.
FORGOTTEN = "its worker does not know it (did the database go back to an older state?)"
# How far ahead of the database's clock a heartbeat by that same clock cannot be.
FUTURE = timedelta(seconds=60)


@dataclass(slots=True)
class Heartbeat:
    """What a worker learns when it extends its lease; times by the database's clock."""

    now: datetime
    # The earliest `run_after` of all READY runs of all queues, past or future.
    next_ready: datetime | None
    # The earliest `next_run_time` of all jobs that can fire; None where it was not asked for.
    next_due: datetime | None
    # How many runs are RUNNING by this worker.
    held: int
    # Whether a run is RUNNING by a worker that is not alive.
    has_orphans: bool
    # Id and `process_key` of the other workers of its host that did not sign off.
    peers: list[tuple[str, str]]


@dataclass(slots=True)
class Rescued:
    """What became of a run whose worker died."""

    run_id: int
    job_id: str
    worker_id: str
    status: str
    reason: str
    func: str
    queue_name: str


def heartbeat(
    worker_id: str, *, lease_seconds: float, host: str = "", has_clock: bool = False, using: str
) -> Heartbeat | None:
    """Extend the lease of all runs of a worker, by the database's clock, and read what it has to know.

    One statement, where an UPDATE can return values; two on MariaDB and MySQL. An idle process sends
    nothing else to its database.

    Returns:
        None when the worker was declared dead: its runs belong to others now.
    """
    backend = backend_of(connections[using])
    row = backend.heartbeat(
        worker_id, host, lease_seconds=lease_seconds, has_clock=has_clock, future=FUTURE.total_seconds()
    )
    if row is None:
        return None
    now, next_ready, next_due, held, has_orphans, peers = row
    return Heartbeat(
        now=read_time(now, backend.zone),
        next_ready=None if next_ready is None else read_time(next_ready, backend.zone),
        next_due=None if next_due is None else read_time(next_due, backend.zone),
        held=held,
        has_orphans=bool(has_orphans),
        peers=[(peer, key) for peer, key in read_json(peers) or []],
    )


def rescue(
    now: datetime | None = None,
    *,
    max_rescues: int,
    gone: Collection[str] = (),
    by_lease: bool = True,
    using: str,
) -> list[Rescued]:
    """Take the runs of dead workers from them, and decide what becomes of each.

    A worker is dead when its lease has ended by the database's clock, or when the caller knows that its
    process ended. Its row is closed in the same transaction, so that a worker that only slept learns
    at its next heartbeat that it lost its runs.

    Args:
        now: The time by the database's clock, where the caller has it already.
        max_rescues: A run whose workers died more often than this is FAILED.
        gone: Ids of workers whose process provably ended.
        by_lease: Whether a worker is dead whose lease has ended; False where the clock cannot be
            trusted. So is one whose heartbeat is in the future: the clock was set back, and live workers
            have sent another heartbeat since.
        using: Alias of the database.
    """
    now = now or database_now(using)
    live = Worker.objects.using(using).filter(pk=OuterRef("worker_id"), stopped_at__isnull=True)
    ended = Q(lease_expires_at__lt=now) | Q(heartbeat_at__gt=now + FUTURE) if by_lease else Q(pk__in=[])
    held = Run.objects.using(using).running()
    if not gone and not held.filter(~Exists(live.exclude(ended))).exists():
        return []
    with write_transaction(using):
        Worker.objects.using(using).filter(ended | Q(pk__in=list(gone)), stopped_at__isnull=True).update(
            stopped_at=now, was_lost=True
        )
        lost = list(held.filter(~Exists(live)).select_for_update(skip_locked=skips_locked(using)))
        # In the order in which all others lock several batches.
        lost.sort(key=lambda run: run.batch_id or 0)
        further = steps.progressed(lost, using=using)
        return [_rescue(run, now, max_rescues, using, has_progressed=run.pk in further) for run in lost]


def rescue_one(run: ClaimedRun, reason: str, *, max_rescues: int, using: str) -> Rescued | None:
    """Take a run from the process of its worker that died while executing it.

    Args:
        run: As claimed.
        reason: How the process ended.
        max_rescues: As for `rescue`.
        using: Alias of the database.

    Returns:
        What became of it; None when it is another worker's by now.
    """
    with write_transaction(using):
        row = fences.of_claim(run, using=using).select_for_update().first()
        if row is None:
            return None
        has_progressed = bool(steps.progressed([row], using=using))
        return _rescue(row, database_now(using), max_rescues, using, reason, has_progressed=has_progressed)


def end_forgotten(worker_id: str, keys: Collection[Key], *, using: str) -> list[Rescued]:
    """End the runs that are RUNNING by a worker that does not know them, where they must not begin twice.

    Args:
        worker_id: Of the worker.
        keys: Of the runs.
        using: Alias of the database.

    Returns:
        What became of those with `at_most_once`; others are left alone.
    """
    with write_transaction(using):
        held = Run.objects.using(using).running().filter(worker_id=worker_id, pk__in=[key[0] for key in keys])
        rows = [
            row
            for row in held.select_for_update()
            if (row.pk, row.attempt, row.fence or 0) in keys and (row.options or {}).get("at_most_once")
        ]
        now = database_now(using) if rows else None
        return [_rescue(row, now, 0, using, FORGOTTEN) for row in rows if now is not None]


def _rescue(
    run: Run,
    now: datetime,
    max_rescues: int,
    using: str,
    reason: str = "its worker died",
    *,
    has_progressed: bool = False,
) -> Rescued:
    # One that came further goes on there: that counts towards no limit, neither of rescues nor of attempts, and
    # those before it are forgotten.
    rescues = 0 if has_progressed else run.rescues + 1
    status = Status.READY
    if run.cancel_requested:
        status, reason = Status.CANCELLED, f"cancelled; {reason} before it could stop"
    elif (run.options or {}).get("at_most_once"):
        status, reason = Status.FAILED, f"{reason}, and at_most_once forbids another attempt"
    elif rescues > max_rescues:
        more = "" if reason == "its worker died" else f": {reason}"
        status, reason = Status.FAILED, f"its worker died {rescues} times{more}"
    outcome = Outcome(status, run.started_at or now, now, error=f"WorkerDied: {reason}")
    is_over = status != Status.READY
    run.errors = with_error(run.errors or [], error_entry(run.attempt, run.worker_id, outcome))
    if has_progressed and status == Status.READY:
        run.attempt = max(0, run.attempt - 1 - run.rescues)
    run.status, run.error, run.rescues = status, outcome.error, rescues
    run.error_key = outcome.error_key(run.func)
    run.finished_at = now if is_over else None
    if not is_over:
        is_paused = run.held_run_after is not None
        run.run_after, run.held_run_after = (None, now) if is_paused else (now, None)
    if is_over and run.scheduled_at is None and not (run.unique_key or "").startswith(WINDOW):
        run.unique_key = None
    key = None if is_over else waiting_again(run.unique_key)
    fields = [
        "errors", "status", "error", "attempt", "rescues", "finished_at", "run_after", "held_run_after",
        "unique_key", "error_key",
    ]  # fmt: skip
    try:
        with transaction.atomic(using=using) if key else nullcontext():
            run.unique_key = key or run.unique_key
            run.save(using=using, update_fields=fields)
    except IntegrityError:
        status, reason = Status.CANCELLED, f"{reason}; {SUPERSEDED}"
        run.status, run.error, run.finished_at, run.unique_key = status, f"WorkerDied: {reason}", now, None
        run.error_key = None
        run.save(using=using, update_fields=fields)
    if endings.concerns(run.options, str(status)):
        endings.ended([endings.Ended(run.pk, str(status), run.options or {}, run.error)], using=using)
    return Rescued(run.pk, run.job_id, run.worker_id, str(status), reason, run.func, run.queue_name)


def report_rescues(rescued: Sequence[Rescued], *, using: str) -> None:
    """Report what became of runs whose worker died."""
    for one in rescued:
        signals.emit(
            signals.run_rescued,
            job_id=one.job_id,
            run_id=one.run_id,
            worker_id=one.worker_id,
            status=one.status,
            reason=one.reason,
        )
    if rescued:
        notifications.notify(notifications.RUNS, using=using)
    ended = [(one.func, one.queue_name, one.status) for one in rescued if one.status != Status.READY]
    if ended:
        statistics.note_ended(ended, using=using)
