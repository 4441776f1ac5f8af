"""Put runs into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from django_jobs.models import jobs_database
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.transactions import in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.records import NewRun


def insert(runs: Sequence[NewRun], *, using: str | None = None) -> list[int]:
    """Insert runs in the caller's transaction, a few hundred to a statement.

    Returns:
        Their ids in order; empty where the database cannot return them (MySQL).

    Raises:
        IntegrityError: A `unique_key` is taken.
    """
    backend = backend_of(connections[using or jobs_database()])
    batches = in_batches(runs, [len(run.payload) for run in runs])
    ids = [run_id for batch in batches for run_id in backend.insert(batch)]
    return ids if len(ids) == len(runs) else []


def insert_unless_paused(run: NewRun, *, using: str) -> int | None:
    """Insert a run that is a worker's from the beginning, in the caller's transaction.

    Returns:
        Its id; None, and nothing is inserted, when its queue is paused.

    Raises:
        IntegrityError: Its `unique_key` is taken.
    """
    return backend_of(connections[using]).insert_unless_paused(run)
