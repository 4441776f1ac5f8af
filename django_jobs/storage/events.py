"""Events: sent in the sender's transaction to the runs that wait for them, and kept where none does yet.

A run writes down that it waits, commits, and looks for a kept event after that. A sender ends the waits that it
sees, or keeps its event, commits, and looks for waits once more after that. So of two that do this at the same
time one at least sees the other. Where a sender dies in between, pruning looks.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Case, Value, When

from django_jobs import codec
from django_jobs.models import Event, Run, Step
from django_jobs.storage import notifications, steps
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.transactions import database_now, skips_locked, write_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_jobs.storage.records import ClaimedRun

# What a wait has as its error that no event ended.
TIMED_OUT = "TimeoutError"
# Of those that are looked through at a time.
BATCH = 300


def send(name: str, payload: str, *, using: str) -> int:
    """Send an event in the caller's transaction; return how many runs waited for it.

    Args:
        name: At most `MAX_STEP_NAME_LENGTH` characters.
        payload: As JSON.
        using: Alias of the database.
    """
    with write_transaction(using):
        reached = _deliver(name, payload, using)
        if reached:
            return reached
        event = Event(name=name, payload=payload, sent_at=database_now(using))
        event.signature = sign(event)
        event.save(using=using)
        # A run that has just begun to wait saw no event, and was not seen.
        transaction.on_commit(lambda: deliver_kept([name], using=using), using=using, robust=True)
    return 0


def _deliver(name: str, payload: str, using: str) -> int:
    """End the waits for an event, and let their runs begin again."""
    waiting = Step.objects.using(using).filter(event=name).select_for_update().order_by("pk")
    # Some collations take other names for the same.
    found = [step for step in waiting if step.event == name]
    if not found:
        return 0
    now = database_now(using)
    for step in found:
        step.value, step.finished_at, step.event = payload, now, None
        step.signature = steps.sign(step)
    Step.objects.using(using).bulk_update(
        found, ["value", "signature", "finished_at", "event"], batch_size=BATCH
    )
    _begin_again([step.run_id for step in found], now, using)
    return len(found)


def _begin_again(run_ids: Sequence[int], now: datetime, using: str) -> None:
    # One that has not left its thread yet sees the event when it does.
    Run.objects.using(using).ready().filter(pk__in=run_ids).update(
        # In this order: MariaDB computes each value from what those before it have set.
        run_after=Case(When(held_run_after__isnull=True, then=Value(now))),
        held_run_after=Case(When(held_run_after__isnull=False, then=Value(now))),
        waits_for=None,
        **NOT_DISPATCHED,
    )
    transaction.on_commit(lambda: notifications.notify(notifications.RUNS, using=using), using=using)


def receive(run: ClaimedRun, step_id: int, *, using: str) -> Step:
    """Give a wait the oldest event that was kept for it, or end it where its time is over.

    Args:
        run: That waits.
        step_id: Of its wait, which was committed before.
        using: Alias of the database.

    Returns:
        The wait as it is now; without `finished_at` it goes on.

    Raises:
        RunLost: The run is another worker's by now; the event is left.
        BadPayload: The event's row was changed outside django_jobs.
    """
    with write_transaction(using):
        step = Step.objects.using(using).select_for_update().get(pk=step_id)
        if step.finished_at is not None:
            return step
        now = database_now(using)
        kept = Event.objects.using(using).filter(name=step.event).order_by("pk")
        kept = kept.select_for_update(skip_locked=skips_locked(using))
        event = next((one for one in kept if one.name == step.event), None)
        if event is not None:
            _verify(event)
            event.delete(using=using)
            step.value, step.event, step.finished_at = event.payload, None, now
        elif step.until is not None and step.until <= now:
            step.error, step.event, step.finished_at = TIMED_OUT, None, now
        else:
            return step
        steps.write(run, step, using=using)
    return step


def deliver_kept(names: Sequence[str] = (), *, using: str) -> None:
    """Give kept events to runs that wait for them.

    Args:
        names: Of the events; empty means all that a run waits for.
        using: Alias of the database.
    """
    waiting = Step.objects.using(using).filter(event__isnull=False)
    kept = Event.objects.using(using).filter(name__in=names or waiting.values("event"))
    for pk in list(kept.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        with write_transaction(using):
            event = kept.filter(pk=pk).select_for_update(skip_locked=skips_locked(using)).first()
            if event is None:
                continue
            _verify(event)
            if _deliver(event.name, event.payload, using):
                event.delete(using=using)


def prune(keep_days: float, *, using: str) -> int:
    """Deliver what was missed, and delete events that were kept for long; return how many were deleted."""
    if not Event.objects.using(using).exists():
        return 0
    deliver_kept(using=using)
    old = Event.objects.using(using).filter(sent_at__lt=database_now(using) - timedelta(days=keep_days))
    deleted, _ = old.delete()
    return deleted


def sign(event: Event) -> str:
    """Return the signature of an event with what was sent; of another event it is none."""
    return codec.sign(*signed(event))


def _verify(event: Event) -> None:
    codec.verify(*signed(event), event.signature, name=f"event {event.name!r}")


def signed(event: Event) -> tuple[str, str]:
    """Return what the signature of an event is of: what it is, and what was sent."""
    # No function has such a path.
    return json.dumps(["event", event.name]), event.payload
