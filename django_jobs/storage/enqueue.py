"""Put runs into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from django_jobs.models import jobs_database
from django_jobs.storage import fairness, tags
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.limits import gate
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
    alias = using or jobs_database()
    if tags.has_any(runs):
        with tags.whole(using=alias):
            # MySQL returns the id of one only.
            is_told = connections[alias].features.can_return_rows_from_bulk_insert
            parts = [runs] if is_told else [[run] for run in runs]
            ids = [run_id for part in parts for run_id in _insert(part, alias)]
            tags.insert(runs, ids, using=alias)
            return ids
    return _insert(runs, alias)


def _insert(runs: Sequence[NewRun], alias: str) -> list[int]:
    backend = backend_of(connections[alias])
    fair = [run for run in runs if fairness.has_turns(run.options)]
    if fair:
        fairness.place(fair, using=alias)
    limited = [run for run in runs if gate.has_limit(run.options)]
    if limited:
        gate.place(limited, using=alias)
    batches = in_batches(runs, [len(run.payload) for run in runs])
    ids = [run_id for batch in batches for run_id in backend.insert(batch)]
    if fair:
        fairness.placed(fair, using=alias)
    if limited:
        gate.placed(runs, ids if len(ids) == len(runs) else [], using=alias)
    return ids if len(ids) == len(runs) else []


def insert_unless_paused(run: NewRun, *, using: str) -> int | None:
    """Insert a run that is a worker's from the beginning, in the caller's transaction.

    Returns:
        Its id; None, and nothing is inserted, when its queue is paused.

    Raises:
        IntegrityError: Its `unique_key` is taken.
    """
    backend = backend_of(connections[using])
    if not tags.has_any([run]):
        return backend.insert_unless_paused(run)
    with tags.whole(using=using):
        run_id = backend.insert_unless_paused(run)
        if run_id is not None:
            tags.insert([run], [run_id], using=using)
    return run_id
