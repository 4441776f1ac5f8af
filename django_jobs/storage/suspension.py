"""Let a run leave its thread until a time, or until an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Case, Value, When

from django_jobs.models import Run, Status, Step, Wait
from django_jobs.storage import endings, fences, notifications
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.release import ASKED, PAUSE_ASKED
from django_jobs.storage.transactions import database_now, write_transaction
from django_jobs.storage.transitions import end_cancelled

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from django_jobs.storage.records import ClaimedRun, Outcome


def suspend(run: ClaimedRun, outcome: Outcome, *, using: str) -> bool:
    """Have a run wait as its outcome says, as if it had not been claimed: no attempt, no rescue, no hand-back.

    It holds no lease meanwhile, and begins again at the top.

    Args:
        run: As claimed.
        outcome: With what it waits for in `waits`.
        using: Alias of the database.

    Returns:
        Whether it was still that worker's, in that attempt: if it was asked to stop, it is CANCELLED.
    """
    assert outcome.waits is not None  # noqa: S101 - for nothing else
    with write_transaction(using):
        # First, as whoever sends an event does: an event that comes meanwhile is waited for here.
        step = Step.objects.using(using).select_for_update().filter(pk=outcome.waits).first()
        now = database_now(using)
        is_over = (
            step is None or step.finished_at is not None or (step.until is not None and step.until <= now)
        )
        due = now if is_over or step is None else step.until
        held = fences.of_claim(run, using=using)
        options = held.filter(cancel_requested=False).select_for_update().values_list("options").first()
        if options is not None:
            _leave(held, run, outcome, due, now)
            if endings.concerns(run.options):
                endings.ended([endings.Ended(run.id, Status.READY.value, run.options)], using=using)
            if is_over:
                transaction.on_commit(
                    lambda: notifications.notify(notifications.RUNS, using=using), using=using
                )
            return True
    # Whoever asks from now on finds it READY.
    return bool(end_cancelled(held.filter(cancel_requested=True), ASKED, using=using))


def _leave(
    held: QuerySet[Run], run: ClaimedRun, outcome: Outcome, due: datetime | None, now: datetime
) -> None:
    changes: dict[str, Any] = {} if outcome.progress is None else {"progress": outcome.progress}
    held.update(
        status=Status.READY,
        attempt=run.attempt - 1,
        worker_id="",
        started_at=None,
        waits_for=Wait.EVENT if due is None else None,
        log=outcome.log,
        # In this order: MariaDB computes the second from what the first has set.
        held_run_after=Case(When(PAUSE_ASKED, then=Value(due or now))),
        run_after=None if due is None else Case(When(PAUSE_ASKED, then=None), default=Value(due)),
        **NOT_DISPATCHED,
        **changes,
    )
