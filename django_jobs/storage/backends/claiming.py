"""Find and take runs that are ready."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.storage import host_clock
from django_jobs.storage.backends.values import read_json, read_time
from django_jobs.storage.backends.words import Statement, Words
from django_jobs.storage.records import ClaimedRun
from django_jobs.storage.tables import QUEUE_TABLE, RUN_TABLE, WORKER_TABLE
from django_jobs.storage.unique_keys import BEGAN, WAITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from typing import Self


def claimed_run(row: Sequence[Any]) -> ClaimedRun:
    """Return the run of a row of `CLAIMED_COLUMNS`."""
    run = ClaimedRun(*row)
    run.options = (run.options and read_json(run.options)) or {}
    run.errors = (run.errors and read_json(run.errors)) or []
    if run.options:
        host_clock.in_host_time(run.options)
    return run


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of the runs that are due a worker claims.

    Attributes:
        queues: Names of the queues that it serves; empty means all.
        others: Names of those that it leaves to others.
        unknown: Functions that its process does not know, and leaves to others.
    """

    queues: Sequence[str] = ()
    others: Sequence[str] = ()
    unknown: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """What a claim may leave out, because another has just looked there.

    Attributes:
        priority: Lower priorities.
        since: And of this one, what was due before that time. Higher priorities are taken as ever.
    """

    priority: int
    since: datetime


class Claiming(Words):
    """The operations of workers that look for work.

    What is in a paused queue is none of what they find.
    """

    __slots__ = ()

    # Whether `claim` knows what to do with a `start`.
    can_start: ClassVar[bool] = False

    def claim(
        self, worker_id: str, fence: int, scope: Scope, limit: int, start: Start | None = None
    ) -> list[ClaimedRun]:
        """Take up to `limit` ready runs under a fence; return them in any order."""
        raise NotImplementedError

    def claim_dispatched(self, worker_id: str, fence: int, run_id: int, attempt: int) -> bool:
        """Take one run that is due in a certain attempt, unless its queue is paused."""
        ready, params = self._ready(worker_id, Scope())
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{self._take()} WHERE {ready} AND id = %s AND attempt = %s",
                [worker_id, fence, *params, run_id, attempt - 1],
            )
            return bool(cursor.rowcount == 1)

    def is_any_ready(self, worker_id: str, scope: Scope) -> bool:
        """Return whether a claim would find a run, or one that somebody else locks."""
        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(lambda words: words._pick(worker_id, scope, 1)))
            return cursor.fetchone() is not None

    def seconds_until_ready(self, scope: Scope, within: float) -> float | None:
        """Return how long until the next deferred run is due; None when none is within some seconds."""
        later, params = self.later(within)
        where, names = self._within(scope)

        def ask(words: Self) -> Statement:
            return (
                f"SELECT MIN(run_after), {words.now} FROM {RUN_TABLE} "  # noqa: S608
                f"WHERE status = 'READY' AND run_after > {words.now} AND run_after <= {later}{where}",
                [*params, *names],
            )

        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(ask))
            due, now = cursor.fetchone()
        return (
            None
            if due is None
            else max(0.0, (read_time(due, self.zone) - read_time(now, self.zone)).total_seconds())
        )

    def _ready(self, worker_id: str, scope: Scope) -> Statement:
        """Condition of the runs that one worker may claim: none once it was declared dead."""
        where, params = self._of_worker(worker_id, scope)
        return f"status = 'READY' AND run_after <= {self.now} AND {where}", params

    def _of_worker(self, worker_id: str, scope: Scope) -> Statement:
        """More of that: the worker lives, and the run is one of those that it serves."""
        sql = f"EXISTS (SELECT 1 FROM {WORKER_TABLE} w WHERE w.id = %s AND w.stopped_at IS NULL)"  # noqa: S608
        more, names = self._within(scope)
        return sql + more, [worker_id, *names]

    @property
    def paused(self) -> str:
        """The names of the queues that are paused now."""
        return (
            f"SELECT q.name FROM {QUEUE_TABLE} q WHERE q.paused_at IS NOT NULL "  # noqa: S608
            f"AND (q.paused_until IS NULL OR q.paused_until > {self.now})"
        )

    def _of_queues(self, scope: Scope) -> Statement:
        """More of a condition: only some queues, or all but some, and none that is paused."""
        # Asked with each claim: what a process knows of pauses is old, and nothing as it starts.
        sql = f" AND queue_name NOT IN ({self.paused})"
        params: list[Any] = []
        for names, word in ((scope.queues, "IN"), (scope.others, "NOT IN")):
            if names:
                sql += f" AND queue_name {word} ({','.join(['%s'] * len(names))})"
                params.extend(names)
        return sql, params

    def _within(self, scope: Scope) -> Statement:
        """More of a condition: what a worker claims of what is due."""
        sql, params = self._of_queues(scope)
        if scope.unknown:
            sql += f" AND func NOT IN ({','.join(['%s'] * len(scope.unknown))})"
            params.extend(scope.unknown)
        return sql, params

    def _pick(self, worker_id: str, scope: Scope, limit: int, columns: str = "id") -> Statement:
        """Select what to claim: by priority, then due time, then id."""
        where, params = self._ready(worker_id, scope)
        most, names = self._most(scope, limit)
        return (
            f"SELECT {columns} FROM {RUN_TABLE} WHERE {where} "  # noqa: S608
            f"ORDER BY priority DESC, run_after, id LIMIT {most}",
            [*params, *names],
        )

    def _most(self, scope: Scope, limit: int) -> Statement:
        """How many runs to pick: an expression that is read once, before any row."""
        return "%s", [limit]

    @property
    def begun_key(self) -> str:
        """What a claim makes of a `unique_key`, as `unique_keys.begun`."""
        # No pattern: its percent sign would depend on whether the statement has parameters.
        begun = self.concat.format(f"'{BEGAN}'", f"{RUN_TABLE}.id", "SUBSTR(unique_key, 2)")
        return f"CASE WHEN SUBSTR(unique_key, 1, 2) = '{WAITS}' THEN {begun} ELSE unique_key END"

    @property
    def _some_due(self) -> str:
        """Condition that any run is due, of any queue; from the index, however many wait for later."""
        return f"(SELECT MIN(d.run_after) FROM {RUN_TABLE} d WHERE d.status = 'READY') <= {self.now}"  # noqa: S608

    def _take(self, table: str = RUN_TABLE) -> str:
        return (
            f"UPDATE {table} SET status = 'RUNNING', attempt = attempt + 1, worker_id = %s, fence = %s, "  # noqa: S608
            f"started_at = {self.now}, cancel_requested = FALSE, progress = NULL, held_run_after = NULL, "
            f"dispatched_at = NULL, redispatch_at = NULL, unique_key = {self.begun_key}"
        )

    def _fetch_claimed(self, statement: str, params: Sequence[Any]) -> list[ClaimedRun]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return self._as_claimed(cursor.fetchall())

    def _as_claimed(self, rows: Iterable[Sequence[Any]]) -> list[ClaimedRun]:
        runs = [claimed_run(row) for row in rows]
        if self.zone is not UTC:
            for run in runs:
                run.run_after = run.run_after and read_time(run.run_after, self.zone)
                run.scheduled_at = run.scheduled_at and read_time(run.scheduled_at, self.zone)
        return runs
