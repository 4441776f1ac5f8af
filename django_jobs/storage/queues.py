"""Queues by name: which are paused, which are served, and why what is due in one does not begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from django_jobs.conf import queues_of
from django_jobs.models import Queue, Run, Worker
from django_jobs.storage import notifications
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def set_paused(name: str, *, is_paused: bool, using: str) -> bool:
    """Note whether workers may claim from a queue, and tell them; return whether that changed."""
    if is_paused:
        row, _ = Queue.objects.using(using).get_or_create(name=name)
        has_changed = row.paused_at is None
        Queue.objects.using(using).filter(name=name, paused_at__isnull=True).update(paused_at=timezone.now())
    else:
        paused = Queue.objects.using(using).filter(name=name, paused_at__isnull=False)
        has_changed = bool(paused.update(paused_at=None))
        if has_changed and name in queues_of("celery"):
            # Messages may have been refused or lost meanwhile, and long ago.
            told = Run.objects.using(using).ready().filter(queue_name=name, dispatched_at__isnull=False)
            told.update(**NOT_DISPATCHED)
    notifications.notify(notifications.QUEUES, using=using)
    return has_changed


def paused_queues(*, using: str) -> list[str]:
    """Return the names of the queues that an operator stopped."""
    return list(Queue.objects.using(using).filter(paused_at__isnull=False).values_list("name", flat=True))


def is_served(name: str, queues: Iterable[Sequence[str]]) -> bool:
    """Return whether one of some workers, told by the queues that each serves, serves a queue."""
    celery = set(queues_of("celery"))
    if name in celery:
        # Workers of ours dispatch what waits there; those of Celery's processes have its queues alone.
        return any(name in served and celery.issuperset(served) for served in queues)
    return any(not served or name in served for served in queues)


def obstacle(queue_name: str, *, using: str) -> str:
    """Return why what is due in a queue does not begin, with two or three queries.

    Returns:
        "paused", "unserved" (no live worker serves it), or "busy": its turn comes.
    """
    if queue_name in paused_queues(using=using):
        return "paused"
    live = Worker.objects.using(using).filter(
        stopped_at__isnull=True, lease_expires_at__gte=database_now(using)
    )
    is_anybody_there = is_served(queue_name, live.values_list("queues", flat=True))
    return "busy" if is_anybody_there else "unserved"
