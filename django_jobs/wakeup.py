"""Tell processes that there is work, and hear it.

Within a process: a call. Between processes: `LISTEN/NOTIFY` on PostgreSQL, `PRAGMA data_version`
on SQLite, and a poll elsewhere. A notice may be lost or come for nothing: who hears one looks,
and who hears none looks every POLL_SECONDS all the same.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs.connections import Outage, give_back

logger = logging.getLogger(__name__)

CHANNEL = "django_jobs"
# A connection that was cut without a word is noticed when it is next looked at.
LISTEN_SECONDS = 30.0

# What a notice is about; one process's SQLite file only says that something changed.
RUNS = "runs"
JOBS = "jobs"
CANCELS = "cancels"
QUEUES = "queues"
FINISHED = "finished"
ANYTHING = "anything"

Hearer = Callable[[str], None]

_hearers: set[Hearer] = set()
_lock = threading.Lock()


def subscribe(hearer: Hearer) -> None:
    """Have a function called, on any thread, with the topic of each notice; it must not block."""
    with _lock:
        _hearers.add(hearer)


def unsubscribe(hearer: Hearer) -> None:
    """Undo `subscribe`."""
    with _lock:
        _hearers.discard(hearer)


def _forget_parent() -> None:
    """Drop what the threads of a forked child's parent wanted to hear."""
    global _lock
    _lock = threading.Lock()
    _hearers.clear()


os.register_at_fork(after_in_child=_forget_parent)


def tell_here(topic: str) -> None:
    """Tell this process's own threads, now."""
    with _lock:
        hearers = tuple(_hearers)
    for hearer in hearers:
        hearer(topic)


def tell(topic: str, *, using: str) -> None:
    """Tell this and the other processes once the caller's transaction has committed."""
    transaction.on_commit(lambda: _tell(topic, using), using=using, robust=False)


def _tell(topic: str, using: str) -> None:
    tell_here(topic)
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, topic])
    except (DatabaseError, InterfaceError) as error:
        # The work is committed; others find it at their next poll.
        logger.warning("other processes were not told of new work: %s", error)


class Listener(Protocol):
    """Waits for word of other processes."""

    def wait(self, timeout: float) -> str | None:
        """Return the topic of a notice, or None after `timeout` seconds at the latest."""

    def interrupt(self) -> None:
        """End a `wait` under way; called by another thread."""

    def close(self) -> None:
        """Let go of what it listens with."""


class _PostgreSQLListener:
    """A connection of its own that listens."""

    def __init__(self, using: str) -> None:
        # A copy, because the thread's own connection may be pooled and in transactions.
        self._connection = connections[using].copy()
        self._connection.settings_dict = {
            **self._connection.settings_dict,
            "OPTIONS": {k: v for k, v in self._connection.settings_dict["OPTIONS"].items() if k != "pool"},
        }
        self._connection.ensure_connection()
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._interrupted, self._interrupt = socket.socketpair()
        self._heard: deque[str] = deque()

    def wait(self, timeout: float) -> str | None:
        raw = self._connection.connection
        if not self._heard:
            readable, _, _ = select.select([raw.fileno(), self._interrupted], [], [], timeout)
            if raw.fileno() in readable:
                # One of each is enough: a notice says where to look, not what is there.
                self._heard.extend({notice.payload for notice in raw.notifies(timeout=0)})
        return self._heard.popleft() if self._heard else None

    def interrupt(self) -> None:
        self._interrupt.send(b".")

    def close(self) -> None:
        self._connection.close()
        self._interrupted.close()
        self._interrupt.close()


class _SQLiteListener:
    """Reads the file's change counter, which another connection's commit moves."""

    INTERVAL = 0.01

    def __init__(self, using: str) -> None:
        connection = connections[using]
        connection.ensure_connection()
        self._raw: Any = connection.connection
        self._rest = threading.Event()
        self._version = self._read()

    def _read(self) -> int:
        (version,) = self._raw.execute("PRAGMA data_version").fetchone()
        return int(version)

    def wait(self, timeout: float) -> str | None:
        self._rest.wait(min(timeout, self.INTERVAL))
        version = self._read()
        if version == self._version:
            return None
        self._version = version
        return ANYTHING

    def interrupt(self) -> None:
        self._rest.set()

    def close(self) -> None:
        self._raw = None


class _PollListener:
    """Where a database sends no word, say at short intervals that there may be something."""

    INTERVAL = 0.25
    # A schedule can wait longer than a run: every so many times.
    JOBS_EVERY = 4

    def __init__(self, using: str) -> None:
        self._rest = threading.Event()
        self._count = 0

    def wait(self, timeout: float) -> str | None:
        if self._rest.wait(min(timeout, self.INTERVAL)):
            return None
        self._count += 1
        return RUNS if self._count % self.JOBS_EVERY else ANYTHING

    def interrupt(self) -> None:
        self._rest.set()

    def close(self) -> None:
        return


def _raw_connection(using: str) -> Any:
    connection = connections[using]
    connection.ensure_connection()
    return connection.connection


class Ears:
    """The thread of one process that hears the others and tells this one's.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._thread = threading.Thread(target=self._serve, name="django_jobs-ears", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and its connection with it."""
        with self._lock:
            self._stopping.set()
            if self._listener is not None:
                self._listener.interrupt()
        self._thread.join(5)

    def _serve(self) -> None:
        outage = Outage("listener", self._using)
        while not self._stopping.is_set():
            try:
                self._listen(outage)
            except Exception as error:  # noqa: BLE001 - drivers raise errors of their own from a cut connection
                self._stopping.wait(outage.failed(error))
        outage.close()
        give_back()

    def _listen(self, outage: Outage) -> None:
        vendor = connections[self._using].vendor
        kinds: dict[str, Callable[[str], Listener]] = {"sqlite": _SQLiteListener}
        # psycopg 2 has no call that waits for notices.
        if vendor == "postgresql" and "psycopg" in type(_raw_connection(self._using)).__module__.split("."):
            kinds["postgresql"] = _PostgreSQLListener
        listener = kinds.get(vendor, _PollListener)(self._using)
        with self._lock:
            self._listener = listener
        try:
            outage.worked()
            # Whatever was said while nobody listened.
            tell_here(ANYTHING)
            while not self._stopping.is_set():
                topic = listener.wait(LISTEN_SECONDS)
                if topic is not None:
                    tell_here(topic)
        finally:
            with self._lock:
                self._listener = None
                listener.close()
