"""Transactions that write, the database's clock, and rows cut into statements."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from django.db import connections, transaction

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
