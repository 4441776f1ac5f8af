"""Runs whose workers died: what a process does about them as it starts, and at its heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef

from django_jobs.conf import jobs_settings
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import identity, leases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


def rescue_at_start(now: datetime, *, using: str, max_rescues: int) -> None:
    """Rescue the runs of processes of this machine that have ended, and of workers that were silent for too long.

    An ended lease alone proves no death: the database may have been away for all until now. But where another
    process registered after that, and long enough ago, it was there, and living workers have said so since.

    Args:
        now: By the database's clock.
        using: Alias of the database.
        max_rescues: A run whose workers died more often than this is FAILED.
    """
    workers = WorkerRow.objects.using(using)
    open_rows = workers.filter(stopped_at__isnull=True)
    here = open_rows.filter(host=identity.host()).only("process_key")
    gone = [row.pk for row in here if identity.is_gone(row.process_key)]
    since = now - timedelta(seconds=jobs_settings().LEASE_SECONDS)
    witnesses = workers.filter(started_at__gt=OuterRef("lease_expires_at"), started_at__lt=since)
    silent = open_rows.filter(Exists(witnesses), lease_expires_at__lt=now)
    gone.extend(silent.values_list("pk", flat=True))
    rescue(now, gone, using=using, max_rescues=max_rescues, by_lease=False)


def rescue(now: datetime, gone: Sequence[str], *, using: str, max_rescues: int, by_lease: bool) -> None:
    """Return runs of dead workers to the queue, or end them, and tell of it.

    Args:
        now: By the database's clock.
        gone: Workers whose processes have ended.
        using: Alias of the database.
        max_rescues: A run whose workers died more often than this is FAILED.
        by_lease: Whether workers whose leases have ended are dead, too.
    """
    rescued = leases.rescue(now, max_rescues=max_rescues, gone=gone, by_lease=by_lease, using=using)
    leases.report_rescues(rescued, using=using)
