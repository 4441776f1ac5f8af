"""Queues by name: which are paused, which are served, and why what is due in one does not begin."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.utils import timezone

from django_jobs.conf import queues_of
from django_jobs.models import Queue, Run, Worker
from django_jobs.storage import notifications
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.transactions import database_now
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django.db.models import QuerySet


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a queue is not served, and until when.

    Attributes:
        since: When it was paused.
        until: When it is served again, by the database's clock; None for until somebody resumes it.
        by: Who paused it; empty where nobody said.
        reason: Why; empty where nobody said.
    """

    since: datetime
    until: datetime | None = None
    by: str = ""
    reason: str = ""


def pause(name: str, *, until: datetime | None = None, by: str = "", reason: str = "", using: str) -> bool:
    """Keep workers from claiming from a queue, and tell them; return whether it was not paused before.

    One that is paused already is paused as said now. At `until` claims find its runs again: nothing is
    written then.
    """
    was_paused = name in paused_queues(using=using)
    changes = {"paused_until": until, "paused_by": by[:255], "paused_reason": reason[:500]}
    if not was_paused:
        changes["paused_at"] = timezone.now()
    Queue.objects.using(using).update_or_create(name=name, defaults=changes)
    logger.info(
        "queue=%s paused until=%s by=%s: %s",
        printable(name), printable(until and until.isoformat()), printable(by or "?"), printable(reason or "no reason given"),
    )  # fmt: skip
    notifications.notify(notifications.QUEUES, using=using)
    return not was_paused


def resume(name: str, *, using: str) -> bool:
    """Let workers claim from a queue again, and tell them; return whether it was paused."""
    was_paused = name in paused_queues(using=using)
    rows = Queue.objects.using(using).filter(name=name, paused_at__isnull=False)
    rows.update(paused_at=None, paused_until=None, paused_by=None, paused_reason=None)
    if was_paused:
        logger.info("queue=%s resumed", printable(name))
        if name in queues_of("celery"):
            # Messages may have been refused or lost meanwhile, and long ago.
            told = Run.objects.using(using).ready().filter(queue_name=name, dispatched_at__isnull=False)
            told.update(**NOT_DISPATCHED)
    notifications.notify(notifications.QUEUES, using=using)
    return was_paused


def paused(using: str) -> QuerySet[Queue, str]:
    """Return the names of the paused queues, for a subquery."""
    now = RawSQL(backend_of(connections[using]).now, [])  # noqa: S611 - a text of ours
    is_under_way = Q(paused_until__isnull=True) | Q(paused_until__gt=now)
    rows = Queue.objects.using(using).filter(is_under_way, paused_at__isnull=False)
    return rows.values_list("name", flat=True)


def paused_queues(*, using: str) -> list[str]:
    """Return the names of the queues that are paused now."""
    return list(paused(using))


def pauses(*, using: str) -> dict[str, Pause]:
    """Return the pauses that are under way, by the names of their queues."""
    rows = Queue.objects.using(using).filter(name__in=paused(using))
    columns = ("name", "paused_at", "paused_until", "paused_by", "paused_reason")
    return {
        name: Pause(since, until, by or "", reason or "")
        for name, since, until, by, reason in rows.values_list(*columns)
    }


def is_served(name: str, queues: Iterable[Sequence[str]]) -> bool:
    """Return whether one of some workers, told by the queues that each serves, serves a queue."""
    celery = set(queues_of("celery"))
    if name in celery:
        # Workers of ours dispatch what waits there; those of Celery's processes have its queues alone.
        return any(name in served and celery.issuperset(served) for served in queues)
    return any(not served or name in served for served in queues)


def obstacle(queue_name: str, func: str = "", *, using: str) -> str:
    """Return why what is due in a queue does not begin; see `obstacles`."""
    return obstacles([(queue_name, func)], using=using)[queue_name, func]


def obstacles(calls: Iterable[tuple[str, str]], *, using: str) -> dict[tuple[str, str], str]:
    """Return why what is due does not begin, with two or three queries; with none where nothing is asked.

    Args:
        calls: Names of queues, each with the function of a run that is asked about; empty for none.
        using: Alias of the database.

    Returns:
        For each call "paused", "unserved" (no live worker serves its queue), "unknown" (none that does knows the
        function), or "busy": its turn comes.
    """
    wanted = set(calls)
    if not wanted:
        return {}
    paused = set(paused_queues(using=using))
    found = {call: "paused" for call in wanted if call[0] in paused}
    if len(found) < len(wanted):
        now = database_now(using)
        live = Worker.objects.using(using).filter(stopped_at__isnull=True, lease_expires_at__gte=now)
        workers = [(worker.queue_names, worker.unknown) for worker in live.only("queues", "unknown")]
        found |= {call: _obstacle(*call, workers) for call in wanted - found.keys()}
    return found


def _obstacle(
    queue_name: str, func: str, workers: Iterable[tuple[Sequence[str], dict[str, Any] | None]]
) -> str:
    serving = [unknown or {} for queues, unknown in workers if is_served(queue_name, [queues])]
    if not serving:
        return "unserved"
    return "unknown" if func and all(func in unknown for unknown in serving) else "busy"
