"""Return claimed runs to the queue when their worker cannot end them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from django_jobs.models import Run, Status
from django_jobs.storage import endings, fences, notifications
from django_jobs.storage.records import error_entry, with_error
from django_jobs.storage.transactions import database_now, write_transaction
from django_jobs.storage.transitions import end_cancelled
from django_jobs.storage.unique_keys import BEGAN, SUPERSEDED, waiting_again

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from django_jobs.storage.records import ClaimedRun, Key, Outcome

# It takes its key again when it waits again.
BEGAN_UNDER_KEY = Q(unique_key__startswith=BEGAN)
# Its job was paused while it ran.
PAUSE_ASKED = Q(held_run_after__isnull=False)
# Why a run ended that would have begun again.
ASKED = "cancelled while it ran, and not begun again"


def release_claims(
    worker_id: str,
    runs: Collection[Key],
    *,
    waits_for: str | None = None,
    are_marked: bool = True,
    using: str,
) -> int:
    """Return claimed runs that were not begun, as if they had never been claimed.

    Args:
        worker_id: Who claimed them.
        runs: Key of each.
        waits_for: What they wait for before they may be claimed again, of `Wait`; None for nothing.
        are_marked: Whether any of them may carry a mark of `endings`; False saves a question.
        using: Alias of the database.

    Returns:
        How many were still that worker's, in that attempt: those that were asked to stop are CANCELLED.
    """
    count = 0
    for attempt, fence in {(attempt, fence) for _, attempt, fence in runs}:
        ids = [pk for pk, *claim in runs if claim == [attempt, fence]]
        held = Run.objects.using(using).running().filter(id__in=ids, worker_id=worker_id, attempt=attempt)
        held = held.filter(fence=fence or None)
        count += _return(
            held, len(ids), attempt, waits_for=waits_for, unstarted=attempt, is_marked=are_marked, using=using
        )
    return count


def release_interrupted(run: ClaimedRun, outcome: Outcome, *, using: str) -> bool:
    """Return a run to the queue whose function has been called, without counting the attempt.

    Args:
        run: As claimed.
        outcome: How far it came; its error is kept with those of attempts.
        using: Alias of the database.

    Returns:
        Whether it was still that worker's, in that attempt: if it was asked to stop, it is CANCELLED.
    """
    held = fences.of_claim(run, using=using)
    errors = with_error(run.errors, error_entry(run.attempt, run.worker_id, outcome))
    is_marked = endings.concerns(run.options)
    return bool(_return(held, 1, run.attempt, is_marked=is_marked, errors=errors, using=using))


def release_unknown(run: ClaimedRun, reason: str, *, delay: float, using: str) -> bool:
    """Return a run to the queue that its worker's process cannot call, as if it had never been claimed.

    Args:
        run: As claimed.
        reason: What it waits for, kept as its error until it is called.
        delay: Seconds until it is due again, by the database's clock; 0 leaves its time as it was.
        using: Alias of the database.

    Returns:
        Whether it was still that worker's, in that attempt: if it was asked to stop, it is CANCELLED.
    """
    held = fences.of_claim(run, using=using)
    due = Value(database_now(using) + timedelta(seconds=delay)) if delay else None
    is_marked = endings.concerns(run.options)
    is_returned = bool(_return(held, 1, run.attempt, is_marked=is_marked, due=due, error=reason, using=using))
    if is_returned and not delay:
        notifications.notify(notifications.RUNS, using=using)
    return is_returned


def _return(
    held: QuerySet[Run],
    most: int,
    attempt: int,
    *,
    using: str,
    is_marked: bool,
    due: Any = None,
    waits_for: str | None = None,
    unstarted: int = 0,
    **changes: Any,
) -> int:
    """Have up to `most` running runs wait as before this attempt, but for those that shall not go on."""
    superseded: list[int] = []
    if waits_for is not None:
        changes["waits_for"] = waits_for
    with write_transaction(using):
        marked = _marked(held, unstarted) if is_marked else []
        count = _wait_again(held.exclude(BEGAN_UNDER_KEY), attempt, due, **changes)
        if count < most:
            again, superseded = _wait_under_keys(held, attempt, due, using=using, **changes)
            count += again
        if marked:
            endings.ended([run for run in marked if run.run_id not in superseded], using=using)
    if superseded:
        count += end_cancelled(held.filter(pk__in=superseded), SUPERSEDED, using=using)
    if count < most:
        # Whoever asks from now on finds them READY.
        count += end_cancelled(held.filter(cancel_requested=True), ASKED, using=using)
    return count


def _wait_under_keys(
    held: QuerySet[Run], attempt: int, due: Any, *, using: str, **changes: Any
) -> tuple[int, list[int]]:
    """Have runs wait again that take their keys again then; return how many, and which newer runs forbid it."""
    count, superseded = 0, []
    for pk, key in held.filter(BEGAN_UNDER_KEY, cancel_requested=False).values_list("pk", "unique_key"):
        try:
            with transaction.atomic(using=using):
                one, key = held.filter(pk=pk), waiting_again(key)
                count += _wait_again(one, attempt, due, unique_key=key, **changes)
        except IntegrityError:
            superseded.append(pk)
    return count, superseded


def _marked(held: QuerySet[Run], unstarted: int) -> list[endings.Ended]:
    """Lock the runs that are to wait again, and return those that carry a mark."""
    rows = held.filter(cancel_requested=False, options__isnull=False).select_for_update()
    return [
        endings.Ended(pk, Status.READY.value, options or {}, unstarted=unstarted)
        for pk, options in rows.values_list("pk", "options")
        if endings.concerns(options)
    ]


def _wait_again(held: QuerySet[Run], attempt: int, due: Any, **changes: Any) -> int:
    return held.filter(cancel_requested=False).update(
        status=Status.READY,
        attempt=attempt - 1,
        worker_id="",
        started_at=None,
        # In this order: MariaDB computes the second from what the first has set.
        held_run_after=Case(When(PAUSE_ASKED, then=Coalesce("run_after", "held_run_after"))),
        run_after=None
        if "waits_for" in changes
        else Case(When(PAUSE_ASKED, then=None), default=F("run_after") if due is None else due),
        **changes,
    )
