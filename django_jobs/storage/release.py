"""Return claimed runs to the queue when their worker cannot end them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Case, F, Q, When
from django.db.models.functions import Coalesce

from django_jobs.models import Run, Status
from django_jobs.storage import fences
from django_jobs.storage.records import error_entry, with_error
from django_jobs.storage.transitions import end_cancelled

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from django_jobs.storage.records import ClaimedRun, Key, Outcome

# Its job was paused while it ran.
PAUSE_ASKED = Q(held_run_after__isnull=False)
# Why a run ended that would have begun again.
ASKED = "cancelled while it ran, and not begun again"


def release_claims(worker_id: str, runs: Collection[Key], *, using: str) -> int:
    """Return claimed runs that were not begun, as if they had never been claimed.

    Args:
        worker_id: Who claimed them.
        runs: Key of each.
        using: Alias of the database.

    Returns:
        How many were still that worker's, in that attempt: those that were asked to stop are CANCELLED.
    """
    count = 0
    for attempt, fence in {(attempt, fence) for _, attempt, fence in runs}:
        ids = [pk for pk, *claim in runs if claim == [attempt, fence]]
        held = Run.objects.using(using).running().filter(id__in=ids, worker_id=worker_id, attempt=attempt)
        held = held.filter(fence=fence or None)
        count += _return(held, len(ids), attempt, using=using)
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
    return bool(_return(held, 1, run.attempt, errors=errors, using=using))


def _return(held: QuerySet[Run], most: int, attempt: int, *, using: str, **changes: Any) -> int:
    """Have up to `most` running runs wait as before this attempt, but for those that shall not go on."""
    count = held.filter(cancel_requested=False).update(
        status=Status.READY,
        attempt=attempt - 1,
        worker_id="",
        started_at=None,
        # In this order: MariaDB computes the second from what the first has set.
        held_run_after=Case(When(PAUSE_ASKED, then=Coalesce("run_after", "held_run_after"))),
        run_after=Case(When(PAUSE_ASKED, then=None), default=F("run_after")),
        **changes,
    )
    if count < most:
        # Whoever asks from now on finds them READY.
        count += end_cancelled(held.filter(cancel_requested=True), ASKED, using=using)
    return count
