"""Which due runs are dispatched to the workers of another system, marked in `Run.dispatched_at`.

The mark is written before the message is sent. A message that is lost in between, or later, is sent
again at `Run.redispatch_at`. A lost message cannot be told from one that waits behind a long backlog:
so each message about the same attempt is given twice as long as the one before, or they would pile up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Case, Q, Value, When

from django_jobs.models import Run
from django_jobs.storage.transactions import database_now, skips_locked, write_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from django_jobs.models import RunQuerySet

# Messages of one queue that wait for a worker: what else is due waits in the database, where its
# priority counts and it can be paused and cancelled without a trace.
MOST_UNDER_WAY = 2000
BATCH = 300
# Of a run without a message under way.
NOT_DISPATCHED = {"dispatched_at": None, "redispatch_at": None}
# Before a message is sent again, at most.
LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A message to send: that a run is due, in which attempt."""

    run_id: int
    attempt: int
    priority: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look found."""

    dispatches: list[Dispatch]
    # Whether more is due than may be under way.
    is_full: bool


def take(queue_name: str, *, lost_after: timedelta, using: str) -> Taken:
    """Mark due runs of a queue as dispatched, up to a few hundred; other processes then skip them.

    Args:
        queue_name: Of a queue that is not paused.
        lost_after: Time after which the first message about an attempt counts as lost. Each further
            one is given twice as long as the one before, at most a day, or `lost_after` if that is more.
        using: Alias of the database.

    Returns:
        Messages about those that were marked, by priority (high first), then `run_after`, then id.
    """
    now = database_now(using)
    due, undispatched = _due([queue_name], now, using), _not_dispatched(now, lost_after)
    # First without a lock: on SQLite there is but one.
    if not due.filter(undispatched).exists():
        return Taken([], is_full=False)
    room = MOST_UNDER_WAY - due.exclude(undispatched).filter(dispatched_at__isnull=False).count()
    if room < 1:
        return Taken([], is_full=True)
    with write_transaction(using):
        found = due.filter(undispatched).order_by("-priority", "run_after", "id")
        found = found.select_for_update(skip_locked=skips_locked(using))[: min(room, BATCH)]
        rows = list(found.values_list("pk", "attempt", "priority", "dispatched_at", "redispatch_at"))
        again: dict[timedelta, list[int]] = {}
        for pk, _, _, dispatched_at, redispatch_at in rows:
            if dispatched_at is not None:
                again.setdefault(_next_wait(dispatched_at, redispatch_at, lost_after), []).append(pk)
        Run.objects.using(using).filter(pk__in=[row[0] for row in rows]).update(
            dispatched_at=now,
            redispatch_at=Case(
                *(When(pk__in=pks, then=Value(now + wait)) for wait, pks in again.items()),
                default=Value(now + lost_after),
            ),
        )
    return Taken([Dispatch(pk, attempt + 1, priority) for pk, attempt, priority, *_ in rows], is_full=False)


def forget(run_ids: Collection[int], *, using: str) -> None:
    """Take back the marks of runs whose messages were not sent after all."""
    Run.objects.using(using).ready().filter(pk__in=run_ids).update(**NOT_DISPATCHED)


def is_any_due(queues: Sequence[str], *, lost_after: timedelta, using: str) -> bool:
    """Return whether a run of these queues is due that is not dispatched."""
    now = database_now(using)
    return _due(queues, now, using).filter(_not_dispatched(now, lost_after)).exists()


def _due(queues: Sequence[str], now: datetime, using: str) -> RunQuerySet:
    return Run.objects.using(using).ready().filter(queue_name__in=queues, run_after__lte=now)


def _not_dispatched(now: datetime, lost_after: timedelta) -> Q:
    # Both: the version before sets `dispatched_at` alone, beside what is there.
    is_lost = Q(dispatched_at__lt=now - lost_after) & (
        Q(redispatch_at__isnull=True) | Q(redispatch_at__lt=now)
    )
    return Q(dispatched_at__isnull=True) | is_lost


def _next_wait(dispatched_at: datetime, redispatch_at: datetime | None, lost_after: timedelta) -> timedelta:
    # By the version before: it waits for `lost_after` each time.
    last = lost_after if redispatch_at is None else redispatch_at - dispatched_at
    return max(lost_after, min(2 * last, LONGEST_WAIT))
