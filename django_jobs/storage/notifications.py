"""Tell processes that there is work, and hear it.

Within a process: a call. Between processes: `LISTEN/NOTIFY` on PostgreSQL, the file's change
counter on SQLite, and a poll elsewhere. A notice may be lost or come for nothing: who hears one
looks, and who hears none looks every POLL_SECONDS all the same.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs.storage import forks, sql
from django_jobs.storage.components import Component
from django_jobs.storage.connections import Call
from django_jobs.storage.inotify import file_writes

T = TypeVar("T")

logger = logging.getLogger(__name__)

CHANNEL = "django_jobs"
# A connection that was cut without a word is noticed when it is next looked at.
LISTEN_SECONDS = 30.0

# Of a connection that only listens, and would not notice for two hours that a router forgot it.
KEEPALIVES = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}

# What a notice is about; one process's SQLite file only says that something changed.
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
    """Drop what the threads of a forked child's parent wanted to hear."""
    global _lock
    _lock = threading.Lock()
    _subscribers.clear()


def notify_local(topic: str) -> None:
    """Tell this process's own threads, now."""
    with _lock:
        subscribers = tuple(_subscribers)
    for subscriber in subscribers:
        subscriber(topic)


def notify(topic: str, *, using: str) -> None:
    """Tell this and the other processes once the caller's transaction has committed."""
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
        logger.warning("other processes were not told of new work: %s", error)


class Listener(Protocol):
    """Waits for word of other processes."""

    # Whether it hears every commit but those of its own connection.
    hears_commits: bool

    def wait(self, timeout: float) -> str | None:
        """Return the topic of a notice, or None after `timeout` seconds at the latest."""

    def interrupt(self) -> None:
        """End a `wait` under way; called by another thread."""

    def close(self) -> None:
        """Let go of what it listens with."""


# Not `select`, which cannot wait for descriptors of 1024 and above; Windows has no `poll`.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _readable(sources: Sequence[Any], timeout: float) -> list[Any]:
    """Return which of the sources can be read, after `timeout` seconds at the latest."""
    with _Selector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]


class _Bell:
    """Ends another thread's `_readable`."""

    def __init__(self) -> None:
        self._heard, self._rung = socket.socketpair()
        self._heard.setblocking(False)
        self._rung.setblocking(False)

    def fileno(self) -> int:
        return self._heard.fileno()

    def ring(self) -> None:
        # Full means that it was rung often enough.
        with suppress(BlockingIOError):
            self._rung.send(b".")

    def hush(self) -> None:
        with suppress(BlockingIOError):
            self._heard.recv(4096)

    def close(self) -> None:
        self._heard.close()
        self._rung.close()


