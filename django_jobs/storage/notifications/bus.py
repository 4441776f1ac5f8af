"""Subscribe to notices within a process, and send them to all processes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs.storage import forks
from django_jobs.texts.printable import printable

logger = logging.getLogger(__name__)

# Of PostgreSQL's NOTIFY.
CHANNEL = "django_jobs"

# What a notice is about; a SQLite file only says that something changed.
RUNS = "runs"
JOBS = "jobs"
CANCELS = "cancels"
QUEUES = "queues"
FINISHED = "finished"
ANYTHING = "anything"

Subscriber = Callable[[str], None]

_subscribers: set[Subscriber] = set()
_lock = threading.Lock()


def subscribe(subscriber: Subscriber) -> None:
    """Have a function called, on any thread, with the topic of each notice; it must not block."""
    with _lock:
        _subscribers.add(subscriber)


def unsubscribe(subscriber: Subscriber) -> None:
    """Undo `subscribe`."""
    with _lock:
        _subscribers.discard(subscriber)


@forks.on_fork_reset
def _drop_subscribers() -> None:
    """Drop what the threads of a forked child's parent subscribed."""
    global _lock
    _lock = threading.Lock()
    _subscribers.clear()


def notify_local(topic: str) -> None:
    """Notify this process's own threads, now."""
    with _lock:
        subscribers = tuple(_subscribers)
    for subscriber in subscribers:
        subscriber(topic)


def notify(topic: str, *, using: str) -> None:
    """Notify this and the other processes once the caller's transaction has committed."""
    transaction.on_commit(lambda: _notify(topic, using), using=using, robust=False)


def _notify(topic: str, using: str) -> None:
    notify_local(topic)
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, topic])
    except (DatabaseError, InterfaceError) as error:
        # The work is committed; others find it at their next poll.
        logger.warning("other processes were not notified of new work: %s", printable(error))
