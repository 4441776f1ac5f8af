"""Transactions that write, the database's clock, and rows cut into statements."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs.storage.backends.choose import backend_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

# Rows of one INSERT or UPDATE: enough that the statement's own cost no longer shows.
BATCH = 300
# And their text in characters: MariaDB's default refuses statements of more than 16 MiB.
BATCH_SIZE = 3_000_000


@contextmanager
def write_transaction(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """Open a transaction that holds SQLite's write lock from its first statement on.

    A SQLite transaction that reads first and writes later fails immediately when another process wrote
    in between, whatever its timeout; one that begins with a write waits its turn.
    """
    connection = connections[alias]
    with transaction.atomic(using=alias):
        backend_of(connection).begin_write()
        yield connection


@contextmanager
def patient(alias: str, seconds: float) -> Iterator[None]:
    """Open a transaction that waits for locks of others for a limited time.

    SQLite has a limit already, for the whole file.

    Args:
        alias: Of the database.
        seconds: For each lock; at least 1.

    Raises:
        OperationalError: Somebody held a lock for longer; see `is_lock_timeout`.
    """
    connection = connections[alias]
    match connection.vendor:
        case "postgresql":
            with transaction.atomic(using=alias):
                _execute(connection, f"SET LOCAL lock_timeout = {int(seconds * 1000)}")
                yield
        case "mysql":
            limit = "innodb_lock_wait_timeout = {0}, lock_wait_timeout = {0}"
            _execute(connection, f"SET SESSION {limit.format(max(1, int(seconds)))}")
            try:
                with transaction.atomic(using=alias):
                    yield
            finally:
                # One that broke has no session any more.
                with suppress(DatabaseError, InterfaceError):
                    _execute(connection, f"SET SESSION {limit.format('DEFAULT')}")
        case _:
            with transaction.atomic(using=alias):
                yield


def _execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement failed because somebody held a lock for too long."""
    cause = error.__cause__
    # PostgreSQL's lock_not_available; MariaDB's and MySQL's ER_LOCK_WAIT_TIMEOUT; SQLite's SQLITE_BUSY.
    return (
        getattr(cause, "sqlstate", None) == "55P03"
        or getattr(cause, "pgcode", None) == "55P03"
        or (bool(error.args) and error.args[0] == 1205)
        or getattr(cause, "sqlite_errorname", None) == "SQLITE_BUSY"
    )


def skips_locked(alias: str) -> bool:
    """Return whether a SELECT can skip the rows that others have locked."""
    return bool(connections[alias].features.has_select_for_update_skip_locked)


def database_now(alias: str) -> datetime:
    """Return the time by the database's clock, which decides leases and due times."""
    return backend_of(connections[alias]).read_now()


def in_batches(rows: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    """Cut rows into the parts of one statement each, by their number and their characters."""
    start = size = 0
    for index, more in enumerate(sizes):
        if index > start and (index - start >= BATCH or size + more > BATCH_SIZE):
            yield rows[start:index]
            start, size = index, 0
        size += more
    if start < len(rows):
        yield rows[start:]
