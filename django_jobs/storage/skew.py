"""What live processes do not know of the code that runs need: while a deploy rolls out, the old ones lack the new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from django_jobs.models import Worker
from django_jobs.storage.queues import is_served
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Mapping

# That a worker's row keeps.
MOST_KEPT = 100


@dataclass(frozen=True, slots=True)
class Unknown:
    """How things stand with something that a process does not know."""

    # For how long processes have met it that do not know it either.
    for_seconds: float
    # Whether a live process that serves the queue has not said so.
    may_be_known: bool


def note(worker_id: str, queue_name: str, what: str, *, grace: timedelta, using: str) -> Unknown:
    """Note in a worker's row that its process does not know something, and return how things stand.

    Args:
        worker_id: Of the worker.
        queue_name: Of the run that needs it.
        what: As `Outcome.unknown`.
        grace: How long it is waited for. What was met the last time longer ago than twice that is met
            for the first time again.
        using: Alias of the database.
    """
    now = database_now(using)
    since = now
    oldest = now - 2 * grace - timedelta(minutes=1)
    is_live = Q(stopped_at__isnull=True, lease_expires_at__gte=now)
    rows = Worker.objects.using(using).filter(is_live | Q(unknown__isnull=False, stopped_at__gt=oldest))
    columns = ("pk", "queues", "unknown", "stopped_at", "lease_expires_at")
    may_be_known = False
    mine: dict[str, Any] = {}
    for pk, queues, unknown, stopped_at, lease_expires_at in rows.values_list(*columns):
        entry = _entry(unknown, what)
        if entry is not None and entry[1] > oldest:
            since = min(since, entry[0])
        if pk == worker_id:
            mine = dict(unknown or {})
        elif entry is None and stopped_at is None and lease_expires_at >= now:
            may_be_known = may_be_known or is_served(queue_name, [queues or ()])
    mine.pop(what, None)
    kept = [*mine.items(), (what, [since.isoformat(), now.isoformat()])][-MOST_KEPT:]
    Worker.objects.using(using).filter(pk=worker_id).update(unknown=dict(kept))
    return Unknown((now - since).total_seconds(), may_be_known)


def forget(worker_id: str, what: str, *, using: str) -> None:
    """Note that a worker's process knows something after all."""
    row = Worker.objects.using(using).filter(pk=worker_id)
    unknown = row.values_list("unknown", flat=True).first() or {}
    if what in unknown:
        row.update(unknown={name: at for name, at in unknown.items() if name != what} or None)


def _entry(unknown: Mapping[str, Any] | None, what: str) -> tuple[datetime, datetime] | None:
    """Return when a process met something for the first and the last time; None where it did not."""
    try:
        since, last = (unknown or {})[what]
        return datetime.fromisoformat(since), datetime.fromisoformat(last)
    except (KeyError, TypeError, ValueError):
        # Also what another version may have written.
        return None
