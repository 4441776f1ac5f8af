"""A worker's row: others see by it that the worker lives, and rescue its runs when it does not."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError

from django_jobs import __version__
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import identity, projects, transactions
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)

# Of what a row says is wrong.
MOST_PROBLEMS, MOST_CHARACTERS = 10, 500
# At stop: somebody may hold a lock on the row, and its lease ends by itself.
LOCK_SECONDS = 2.0
# Of this process, in pages: its size, and what of it is in memory. Linux has it.
_STATM = Path("/proc/self/statm")


def open_row(worker: Worker, worker_id: str) -> None:
    """Write a row for a worker under an id; only then may it claim under that id."""
    now = transactions.database_now(worker.using)
    WorkerRow.objects.using(worker.using).create(
        id=worker_id,
        host=identity.host(),
        process_key=identity.process_key(),
        pid=os.getpid(),
        version=__version__,
        queues=list(worker.queues),
        threads=worker.threads,
        has_clock=worker.has_clock,
        details=worker.details,
        started_at=now,
        heartbeat_at=now,
        lease_expires_at=now + timedelta(seconds=worker.lease_seconds),
    )


def memory() -> int | None:
    """Return the bytes of memory that this process holds; None where the system does not say."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def details(
    *,
    problems: Sequence[str] = (),
    clock_ahead: float | None = None,
    before: dict[str, Any] | None = None,
    queue_threads: Mapping[str, int] | None = None,
    is_quiet: bool = False,
) -> dict[str, Any]:
    """Return what a worker's row says of its process.

    Args:
        problems: What is wrong in it, in words.
        before: What it said before: memory that differs by less than a tenth stays as it was.
        clock_ahead: Seconds that its host's clock is ahead of the database's, negative for behind; None
            where it is right.
        queue_threads: Queues that take at most so many of its threads.
        is_quiet: Whether it takes no more runs, and finishes those that it has.
    """
    found: dict[str, Any] = {"project": projects.own()}
    if problems:
        found["problems"] = [problem[:MOST_CHARACTERS] for problem in problems[:MOST_PROBLEMS]]
    if queue_threads:
        found["queue_threads"] = dict(queue_threads)
    if is_quiet:
        found["quiet"] = True
    if clock_ahead is not None:
        found["clock_ahead"] = clock_ahead
    held = memory()
    if held is not None:
        known = (before or {}).get("memory")
        found["memory"] = known if known and abs(held - known) < known / 10 else held
    return found


def write_details(worker: Worker, details: dict[str, Any]) -> None:
    """Write what a worker's row says of its process."""
    WorkerRow.objects.using(worker.using).filter(pk=worker.id).update(details=details)
    worker.details = details


def close_row(worker: Worker) -> None:
    """Close a worker's row, once nothing extends its lease: a closed row is that of a dead worker."""
    try:
        with transactions.patient(worker.using, LOCK_SECONDS):
            WorkerRow.objects.using(worker.using).filter(pk=worker.id, stopped_at__isnull=True).update(
                stopped_at=transactions.database_now(worker.using)
            )
    except (DatabaseError, InterfaceError) as error:
        logger.warning(
            "worker=%s could not record its stop; its lease will end instead: %s", worker.id, printable(error)
        )
