"""Care for the database connections of our own threads.

Django closes connections around requests. A thread that executes runs has no requests, and with
Django's default of `CONN_MAX_AGE = 0` closing around each run would connect once a run. So a
thread keeps its connections while it is busy, replaces those that broke or grew old, and gives
them back when it has been idle.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
import weakref
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, DataError, IntegrityError, InterfaceError, connections
from django.db.backends.signals import connection_created

from django_jobs import conf, signals
from django_jobs.storage import forks, sessions
from django_jobs.storage.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A connection that rested longer than this is asked whether it still answers before it is used:
# firewalls, poolers and `wait_timeout` cut resting connections without a word.
RESTED_SECONDS = 30.0


# For SQLite: how long a writer waits for others, in place of Python's 5 seconds.
BUSY_SECONDS = 20


class _Own(threading.local):
    """What this thread connected since it last gave all back: runs need no look at each alias, which takes 2 us."""

    connected: tuple[BaseDatabaseWrapper, ...] = ()
    has_left_pools = False
    # What `renew_all` had counted when this thread last had nothing open from before it.
    renewal = 0


_own = _Own()
# In a variable, not of the thread: an `async def` function's connections are those of other threads.
_executes_runs: ContextVar[bool] = ContextVar("django_jobs_executes_runs", default=False)


def leave_pools() -> None:
    """Have this thread connect by itself where others take turns with the connections of Django's pool.

    A thread of ours keeps its connection while it works. From a pool, which is as small as four, it would
    be taken from the requests of this process.
    """
    if _own.has_left_pools:
        return
    _own.has_left_pools = True
    for alias in connections:
        options = connections.settings[alias].get("OPTIONS", {})
        if not options.get("pool"):
            continue
        own = connections.create_connection(alias)
        own.settings_dict = {
            **own.settings_dict,
            "OPTIONS": {name: value for name, value in options.items() if name != "pool"},
        }
        connections[alias] = own


# Whether work is ours, and not a request's. asyncio and `sync_to_async` take it along from the thread that
# starts an async function to those that serve it.
_is_ours: ContextVar[bool] = ContextVar("_is_ours", default=False)


def claim_context() -> None:
    """Say that this thread, and the async tasks it starts, are ours: their connections let SQLite have several writers, and are of no pool."""
    _is_ours.set(True)
    leave_pools()


def tidy(rested_seconds: float = 0.0) -> None:
    """Make this thread's connections fit for the next piece of work.

    Closes those that failed, are older than a positive `CONN_MAX_AGE`, or rested too long and no
    longer answer.

    Args:
        rested_seconds: How long this thread did nothing before.
    """
    if not _own.connected:
        return
    leave_replaced()
    for connection in _own.connected:
        if connection.connection is None:
            continue
        is_doubtful = connection.errors_occurred or rested_seconds > RESTED_SECONDS
        if _is_too_old(connection) or (is_doubtful and not sessions.is_fit(connection)):
            connection.close()
        else:
            connection.errors_occurred = False


def watch_sessions() -> None:
    """Note that this thread or task executes runs: what they leave in the sessions of connections is seen."""
    _executes_runs.set(True)


def end_transactions() -> list[str]:
    """Roll back what the last piece of work left open: its locks would hold up everybody.

    What it changed in a session (search path, role, time limits, locks) ends with its connection.

    Returns:
        Aliases of databases that a transaction was open on.
    """
    left: list[str] = []
    for connection in _own.connected:
        if connection.connection is None:
            continue
        if sessions.is_in_transaction(connection):
            logger.warning("a run left a transaction open on %s: it is rolled back", connection.alias)
            left.append(connection.alias)
            discard(connection)
        elif sessions.is_changed(connection):
            discard(connection)
        elif connection.queries_log:
            connection.queries_log.clear()
    return left


def forget_queries(connection: BaseDatabaseWrapper) -> None:
    """Empty the log of queries that Django keeps with DEBUG on, and empties at the end of a request."""
    if connection.queries_log:
        connection.queries_log.clear()


def _is_too_old(connection: BaseDatabaseWrapper) -> bool:
    # 0 would mean a connection per run: Django's own meaning of it needs requests to count by.
    max_age = connection.settings_dict["CONN_MAX_AGE"]
    return bool(max_age) and connection.close_at is not None and time.monotonic() >= connection.close_at


def discard(connection: BaseDatabaseWrapper) -> None:
    """Drop a connection with whatever it was doing; the next query opens a new one."""
    # close() alone only marks the connection when it is inside an atomic block.
    connection.in_atomic_block = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.run_on_commit = []
    try:
        connection.close()
    except DatabaseError:
        # A broken connection may fail to say goodbye as well; it is gone either way.
        connection.connection = None


def give_back() -> list[str]:
    """Close this thread's connections, or return them to their pool.

    Returns:
        Aliases of databases that a transaction was open on.
    """
    left = []
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            if sessions.is_in_transaction(connection):
                left.append(connection.alias)
            discard(connection)
            forget_queries(connection)
    _own.connected = ()
    return left


_renewals = 0


def renew_all() -> None:
    """Have each of our threads connect again before its next piece of work: what it is connected to was replaced."""
    global _renewals
    _renewals += 1


def leave_replaced() -> bool:
    """Close this thread's connections if they are to be renewed; return whether they were."""
    if _own.renewal == _renewals:
        return False
    _own.renewal = _renewals
    give_back()
    return True


