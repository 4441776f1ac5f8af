"""A worker's row: others see by it that the worker lives, and rescue its runs when it does not."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs import __version__
from django_jobs.models import Worker as WorkerRow
from django_jobs.printable import printable
from django_jobs.storage import identity, transactions

if TYPE_CHECKING:
    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)


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
        started_at=now,
        heartbeat_at=now,
        lease_expires_at=now + timedelta(seconds=worker.lease_seconds),
    )


def close_row(worker: Worker) -> None:
    """Close a worker's row, once nothing extends its lease: a closed row is that of a dead worker."""
    try:
        WorkerRow.objects.using(worker.using).filter(pk=worker.id, stopped_at__isnull=True).update(
            stopped_at=transactions.database_now(worker.using)
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning(
            "worker=%s could not say that it stopped, its lease will: %s", worker.id, printable(error)
        )
