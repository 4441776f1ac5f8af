"""The thread of a process that listens."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from django.db import connections

from django_jobs.storage.components import Component
from django_jobs.storage.connections import Call, leave_replaced
from django_jobs.storage.notifications.bus import ANYTHING, notify_local
from django_jobs.storage.notifications.polling import PollListener
from django_jobs.storage.notifications.postgresql import PostgreSQLListener
from django_jobs.storage.notifications.sqlite import SQLiteListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_jobs.storage.notifications.waiting import Listener

T = TypeVar("T")

# A connection that was cut without notice is found out when it is next looked at.
LISTEN_SECONDS = 30.0


class Writer(Protocol):
    """A thread of this process that writes often, what nobody here need hear of."""

    def looks_for_others(self) -> bool:
        """Return whether it has written lately, and notifies by itself if others have, too."""


class ListenerThread(Component):
    """The thread of one process that hears other processes and notifies this one's threads.

    Args:
        using: Alias of the database.
        writer: Whose commits are not to be heard, where every commit is.
    """

    # Drivers raise errors of their own from a connection that was cut.
    away = (Exception,)
    is_brief = False

    def __init__(self, using: str, *, writer: Writer | None = None) -> None:
        super().__init__("listener", using)
        self._writer = writer
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
        """Call something that writes, without waking this process by it; return its result.

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

    def look(self) -> float:
        """Listen until the thread is to stop."""
        listener = listener_class(self.using)(self.using)
        with self._lock:
            self._listener = listener
        try:
            self.backoff.worked()
            # Whatever happened while nobody listened.
            notify_local(ANYTHING)
            while not self._stopping.is_set():
                topic = listener.wait(LISTEN_SECONDS)
                if leave_replaced():
                    break
                self._do_calls()
                if topic is not None and not self._is_left_to_writer(listener):
                    notify_local(topic)
        finally:
            with self._lock:
                self._listener = None
                listener.close()
            # On a connection that may be broken: then the caller learns it as from its own.
            self._do_calls()
        return 0.0

    def _is_left_to_writer(self, listener: Listener) -> bool:
        return listener.hears_commits and self._writer is not None and self._writer.looks_for_others()


def listener_class(using: str) -> Callable[[str], Listener]:
    """Return what hears other processes on a database."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return SQLiteListener
    if connection.vendor == "postgresql":
        connection.ensure_connection()
        # psycopg 2 has no call that waits for notices.
        if "psycopg" in type(connection.connection).__module__.split("."):
            return PostgreSQLListener
    return PollListener