def give_back_own() -> None:
    """Close what this thread connected since it last gave all back; cheap where it did not."""
    if _own.connected:
        give_back()


@dataclass(slots=True)
class Call(Generic[T]):
    """Work that one thread has done on another's connections."""

    work: Callable[[], T]
    future: Future[T] = field(default_factory=Future)

    def do(self) -> bool:
        """Do it, unless it was cancelled; return whether it came to its end."""
        if not self.future.set_running_or_notify_cancel():
            return True
        try:
            self.future.set_result(self.work())
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self.future.set_exception(error)
            return False
        return True


# MySQL's driver says goodbye to the server when it frees a connection, in a forked child too, where
# it would end the parent's. So connections that exist when a process forks are never freed there.
_open: weakref.WeakSet[Any] = weakref.WeakSet()
_kept: list[Any] = []


def _note(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    # One that the project has made besides, of the same alias, is left to it.
    if connection not in _own.connected and connection in connections.all(initialized_only=True):
        _own.connected = (*_own.connected, connection)
    sessions.begin(connection, is_watched=_executes_runs.get())
    if connection.vendor == "mysql":
        _open.add(connection.connection)
    elif connection.vendor == "sqlite" and _is_ours.get() and connection.alias == _jobs_alias():
        _let_write_beside_others(connection)


def _jobs_alias() -> str:
    return conf.jobs_settings().DATABASE or DEFAULT_DB_ALIAS


def _let_write_beside_others(connection: Any) -> None:
    """Set what a project's settings leave open, as `startproject` does: runs write while requests do.

    A transaction that reads first and writes later fails immediately when somebody wrote in between, whatever
    the timeout; one that begins as IMMEDIATE waits its turn.
    """
    if connection.transaction_mode is None:
        connection.transaction_mode = "IMMEDIATE"
    if "timeout" not in connection.settings_dict["OPTIONS"]:
        connection.connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")


connection_created.connect(_note)


forks.on_fork(before=lambda: _kept.extend(_open), in_parent=_kept.clear)


@forks.on_fork_reset
def _keep_the_parents() -> None:
    for raw in _kept:
        # Not even when the interpreter ends, which clears `_kept` like any other global.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(raw))
    _absences.clear()


class _Absence:
    """Which threads of this process wait for a database: the first to and the last are events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[ConnectionBackoff] = set()
        self._since = 0.0

    def begin(self, backoff: ConnectionBackoff, error: Exception) -> None:
        with self._lock:
            is_first = not self._waiting
            self._waiting.add(backoff)
            if is_first:
                self._since = time.monotonic()
        if is_first:
            signals.emit(signals.database_lost, who=backoff.who, error=error)

    def end(self, backoff: ConnectionBackoff, *, is_back: bool) -> None:
        with self._lock:
            was_last = self._waiting == {backoff}
            self._waiting.discard(backoff)
            seconds = time.monotonic() - self._since
        if was_last and is_back:
            signals.emit(signals.database_back, who=backoff.who, seconds=seconds)


_absences: dict[str, _Absence] = {}


class ConnectionBackoff:
    """One thread's view of a database that may be away: backs off, and reports it once.

    Once per process: `database_lost` when the first of its threads failed on a fresh connection too,
    `database_back` when the last one of those that did has it back.

    Args:
        who: What the thread does, for the log.
        using: Alias of the database.
    """

    FIRST_DELAY = 0.1
    LONGEST_DELAY = 5.0

    def __init__(self, who: str, using: str) -> None:
        self.who = who
        self._using = using
        self._absence = _absences.setdefault(using, _Absence())
        self._backoff = Backoff(self.FIRST_DELAY, self.LONGEST_DELAY)
        self._is_announced = False

    @staticmethod
    def is_about_data(error: Exception) -> bool:
        """Whether the database answered and refused what it was given, or its driver did."""
        return isinstance(error, DataError | IntegrityError) or not isinstance(
            error, DatabaseError | InterfaceError
        )

    def failed(self, error: Exception) -> float:
        """Note a failure, and drop the connection.

        Returns:
            Seconds to wait before the next attempt: growing, and never the same twice.
        """
        discard(connections[self._using])
        # The first time, perhaps only this connection was cut, or is left from before an outage that is over.
        if self._backoff.is_failing and not self._is_announced:
            self._is_announced = True
            self._absence.begin(self, error)
        return self._backoff.failed()

    def worked(self) -> None:
        """Note a success."""
        self._end(is_back=True)

    def close(self) -> None:
        """Note that this thread no longer waits, whatever the database does."""
        self._end(is_back=False)

    def _end(self, *, is_back: bool) -> None:
        self._backoff.worked()
        if self._is_announced:
            self._is_announced = False
            self._absence.end(self, is_back=is_back)
