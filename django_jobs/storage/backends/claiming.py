"""Find and take runs that are ready."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from django_jobs.storage import host_clock
from django_jobs.storage.backends.values import read_json, read_time
from django_jobs.storage.backends.words import Statement, Words
from django_jobs.storage.records import ClaimedRun
from django_jobs.storage.tables import QUEUE_TABLE, RUN_TABLE, WORKER_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence


# The queues that are paused.
PAUSED = f"SELECT q.name FROM {QUEUE_TABLE} q WHERE q.paused_at IS NOT NULL"  # noqa: S608


def claimed_run(row: Sequence[Any]) -> ClaimedRun:
    """Return the run of a row of `CLAIMED_COLUMNS`."""
    run = ClaimedRun(*row)
    run.options = read_json(run.options) or {}
    run.errors = read_json(run.errors) or []
    host_clock.in_host_time(run.options)
    return run


class Claiming(Words):
    """The operations of workers that look for work.

    All take the worker's id, the names of the queues that it serves (none: all), and the names of
    those that it leaves to others. What is in a paused queue is none of what they find.
    """

    __slots__ = ()

    def claim(
        self, worker_id: str, fence: int, queues: Sequence[str], others: Sequence[str], limit: int
    ) -> list[ClaimedRun]:
        """Take up to `limit` ready runs under a fence; return them in any order."""
        raise NotImplementedError

    def claim_dispatched(self, worker_id: str, fence: int, run_id: int, attempt: int) -> bool:
        """Take one run that is due in a certain attempt, unless its queue is paused."""
        ready, params = self._ready(worker_id, (), ())
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{self._take()} WHERE {ready} AND id = %s AND attempt = %s",
                [worker_id, fence, *params, run_id, attempt - 1],
            )
            return bool(cursor.rowcount == 1)

    def is_any_ready(self, worker_id: str, queues: Sequence[str], others: Sequence[str]) -> bool:
        """Return whether a claim would find a run, or one that somebody else locks."""
        with self.connection.cursor() as cursor:
            cursor.execute(*self._pick(worker_id, queues, others, 1))
            return cursor.fetchone() is not None

    def seconds_until_ready(
        self, queues: Sequence[str], others: Sequence[str], within: float
    ) -> float | None:
        """Return how long until the next deferred run is due; None when none is within some seconds."""
        later, params = self.later(within)
        where, names = self._of_queues(queues, others)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT MIN(run_after), {self.now} FROM {RUN_TABLE} "  # noqa: S608
                f"WHERE status = 'READY' AND run_after > {self.now} AND run_after <= {later}{where}",
                [*params, *names],
            )
            due, now = cursor.fetchone()
        return (
            None
            if due is None
            else max(0.0, (read_time(due, self.zone) - read_time(now, self.zone)).total_seconds())
        )

    def _ready(self, worker_id: str, queues: Sequence[str], others: Sequence[str]) -> Statement:
        """Condition of the runs that one worker may claim: none once it was declared dead."""
        sql = (
            f"status = 'READY' AND run_after <= {self.now} AND EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {WORKER_TABLE} w WHERE w.id = %s AND w.stopped_at IS NULL)"
        )
        more, names = self._of_queues(queues, others)
        return sql + more, [worker_id, *names]

    @staticmethod
    def _of_queues(queues: Sequence[str], others: Sequence[str]) -> Statement:
        """More of a condition: only some queues, or all but some, and none that is paused."""
        # Asked with each claim: what a process knows of pauses is old, and nothing as it starts.
        sql = f" AND queue_name NOT IN ({PAUSED})"
        params: list[Any] = []
        for names, word in ((queues, "IN"), (others, "NOT IN")):
            if names:
                sql += f" AND queue_name {word} ({','.join(['%s'] * len(names))})"
                params.extend(names)
        return sql, params

    def _pick(
        self, worker_id: str, queues: Sequence[str], others: Sequence[str], limit: int, columns: str = "id"
    ) -> Statement:
        """Select what to claim: by priority, then due time, then id."""
        where, params = self._ready(worker_id, queues, others)
        most, names = self._most(queues, others, limit)
        return (
            f"SELECT {columns} FROM {RUN_TABLE} WHERE {where} "  # noqa: S608
            f"ORDER BY priority DESC, run_after, id LIMIT {most}",
            [*params, *names],
        )

    def _most(self, queues: Sequence[str], others: Sequence[str], limit: int) -> Statement:
        """How many runs to pick: an expression that is read once, before any row."""
        return "%s", [limit]

    @property
    def _some_due(self) -> str:
        """Condition that any run is due, of any queue; from the index, however many wait for later."""
        return f"(SELECT MIN(d.run_after) FROM {RUN_TABLE} d WHERE d.status = 'READY') <= {self.now}"  # noqa: S608

    def _take(self, table: str = RUN_TABLE) -> str:
        return (
            f"UPDATE {table} SET status = 'RUNNING', attempt = attempt + 1, worker_id = %s, fence = %s, "  # noqa: S608
            f"started_at = {self.now}, cancel_requested = FALSE, progress = NULL, held_run_after = NULL, "
            "dispatched_at = NULL, redispatch_at = NULL"
        )

    def _fetch_claimed(self, statement: str, params: Sequence[Any]) -> list[ClaimedRun]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            runs = [claimed_run(row) for row in cursor.fetchall()]
        if self.zone is not UTC:
            for run in runs:
                run.run_after = run.run_after and read_time(run.run_after, self.zone)
        return runs
