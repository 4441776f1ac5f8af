"""What is read before a run's function is called: the run waits for a database that is away meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from django_jobs.storage.connections import ConnectionBackoff, discard

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def outlast(read: Callable[[], T], *, must_stop: Callable[[], bool]) -> T:
    """Return what a read returns, when the database that it needs answers.

    The function has not begun: that a database was away is no failure of it.

    Args:
        read: Reads on this thread's connections, in no transaction.
        must_stop: Whether the attempt is to end, or is another worker's: then the error is raised.

    Raises:
        DatabaseError: Databases answer, and refuse what is read.
    """
    try:
        return read()
    except (InterfaceError, OperationalError) as error:
        return _read_again(read, error, must_stop)


def _read_again(read: Callable[[], T], error: Exception, must_stop: Callable[[], bool]) -> T:
    waits: dict[str, ConnectionBackoff] = {}
    try:
        while True:
            if must_stop():
                raise error
            away = _first_away()
            if away is not None:
                wait = waits.setdefault(away, ConnectionBackoff("arguments", away))
                time.sleep(wait.failed(error))
            try:
                value = read()
            except (InterfaceError, OperationalError) as again:
                if away is None:
                    # SQLite and MariaDB say so of a column that is not there, too.
                    raise
                error = again
            else:
                for wait in waits.values():
                    wait.worked()
                return value
    finally:
        for wait in waits.values():
            wait.close()


def _first_away() -> str | None:
    """Return the alias of the first database of this thread that cannot be read from; None if all can."""
    for connection in connections.all(initialized_only=True):
        discard(connection)
        try:
            # Names of tables: a file of SQLite that somebody has locked answers what needs no table.
            connection.introspection.table_names()
        except (DatabaseError, InterfaceError):
            return connection.alias
    return None
