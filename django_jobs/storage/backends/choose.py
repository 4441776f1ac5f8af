"""The backend of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.storage.backends.mariadb import MariaDB
from django_jobs.storage.backends.postgresql import PostgreSQL
from django_jobs.storage.backends.sqlite import SQLite

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_jobs.storage.backends.base import Backend

_BACKENDS: dict[str, type[Backend]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MariaDB}


def backend_of(connection: BaseDatabaseWrapper) -> Backend:
    """Return the operations of the queue on a connection.

    Raises:
        NotImplementedError: The database is none of SQLite, PostgreSQL, MariaDB and MySQL.
    """
    try:
        return _BACKENDS[connection.vendor](connection)
    except KeyError:
        raise NotImplementedError(
            f"django_jobs works on SQLite, PostgreSQL, MariaDB and MySQL, not on {connection.vendor}"
        ) from None
