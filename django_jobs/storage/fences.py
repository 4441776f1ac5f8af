"""The fence of a claim: what tells it from all others, in a database that may go back to an older state."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from django.db.models import Q

from django_jobs.models import Run

if TYPE_CHECKING:
    from django_jobs.models import RunQuerySet
    from django_jobs.storage.records import ClaimedRun


def new_fence() -> int:
    """Return a number for a claim, 1 to 2**63 - 1, that no other claim has or ever had."""
    # From the system: a job may seed Python's generator, and a restored database gives its ids out again.
    return secrets.randbits(63) or 1


def of_claim(run: ClaimedRun, *, using: str) -> RunQuerySet:
    """Return the run's row as a queryset: empty once it is not RUNNING by this claim any more."""
    return Run.objects.using(using).running().filter(of_attempt(run))


def of_attempt(run: ClaimedRun) -> Q:
    """Return the condition that a row is of this claim, whether it has ended or not."""
    return Q(pk=run.id, worker_id=run.worker_id, attempt=run.attempt, fence=run.fence or None)
