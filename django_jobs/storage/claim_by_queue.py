"""When the claims of a worker go queue by queue, past what is due in queues that they leave."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_jobs.storage.records import ClaimedRun

# What a claim of few runs never takes, unless it passes some ten thousand of others; and for each run of a large one.
SLOW_SECONDS, SLOW_SECONDS_PER_RUN = 0.003, 0.00005
# After which all that is due is walked again, to see whether that is slow still.
WALK_EVERY_SECONDS = 60.0
# How often in a row it may take longer than that, as it does while it waits for locks of others.
MOST_SLOWER = 10
# How often it looks again for runs in the place of those that others have taken meanwhile, before it walks.
MOST_LOOKS = 5


class ClaimByQueue:
    """Has the claims of one consumer go queue by queue, while runs in queues that it leaves make others slow.

    Either finds the same runs. Which is faster depends on how many are due before them in queues that are paused,
    or that others serve; and on how many queues there are.
    """

    def __init__(self) -> None:
        self._until = self._next_try = 0.0
        self._walk_seconds = 0.0
        self._slower = 0

    def claim(
        self,
        walk: Callable[[int], list[ClaimedRun]],
        by_queue: Callable[[int], tuple[list[ClaimedRun], bool] | None],
        leaves_any: Callable[[], bool],
        limit: int,
    ) -> list[ClaimedRun]:
        """Return up to `limit` runs.

        Args:
            walk: Claims so many, or fewer when no more are due.
            by_queue: The same queue by queue; and says whether no more are due. None where it cannot.
            leaves_any: Whether a claim leaves any queue. Asked after a claim that was slow, once a minute at most.
            limit: How many.
        """
        began = monotonic()
        if began < self._until:
            return self._by_queue(walk, by_queue, limit)
        runs = walk(limit)
        ended = monotonic()
        is_slow = ended - began > SLOW_SECONDS + SLOW_SECONDS_PER_RUN * len(runs)
        if is_slow and began >= self._next_try:
            self._next_try = ended + WALK_EVERY_SECONDS
            if leaves_any():
                self._until, self._walk_seconds, self._slower = self._next_try, ended - began, 0
        return runs

    def _by_queue(
        self,
        walk: Callable[[int], list[ClaimedRun]],
        by_queue: Callable[[int], tuple[list[ClaimedRun], bool] | None],
        limit: int,
    ) -> list[ClaimedRun]:
        began = monotonic()
        runs: list[ClaimedRun] = []
        for _ in range(MOST_LOOKS):
            found = by_queue(limit - len(runs))
            if found is None:
                # There will be as many at the next claim.
                self._until = 0.0
                return runs + walk(limit - len(runs))
            more, is_all = found
            runs += more
            if is_all:
                break
        else:
            runs += walk(limit - len(runs))
        is_slower = monotonic() - began > self._walk_seconds + SLOW_SECONDS_PER_RUN * len(runs)
        self._slower = self._slower + 1 if is_slower else 0
        if self._slower >= MOST_SLOWER:
            self._until = 0.0
        return runs