class _PostgreSQLListener:
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
        self._bell = _Bell()
        self._heard: deque[str] = deque()

    def wait(self, timeout: float) -> str | None:
        raw = self._connection.connection
        if not self._heard:
            readable = _readable([raw.fileno(), self._bell], timeout)
            if self._bell in readable:
                self._bell.hush()
            if raw.fileno() in readable:
                # One of each is enough: a notice says where to look, not what is there.
                self._heard.extend({notice.payload for notice in raw.notifies(timeout=0)})
        return self._heard.popleft() if self._heard else None

    def interrupt(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._connection.close()
        self._bell.close()


class _SQLiteListener:
    """Reads the file's change counter, which another connection's commit moves.

    Where the system says that the file was written (Linux), then; elsewhere at short intervals.
    """

    hears_commits = True
    # Between two notices, and between two looks where the system says nothing.
    INTERVAL = 0.01
    # A writer writes to the file before its commit can be seen: when to look after the system's word.
    LOOKS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)

    def __init__(self, using: str) -> None:
        connection = connections[using]
        connection.ensure_connection()
        self._raw: Any = connection.connection
        self._bell = _Bell()
        self._writes = file_writes(self._path())
        self._looks: list[float] = []
        self._told_at = 0.0
        self._version = self._read()

    def _path(self) -> str:
        files = self._raw.execute("PRAGMA database_list").fetchall()
        return next((path for _, name, path in files if name == "main"), "")

    def _read(self) -> int:
        (version,) = self._raw.execute("PRAGMA data_version").fetchone()
        return int(version)

    def wait(self, timeout: float) -> str | None:
        self._rest(timeout)
        now = time.monotonic()
        if now < self._told_at + self.INTERVAL:
            return None
        version = self._read()
        if version == self._version:
            return None
        self._version, self._told_at = version, now
        return ANYTHING

    def _rest(self, timeout: float) -> None:
        pause = self._told_at + self.INTERVAL - time.monotonic()
        if pause > 0:
            # What is written meanwhile is seen after it, all at once.
            self._select([self._bell], min(timeout, pause))
        elif self._writes is None:
            self._select([self._bell], min(timeout, self.INTERVAL))
        else:
            look = self._looks.pop() if self._looks else timeout
            if self._select([self._bell, self._writes], min(timeout, look)) and self._writes.happened():
                self._looks = list(reversed(self.LOOKS))

    def _select(self, sources: list[Any], timeout: float) -> bool:
        readable = _readable(sources, timeout)
        if self._bell in readable:
            self._bell.hush()
        return self._writes in readable

    def interrupt(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._raw = None
        self._bell.close()
        if self._writes is not None:
            self._writes.close()


class _PollListener:
    """Where a database sends no word, ask at short intervals whether something is due."""

    hears_commits = False
    # The first after something new was found; then longer and longer ones.
    SHORTEST, LONGEST = 0.05, 0.25

    def __init__(self, using: str) -> None:
        self._using = using
        self._bell = _Bell()
        self._interval = self.SHORTEST
        self._heard: deque[str] = deque()
        # What the last look found.
        self._told: set[str] = set()

    def wait(self, timeout: float) -> str | None:
        if not self._heard:
            if _readable([self._bell], min(timeout, self._interval)):
                self._bell.hush()
                return None
            due = self._due()
            self._heard.extend(due)
            # What is still due may be for nobody here: its queue paused, or all threads busy.
            is_new = not self._told.issuperset(due)
            self._interval = self.SHORTEST if is_new else min(self.LONGEST, self._interval * 1.5)
            self._told = set(due)
        return self._heard.popleft() if self._heard else None

    def _due(self) -> list[str]:
        connection = connections[self._using]
        with connection.cursor() as cursor:
            cursor.execute(*sql.dialect(connection).due())
            is_run_due, is_job_due = cursor.fetchone()
        return [topic for topic, is_due in ((RUNS, is_run_due), (JOBS, is_job_due)) if is_due]

    def interrupt(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._bell.close()


def _raw_connection(using: str) -> Any:
    connection = connections[using]
    connection.ensure_connection()
    return connection.connection


class ListenerThread(Component):
    """The thread of one process that hears the others and tells this one's.

    Args:
        using: Alias of the database.
    """

    # Drivers raise errors of their own from a connection that was cut.
    away = (Exception,)

    def __init__(self, using: str) -> None:
        super().__init__("listener", using)
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        # Under way on this thread for others.
        self._calls: deque[Call[Any]] = deque()

    def stop(self, timeout: float | None = 5.0) -> bool:
        """End the thread, and its connection with it."""
        with self._lock:
            self._stopping.set()
            if self._listener is not None:
                self._listener.interrupt()
        return super().stop(timeout)

    def unheard(self, work: Callable[[], T]) -> T:
        """Return what something comes to that writes, and wake nobody of this process by it.

        Where every commit but those of the listening connection is heard, it is done on that one.
        """
        with self._lock:
            if self._listener is None or not self._listener.hears_commits or self._stopping.is_set():
                call = None
            else:
                call = Call(work)
                self._calls.append(call)
                self._listener.interrupt()
        return work() if call is None else call.future.result()

    def _do_calls(self) -> None:
        while self._calls:
            self._calls.popleft().do()

    def _listener_class(self) -> Callable[[str], Listener]:
        vendor = connections[self.using].vendor
        # psycopg 2 has no call that waits for notices.
        if vendor == "postgresql" and "psycopg" in type(_raw_connection(self.using)).__module__.split("."):
            return _PostgreSQLListener
        return _SQLiteListener if vendor == "sqlite" else _PollListener

    def look(self) -> float:
        """Listen until the thread is to stop."""
        listener = self._listener_class()(self.using)
        with self._lock:
            self._listener = listener
        try:
            self.backoff.worked()
            # Whatever was said while nobody listened.
            notify_local(ANYTHING)
            while not self._stopping.is_set():
                topic = listener.wait(LISTEN_SECONDS)
                self._do_calls()
                if topic is not None:
                    notify_local(topic)
        finally:
            with self._lock:
                self._listener = None
                listener.close()
            # On a connection that may be broken: then the caller learns it as from its own.
            self._do_calls()
        return 0.0
