"""PostgreSQL's LISTEN."""

from __future__ import annotations

from collections import deque

from django.db import connections

from django_jobs.storage.notifications.bus import CHANNEL
from django_jobs.storage.notifications.waiting import Waker, readable

# Of a connection that only listens, and would not notice for two hours that a router forgot it.
KEEPALIVES = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}


class PostgreSQLListener:
    """A connection of its own that listens."""

    hears_commits = False

    def __init__(self, using: str) -> None:
        # A copy, because the thread's own connection may be pooled and in transactions.
        self._connection = connections[using].copy()
        options = self._connection.settings_dict["OPTIONS"]
        self._connection.settings_dict = {
            **self._connection.settings_dict,
            "OPTIONS": KEEPALIVES | {name: value for name, value in options.items() if name != "pool"},
        }
        self._connection.ensure_connection()
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._waker = Waker()
        self._heard: deque[str] = deque()

    def wait(self, timeout: float) -> str | None:
        """See `Listener`."""
        raw = self._connection.connection
        if not self._heard:
            found = readable([raw.fileno(), self._waker], timeout)
            if self._waker in found:
                self._waker.clear()
            if raw.fileno() in found:
                # One of each is enough: a notice says where to look, not what is there.
                self._heard.extend({notice.payload for notice in raw.notifies(timeout=0)})
        return self._heard.popleft() if self._heard else None

    def interrupt(self) -> None:
        """See `Listener`."""
        self._waker.wake()

    def close(self) -> None:
        """See `Listener`."""
        self._connection.close()
        self._waker.close()
