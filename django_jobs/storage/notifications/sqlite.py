"""SQLite's change counter."""

from __future__ import annotations

import time
from typing import Any

from django.db import connections

from django_jobs.storage.notifications.bus import ANYTHING
from django_jobs.storage.notifications.inotify import file_writes
from django_jobs.storage.notifications.waiting import Waker, readable


class OtherWriters:
    """Tells whether anybody but the owner of a connection has written to its file.

    Args:
        using: Alias of the database; the connection is that of the thread that asks.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._raw: Any = None
        self._version = -1

    def have_written(self) -> bool:
        """Return whether anybody else has since this was last asked; yes where that is not known."""
        connection = connections[self._using]
        connection.ensure_connection()
        raw: Any = connection.connection
        version = _data_version(raw)
        # Another connection counts from its own beginning.
        is_known = raw is self._raw and version == self._version
        self._raw, self._version = raw, version
        return not is_known


def _data_version(raw: Any) -> int:
    (version,) = raw.execute("PRAGMA data_version").fetchone()
    return int(version)


class SQLiteListener:
    """Reads the file's change counter, which another connection's commit moves.

    Where the system reports writes to the file (Linux), when it does; elsewhere at short intervals.
    """

    hears_commits = True
    # Between two notices, and between two looks where the system reports nothing.
    INTERVAL = 0.01
    # A writer writes to the file before its commit can be seen: when to look after the system's report.
    LOOKS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)

    def __init__(self, using: str) -> None:
        connection = connections[using]
        connection.ensure_connection()
        self._raw: Any = connection.connection
        self._waker = Waker()
        self._writes = file_writes(self._path())
        self._looks: list[float] = []
        self._notified_at = 0.0
        self._version = _data_version(self._raw)

    def _path(self) -> str:
        files = self._raw.execute("PRAGMA database_list").fetchall()
        return next((path for _, name, path in files if name == "main"), "")

    def wait(self, timeout: float) -> str | None:
        """See `Listener`."""
        self._rest(timeout)
        now = time.monotonic()
        if now < self._notified_at + self.INTERVAL:
            return None
        version = _data_version(self._raw)
        if version == self._version:
            return None
        self._version, self._notified_at = version, now
        return ANYTHING

    def _rest(self, timeout: float) -> None:
        pause = self._notified_at + self.INTERVAL - time.monotonic()
        if pause > 0:
            # What is written meanwhile is seen after it, all together.
            self._select([self._waker], min(timeout, pause))
        elif self._writes is None:
            self._select([self._waker], min(timeout, self.INTERVAL))
        else:
            look = self._looks.pop() if self._looks else timeout
            if self._select([self._waker, self._writes], min(timeout, look)) and self._writes.happened():
                self._looks = list(reversed(self.LOOKS))

    def _select(self, sources: list[Any], timeout: float) -> bool:
        found = readable(sources, timeout)
        if self._waker in found:
            self._waker.clear()
        return self._writes in found

    def interrupt(self) -> None:
        """See `Listener`."""
        self._waker.wake()

    def close(self) -> None:
        """See `Listener`."""
        self._raw = None
        self._waker.close()
        if self._writes is not None:
            self._writes.close()
