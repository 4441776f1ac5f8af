"""Give ready runs to workers, and answer what a worker asks of its claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import F
from django.db.models.expressions import RawSQL

from django_jobs.models import Run, Status
from django_jobs.storage import fairness, fences, notifications, outbox
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.backends.claiming import Scope, claimed_run
from django_jobs.storage.limits import gate
from django_jobs.storage.queues import paused
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.claiming import Start
    from django_jobs.storage.claim_start import ClaimStart
    from django_jobs.storage.records import ClaimedRun, Key


def claim(
    worker_id: str,
    *,
    limit: int,
    queues: Sequence[str] = (),
    others: Sequence[str] = (),
    unknown: Sequence[str] = (),
    fence: int | None = None,
    start: ClaimStart | None = None,
    using: str,
) -> list[ClaimedRun]:
    """Claim up to `limit` ready runs for one worker.

    Args:
        worker_id: At most 64 characters, of a live `Worker` row; one that was declared dead gets nothing.
        limit: At least 1; a worker passes its number of idle slots.
        queues: Names to claim from; empty means every queue. Nothing is claimed from a paused one.
        others: Names not to claim from.
        unknown: Functions whose runs are left to other processes.
        fence: A number of this claim, of `fences.new_fence`; None for one that the caller need not know.
        start: Of a caller that claims again and again in this scope.
        using: Alias of the database.

    Returns:
        Runs by priority (high first), then `run_after`, then id; each now RUNNING, attempt + 1. Those that
        their limits do not let begin are not among them, and wait again: fewer than `limit` does not mean
        that no more are due.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    scope = Scope(queues, others, unknown)
    runs = _claim(worker_id, fence or fences.new_fence(), scope, limit, start, using)
    # RETURNING keeps no order. Due times are not compared: ids grow with them but for retries.
    runs.sort(key=lambda run: (-run.priority, run.id))
    return runs


def _claim(
    worker_id: str, fence: int, scope: Scope, limit: int, start: ClaimStart | None, using: str
) -> list[ClaimedRun]:
    backend = backend_of(connections[using])

    def take(most: int, begin: Start | None) -> list[ClaimedRun]:
        return backend.claim(worker_id, fence, scope, most, begin)

    def walk(most: int) -> list[ClaimedRun]:
        return start.claim(take, most) if start and backend.can_start else take(most, None)

    def by_queue(most: int) -> tuple[list[ClaimedRun], bool] | None:
        return backend.claim_by_queue(worker_id, fence, scope, most)

    def leaves_any() -> bool:
        return bool(scope.queues or scope.others) or paused(using).exists()

    # Not as part of the claim, whose time counts.
    backend.connection.ensure_connection()
    while True:
        claimed = start.queues.claim(walk, by_queue, leaves_any, limit) if start else walk(limit)
        if not any("limit" in run.options or "fair_key" in run.options for run in claimed):
            return claimed
        admitted = gate.admitted(claimed, using=using)
        fairness.claimed(admitted, limit, using=using)
        if len(claimed) < limit or len(admitted) == limit:
            return admitted
        if admitted:
            # There may be more behind those that went into their lines.
            notifications.notify_local(notifications.RUNS)
            return admitted


def claim_one(run_id: int, worker_id: str, *, even_if_paused: bool = True, using: str) -> ClaimedRun | None:
    """Claim one waiting run, whether it waits for its time, its turn or a person.

    Args:
        run_id: Of the run.
        worker_id: As for `claim`; it is not checked whether that worker is alive.
        even_if_paused: Whether its queue may be paused.
        using: Alias of the database.

    Returns:
        The run, now RUNNING with attempt + 1; None when it is not waiting, or not for those, or when its limit
        lets no more begin: it waits in the line of its key then.
    """
    waiting = Run.objects.using(using).ready().filter(pk=run_id, waits_for__isnull=True)
    if not even_if_paused:
        waiting = waiting.exclude(queue_name__in=paused(using))
    is_ours = waiting.update(
        status=Status.RUNNING,
        attempt=F("attempt") + 1,
        worker_id=worker_id,
        fence=fences.new_fence(),
        started_at=database_now(using),
        cancel_requested=False,
        held_run_after=None,
        progress=None,
        unique_key=RawSQL(backend_of(connections[using]).begun_key, []),  # noqa: S611 - a text of ours
        **outbox.NOT_DISPATCHED,
    )
    return _read(run_id, using) if is_ours else None


def claim_dispatched(run_id: int, attempt: int, worker_id: str, *, using: str) -> ClaimedRun | None:
    """Claim the run that a message is about.

    Args:
        run_id: Of the run.
        attempt: Which one the message is for: a late or a second message is about one that is over.
        worker_id: As for `claim`.
        using: Alias of the database.

    Returns:
        The run, now RUNNING in that attempt; None when it is not due in it, its queue is paused, or its limit
        lets no more begin.
    """
    if backend_of(connections[using]).claim_dispatched(worker_id, fences.new_fence(), run_id, attempt):
        return _read(run_id, using)
    # If it still waits, no message is under way any more.
    waiting = Run.objects.using(using).ready().filter(pk=run_id, attempt=attempt - 1)
    waiting.update(**outbox.NOT_DISPATCHED)
    return None


def read(run_id: int, *, using: str) -> ClaimedRun:
    """Return a run as its last claim saw it, whatever became of it since."""
    return claimed_run(Run.objects.using(using).values_list(*CLAIMED_COLUMNS).get(pk=run_id))


def _read(run_id: int, using: str) -> ClaimedRun | None:
    """Return a run that was just claimed; None where its limit does not let it begin."""
    run = read(run_id, using=using)
    if "limit" in run.options and not gate.admitted([run], using=using):
        return None
    fairness.claimed([run], 1, using=using)
    return run


def seconds_until_ready(
    *, queues: Sequence[str] = (), others: Sequence[str] = (), within: float, using: str
) -> float | None:
    """Return how long until the next deferred run is due; None when none is in that time.

    Args:
        queues: As for `claim`.
        others: As for `claim`.
        within: Seconds; what is due later is not looked for.
        using: Alias of the database.
    """
    return backend_of(connections[using]).seconds_until_ready(Scope(queues, others), within)


def is_any_due(
    worker_id: str,
    *,
    queues: Sequence[str] = (),
    others: Sequence[str] = (),
    unknown: Sequence[str] = (),
    using: str,
) -> bool:
    """Return whether `claim` with these arguments would find a run, or one that somebody else locks."""
    return backend_of(connections[using]).is_any_ready(worker_id, Scope(queues, others, unknown))


def held(worker_id: str, *, using: str) -> set[Key]:
    """Return the keys of the runs that are RUNNING by a worker, as the database has it."""
    rows = Run.objects.using(using).running().filter(worker_id=worker_id)
    return {(pk, attempt, fence or 0) for pk, attempt, fence in rows.values_list("id", "attempt", "fence")}


def cancel_requests(worker_id: str, *, using: str) -> list[int]:
    """Return the ids of the runs of one worker that were asked to stop."""
    return list(
        Run.objects.using(using)
        .running()
        .filter(worker_id=worker_id, cancel_requested=True)
        .values_list("id", flat=True)
    )
