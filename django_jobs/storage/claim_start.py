"""Where the claims of a worker begin while the database cannot forget what ended."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, cast

from django_jobs.storage.backends.claiming import Start
from django_jobs.storage.claim_by_queue import ClaimByQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django_jobs.storage.records import ClaimedRun

# What a claim of few runs never takes, unless it passes the index entries of some ten thousands that ended; and for
# each run of a large one.
SLOW_SECONDS, SLOW_SECONDS_PER_RUN = 0.01, 0.00005
# After which all that is due is looked at again: a run may be committed or put back with a time that is over.
# Later where that takes long: it may have a fifth of the time.
FULL_EVERY_SECONDS, FULL_EVERY_TIMES = 1.0, 4


class ClaimStart:
    """Has the claims of one consumer begin where its last one found runs, while full ones are slow.

    PostgreSQL keeps the index entries of all runs that were claimed since the oldest transaction began, and a
    claim passes them before it comes to those that are due. Only a claim out of a backlog leaves them out: what
    finds fewer runs than it asked for has looked everywhere.

    Attributes:
        queues: Whether its claims go queue by queue instead.
    """

    def __init__(self) -> None:
        self.queues = ClaimByQueue()
        self._start: Start | None = None
        self._next_full = 0.0

    def claim(self, take: Callable[[int, Start | None], list[ClaimedRun]], limit: int) -> list[ClaimedRun]:
        """Return up to `limit` runs, by a callable that claims so many, or fewer when no more are due."""
        began = monotonic()
        if self._start is None or began >= self._next_full:
            runs = take(limit, None)
            ended = monotonic()
            is_slow = ended - began > SLOW_SECONDS + SLOW_SECONDS_PER_RUN * len(runs)
            self._start = _start_of(runs) if is_slow and len(runs) == limit else None
            self._next_full = ended + max(FULL_EVERY_SECONDS, FULL_EVERY_TIMES * (ended - began))
            return runs
        runs = take(limit, self._start)
        if len(runs) == limit:
            self._start = _start_of(runs)
            return runs
        self._start = None
        return runs + take(limit - len(runs), None)


def _start_of(runs: Sequence[ClaimedRun]) -> Start:
    priority = min(run.priority for run in runs)
    # PostgreSQL's driver returns times.
    return Start(priority, min(cast("datetime", run.run_after) for run in runs if run.priority == priority))
