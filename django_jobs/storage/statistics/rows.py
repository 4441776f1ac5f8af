"""What a rollup holds, and for how long it is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.models import RAN_BINS, WAITED_BINS, Rollup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.models import QuerySet

MINUTE, HOUR, DAY = 60, 3600, 86_400
# How long rollups of each size are kept.
KEPT = {MINUTE: timedelta(days=2), HOUR: timedelta(days=60), DAY: timedelta(days=5 * 365)}

# What has times: others ended without having run, or were stopped in the middle.
TIMED = frozenset({"SUCCESSFUL", "FAILED", "READY"})
# Where in a row of `ROLLUP_SUMS` it says how many attempts began, and where the bins begin.
STARTED = 3
RAN = STARTED + 1
WAITED = RAN + len(RAN_BINS)
ZEROS = [0] * (WAITED + len(WAITED_BINS))


def sum_up(row: list[Any], more: Sequence[Any]) -> None:
    """Add a row to another one."""
    for index, value in enumerate(more):
        row[index] += value


def from_epoch(seconds: float) -> datetime:
    """Return the time of some seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def outdated(now: datetime, *, using: str) -> Iterator[QuerySet[Rollup]]:
    """Yield the rollups that are older than they are kept, the oldest first."""
    for size, kept in KEPT.items():
        # Those that a time which is still kept begins in are whole.
        cutoff = now - kept - timedelta(seconds=size)
        rollups = Rollup.objects.using(using).filter(size_seconds=size, begins_at__lt=cutoff)
        yield rollups.order_by("begins_at")
