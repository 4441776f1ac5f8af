"""Claim the next runs of keys with a limit in the transaction that ends others of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.storage.backends.claiming import Claiming
from django_jobs.storage.backends.limiting import Limiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_jobs.storage.backends.claiming import Scope
    from django_jobs.storage.records import ClaimedRun


class Following(Claiming, Limiting):
    """The claim of runs from the lines of their keys. A key is `Run.limit_key`."""

    __slots__ = ()

    def follow(
        self, worker_id: str, fence: int, scope: Scope, ended: Mapping[str, tuple[int, int]]
    ) -> list[ClaimedRun]:
        """Claim runs that are first in the lines of some keys, no more than have just ended.

        Those that others lock are passed over, and those left where they are that the worker does not claim.
        To be called in the transaction that wrote the ends: no more of a key run after it than before.

        Args:
            worker_id: As for `claim`.
            fence: Likewise.
            scope: Likewise.
            ended: Keys, each with how many runs of it may be RUNNING or due, and how many ended.
        """
        rooms = [
            (key, room)
            for key, held in self.lines(list(ended)).items()
            if (room := min(ended[key][1], ended[key][0] - held)) > 0
        ]
        return self._follow(worker_id, fence, scope, rooms) if rooms else []

    def _follow(
        self, worker_id: str, fence: int, scope: Scope, rooms: Sequence[tuple[str, int]]
    ) -> list[ClaimedRun]:
        """Claim so many runs of each key; there is one at least."""
        raise NotImplementedError

    def _take_from_line(self, table: str) -> str:
        return f"{self._take(table)}, run_after = {self.now}, waits_for = NULL"
