"""Notify processes that there is work, and listen.

Within a process: a call. Between processes: `LISTEN/NOTIFY` on PostgreSQL, the file's change
counter on SQLite, and a poll elsewhere. A notice may be lost, or come without reason: a process that
hears one looks for work, and every process looks each POLL_SECONDS.
"""

from __future__ import annotations

from django_jobs.storage.notifications.bus import (
    ANYTHING,
    CANCELS,
    FINISHED,
    JOBS,
    QUEUES,
    RUNS,
    notify,
    notify_local,
    subscribe,
    unsubscribe,
)

__all__ = [
    "ANYTHING",
    "CANCELS",
    "FINISHED",
    "JOBS",
    "QUEUES",
    "RUNS",
    "notify",
    "notify_local",
    "subscribe",
    "unsubscribe",
]
