"""Delete old history, a little at a time, so that nobody waits for it."""

from __future__ import annotations

from django_jobs.storage.retention.deleter import Pruned
from django_jobs.storage.retention.pruning import prune

__all__ = ["Pruned", "prune"]
