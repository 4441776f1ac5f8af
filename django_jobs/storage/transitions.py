"""The durable queue, for people: cancel, hold, release and retry runs; pause and resume queues.

Only this module and `queue` write `Run.status`. As there, every change names the state it starts from.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Case, F, Q, TextField, Value, When
from django.utils import timezone

from django_jobs.models import PAUSED, Kind, Run, Status
from django_jobs.storage.queue import NOT_DISPATCHED, end_cancelled
from django_jobs.storage.records import immediate_key, renewed


def cancel(where: Q, reason: str = "", *, using: str) -> tuple[int, int]:
    """Cancel waiting runs, and ask running ones to stop.

    Returns:
        How many were cancelled, and how many were asked.
    """
    cancelled = cancel_waiting(where, reason, using=using)
    asked = Run.objects.using(using).running().filter(where).update(cancel_requested=True)
    return cancelled, asked


def cancel_waiting(where: Q, reason: str = "", *, using: str) -> int:
    """Cancel waiting runs and leave running ones alone; return how many."""
    return end_cancelled(Run.objects.using(using).ready().filter(where), reason, using=using)


def free_key(job_id: str, *, using: str) -> None:
    """Let go of the id that a running immediate job holds, so that another may take it."""
    Run.objects.using(using).filter(unique_key=immediate_key(job_id)).update(unique_key=None)


def hold(where: Q, *, using: str) -> int:
    """Keep waiting runs from being claimed until they are released; return how many.

    Runs that execute go on, and are held if they come back: to be tried again, or from a worker that
    stopped or died.
    """
    is_waiting = Q(status=Status.READY)
    # One statement, so that none slips through by being claimed, or coming back, between two. In this
    # order: MariaDB computes each value from what those before it have set.
    runs = Run.objects.using(using).unfinished().filter(where, ~is_waiting | Q(run_after__isnull=False))
    return runs.update(
        held_run_after=Case(When(is_waiting, then=F("run_after")), default=Value(timezone.now())),
        run_after=Case(When(is_waiting, then=None), default=F("run_after")),
    )


def unhold(where: Q, *, using: str) -> int:
    """Let held runs be claimed: paused ones when they were due, at the earliest now; return how many."""
    is_held = Q(status=Status.READY, run_after__isnull=True)
    now = timezone.now()
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
    now = timezone.now()
    return (
        Run.objects.using(using)
        .ready()
        .filter(where, run_after__gt=now)
        .update(run_after=now, **NOT_DISPATCHED)
    )


def retry(run_id: int, *, using: str) -> bool:
    """Make a run that ended without success READY again, now.

    Returns:
        Whether there was such a run.

    Raises:
        IntegrityError: An immediate job of its id is unfinished.
    """
    ended = Run.objects.using(using).filter(
        pk=run_id, status__in=[Status.FAILED, Status.CANCELLED, Status.SKIPPED]
    )
    job_id, options = ended.values_list("job_id", "options").first() or ("", None)
    key = Case(
        When(kind=Kind.IMMEDIATE, scheduled_at__isnull=True, then=Value(immediate_key(job_id))),
        default=F("unique_key"),
    )
    changes: dict[str, Any] = {"options": renewed(options)} if options and "expires_at" in options else {}
    return bool(
        ended.update(
            status=Status.READY,
            run_after=timezone.now(),
            held_run_after=None,
            finished_at=None,
            cancel_requested=False,
            rescues=0,
            # Its id is in use again, as when it was added.
            unique_key=key,
            **NOT_DISPATCHED,
            **changes,
        )
    )
