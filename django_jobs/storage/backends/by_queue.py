"""Claim queue by queue, where what is due in other queues comes before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.storage.backends.claiming import Claiming, Scope
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun

# Each queue is a part of a statement, or a look into its index.
MOST_QUEUES = 100
CLAIM_ORDER = "ORDER BY priority DESC, run_after, id"


class ByQueue(Claiming):
    """The claim that reads nothing of the queues that it leaves, however much is due in them.

    It looks for the first runs of each queue that it serves, and takes the first of these. That costs a little
    more than to walk all that is due, unless most of that is in queues that are paused or left to others.
    """

    __slots__ = ()

    def claim_by_queue(
        self, worker_id: str, fence: int, scope: Scope, limit: int
    ) -> tuple[list[ClaimedRun], bool] | None:
        """Take what `claim` would.

        Returns:
            Runs in any order; and whether these are all that it would take. Otherwise others lock most of what
            was looked at. None where there are too many queues: nothing was taken.
        """
        queues, levels = self._served(scope)
        if not queues:
            return [], True
        if len(queues) > MOST_QUEUES:
            return None
        # Its queues are named. Whether one is paused is asked again with the claim itself.
        return self._claim_of(queues, levels, worker_id, fence, Scope(unknown=scope.unknown), limit)

    def _served(self, scope: Scope) -> tuple[list[str], Sequence[int]]:
        """Return the queues of a scope that have READY runs, due or not; and all priorities of those.

        There is one queue more than `MOST_QUEUES` at most, and no priority where the database finds them itself.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(lambda words: words._select_served(scope)))
            return [row[0] for row in cursor.fetchall()], ()

    def _select_served(self, scope: Scope) -> Statement:
        # From name to name on the index of queues, however many runs each has.
        first = f"SELECT n.queue_name FROM {RUN_TABLE} n WHERE n.status = 'READY'"  # noqa: S608
        where, names = self._of_queues(scope)
        return (
            f"SELECT queue_name FROM (WITH RECURSIVE waiting(queue_name) AS ("  # noqa: S608
            f"SELECT ({first} ORDER BY n.queue_name LIMIT 1) UNION ALL SELECT ({first} AND n.queue_name > "
            "waiting.queue_name ORDER BY n.queue_name LIMIT 1) FROM waiting WHERE waiting.queue_name IS NOT NULL) "
            f"SELECT queue_name FROM waiting) w WHERE queue_name IS NOT NULL{where} LIMIT {MOST_QUEUES + 1}",
            names,
        )

    def _claim_of(
        self,
        queues: Sequence[str],
        levels: Sequence[int],
        worker_id: str,
        fence: int,
        scope: Scope,
        limit: int,
    ) -> tuple[list[ClaimedRun], bool]:
        """Take from some queues, of which there is one at least; as `claim_by_queue`."""
        raise NotImplementedError

    @staticmethod
    def _first_of_queues(
        of_queue: Callable[[str], Statement], queues: Sequence[str], limit: int
    ) -> Statement:
        """Select the ids of the first runs of some queues together.

        Args:
            of_queue: Selects what is due in one queue in the order of claims, with what that goes by.
            queues: Their names.
            limit: How many.
        """
        parts: list[str] = []
        values: list[Any] = []
        for queue in queues:
            select, params = of_queue(queue)
            parts.append(f"SELECT * FROM ({select} LIMIT %s) q")  # noqa: S608
            values += [*params, limit]
        union = " UNION ALL ".join(parts)
        return f"SELECT id FROM ({union}) f {CLAIM_ORDER} LIMIT %s", [*values, limit]  # noqa: S608


def enough(limit: int) -> int:
    """Return how many runs to look at, of which others lock some, to take so many."""
    return 2 * limit + 100
