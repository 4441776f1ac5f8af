"""SQLite: one writer at a time, so the UPDATE is its own lock; many rows as one JSON parameter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django_jobs.storage.backends.base import Backend, Row
from django_jobs.storage.backends.values import utc_text
from django_jobs.storage.backends.words import by_number
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import RUN_TABLE, WORKER_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from django.db.backends.utils import CursorWrapper

    from django_jobs.storage.backends.claiming import Scope, Start
    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun, Key

# More than there are priorities: by that the planner knows that there are few, and builds no Bloom filter of all runs.
_LEVELS = 202
# Modes of a transaction that has the write lock from its beginning.
_LOCKING = {"IMMEDIATE", "EXCLUSIVE"}
# Rows that another hand wrote may hold BLOBs, which JSON cannot.
_TEXTS = {
    "name", "func", "payload", "signature", "queue_name", "options", "job_id", "kind", "unique_key", "errors",
}  # fmt: skip
_READ_CLAIMED = (
    f"SELECT JSON_GROUP_ARRAY(JSON_ARRAY("  # noqa: S608
    f"{', '.join(f'CAST({name} AS TEXT)' if name in _TEXTS else name for name in CLAIMED_COLUMNS)}"
    f")) FROM {RUN_TABLE} WHERE status = 'RUNNING' AND worker_id = %s AND fence = %s"
)


class SQLite(Backend):
    """See `Backend`."""

    __slots__ = ()

    array = "JSON_GROUP_ARRAY({})"
    # Or, without ANALYZE, an outcome's statement would scan all outcomes once for every RUNNING run of the table.
    unindexed = "+"
    # The driver lets go of the interpreter's lock for each row that it fetches, and waits for it.
    finished = ""
    # One writer at a time: nothing else needs a lock.
    row_lock = shared_lock = ""

    @property
    def now(self) -> str:
        """See `Words`; SQLite's own clock is this host's too, but stops at milliseconds."""
        return f"'{self._now()}'"

    @property
    def now_as_value(self) -> Statement:
        """See `Words`, and `clocked`."""
        return "%s", [self._now()]

    def _now(self) -> str:
        # Always with its microseconds: times are compared as text.
        return f"{datetime.now(self.zone):%Y-%m-%d %H:%M:%S.%f}"

    def time(self, moment: datetime | None) -> Any:
        """See `Words`."""
        if moment is not None and moment.tzinfo is UTC and self.connection.timezone is UTC:
            # What Django's conversion comes to, without its way there.
            return utc_text(moment)
        return super().time(moment)

    def clocked(self, make: Callable[[Self], Statement]) -> Statement:
        """See `Words`; with its time as a parameter.

        A time that is written into a statement makes it another one each time, which SQLite compiles again:
        220 us of the processor for a claim.
        """
        sql, params = make(cast("Self", _Clocked(self.connection)))
        return f"WITH clock(now) AS (SELECT %s) {sql}", [self._now(), *params]

    def later(self, seconds: float) -> Statement:
        """See `Words`."""
        return "%s", [self.time(datetime.now(UTC) + timedelta(seconds=seconds))]

    def delay(self, seconds: float | None) -> Any:
        """See `Words`; the time itself, since SQLite's own arithmetic stops at milliseconds."""
        return None if seconds is None else self.time(datetime.now(UTC) + timedelta(seconds=seconds))

    def after_delay(self) -> str:
        """See `Words`."""
        return "v.retry_in"

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Words`."""
        # Not VALUES: each number of rows would be a statement of its own in the driver's cache, and the
        # planner takes them for so many that it reads the whole table for a Bloom filter.
        return "JSON_EACH(%s) e", [json.dumps(rows)]

    @classmethod
    def element(cls, index: int, kind: str) -> str:
        """See `Words`."""
        return f"JSON_EXTRACT(e.value, '$[{index}]')"

    def by_index(self, name: str) -> str:
        """See `Words`."""
        return f"INDEXED BY {name}"

    def begin_write(self) -> None:
        """See `Backend`."""
        connection: Any = self.connection
        if connection.transaction_mode in _LOCKING and connection.connection.isolation_level is None:
            # It was taken when Django began the transaction, and not the driver.
            return
        self._execute((f"UPDATE {WORKER_TABLE} SET id = id WHERE 0", []))  # noqa: S608

    def lock_keys(self, keys: Sequence[str]) -> None:
        """See `Limiting`; there is but one lock."""
        self.begin_write()

    def claim(
        self, worker_id: str, fence: int, scope: Scope, limit: int, start: Start | None = None
    ) -> list[ClaimedRun]:
        """See `Claiming`; takes, and then reads what it has taken as one JSON value.

        With RETURNING the driver lets go of the interpreter's lock for each row, and waits for it: 6 us more of
        the processor for each run of a busy worker, of 96.
        """

        def take(words: Self) -> Statement:
            pick, params = words._pick(worker_id, scope, limit)
            return f"{words._take()} WHERE id IN ({pick})", [worker_id, fence, *params]

        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(take))
            return self._read_claimed(cursor, worker_id, fence) if cursor.rowcount else []

    def _claim_of(
        self,
        queues: Sequence[str],
        levels: Sequence[int],
        worker_id: str,
        fence: int,
        scope: Scope,
        limit: int,
    ) -> tuple[list[ClaimedRun], bool]:
        def take(words: Self) -> Statement:
            firsts, params = words._first_of_queues(partial(words._of_queue, worker_id, scope), queues, limit)
            return f"{words._take()} WHERE id IN ({firsts})", [worker_id, fence, *params]

        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(take))
            return (self._read_claimed(cursor, worker_id, fence) if cursor.rowcount else []), True

    def _of_queue(self, worker_id: str, scope: Scope, queue: str) -> Statement:
        where, params = self._ready(worker_id, scope)
        return (
            f"SELECT id, priority, run_after FROM ({_levels('queue_name = %s')}) "  # noqa: S608
            f"CROSS JOIN {RUN_TABLE} INDEXED BY django_jobs_run_queue "
            f"WHERE queue_name = %s AND priority = level AND {where}",
            [queue, queue, queue, *params],
        )

    def _read_claimed(self, cursor: CursorWrapper, worker_id: str, fence: int) -> list[ClaimedRun]:
        cursor.execute(_READ_CLAIMED, [worker_id, fence])
        (rows,) = cursor.fetchone()
        return self._as_claimed(json.loads(rows))

    def follow(
        self, worker_id: str, fence: int, scope: Scope, ended: Mapping[str, tuple[int, int]]
    ) -> list[ClaimedRun]:
        """See `Following`; what may begin is counted where it is taken, and nothing read but what was."""

        def take(words: Self, most: Sequence[tuple[str, int]], count: int) -> Statement:
            source = words.source((("k", "text"), ("most", "int")), most)
            picked, params = words.first_of_each(source, count)
            # Where fewer may begin than have ended, a limit has shrunk: that is left to claims.
            picked += f" AND v.most - {count} >= {words._begun_of('v.k')}"
            condition, names = words._of_worker(worker_id, scope)
            taken = words._take_from_line(RUN_TABLE)
            return f"{taken} WHERE id IN ({picked}) AND {condition}", [worker_id, fence, *params, *names]

        with self.connection.cursor() as cursor:
            for count, keys in by_number((key, count) for key, (_, count) in ended.items()).items():
                most = [(key, ended[key][0]) for key in keys]
                cursor.execute(*self.clocked(partial(take, most=most, count=count)))
            return self._read_claimed(cursor, worker_id, fence)

    def _pick(self, worker_id: str, scope: Scope, limit: int, columns: str = "id") -> Statement:
        # From priority to priority on the index, and in each no further than what is due: neither the runs
        # that are due later are walked, nor those that wait for something else. Without ORDER BY, which would
        # sort all that is due; CROSS JOIN keeps the order of the two.
        where, params = self._ready(worker_id, scope)
        most, names = self._most(scope, limit)
        # In the words of the index's condition.
        return (
            f"SELECT {columns} FROM ({_levels('run_after IS NOT NULL')}) "  # noqa: S608
            f"CROSS JOIN {RUN_TABLE} INDEXED BY django_jobs_run_ready WHERE priority = level AND {where} LIMIT {most}",
            [*params, *names],
        )

    def _most(self, scope: Scope, limit: int) -> Statement:
        # None where none is due: in WHERE that would be asked for each READY row, all of which are walked
        # by their priorities to find nothing.
        some_due, names = self._some_due_of(scope)
        return f"CASE WHEN {some_due} THEN %s ELSE 0 END", [*names, limit]

    def _some_due_of(self, scope: Scope) -> Statement:
        # From name to name on the index of queues, however many runs each has.
        following = f"SELECT MIN(n.queue_name) FROM {RUN_TABLE} n WHERE n.status = 'READY'"  # noqa: S608
        names, params = self._of_queues(scope)
        # Where none is left to others, and none paused, it need not be asked which queue it is of.
        is_any = "" if scope.queues or scope.others else f"NOT EXISTS ({self.paused}) OR "
        return (
            f"{self._some_due} AND ({is_any}EXISTS (WITH RECURSIVE waiting(queue_name) AS ({following} UNION ALL "  # noqa: S608
            f"SELECT ({following} AND n.queue_name > waiting.queue_name) FROM waiting "
            "WHERE waiting.queue_name IS NOT NULL) SELECT 1 FROM waiting "
            f"WHERE EXISTS (SELECT 1 FROM {RUN_TABLE} d WHERE d.status = 'READY' "
            f"AND d.queue_name = waiting.queue_name AND d.run_after <= {self.now}){names}))",
            params,
        )

    def finish(self, rows: Sequence[Row], *, has_keys: bool = True) -> set[Key]:
        """See `Backend`; looks for what is written only where something is missing."""
        with self.connection.cursor() as cursor:
            cursor.execute(*self._finish(rows, has_keys=has_keys))
            is_all = cursor.rowcount == len(rows)
        return {row[:3] for row in rows if is_all or self._is_written(row)}

    def _is_written(self, row: Row) -> bool:
        pk, attempt, fence, worker_id, status, _, started_at = row[:7]
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {RUN_TABLE} WHERE id = %s AND attempt = %s AND COALESCE(fence, 0) = %s "  # noqa: S608
                "AND worker_id = %s AND status = %s AND started_at = %s",
                [pk, attempt, fence, worker_id, status, started_at],
            )
            return cursor.fetchone() is not None


def _levels(where: str) -> str:
    """Select the priorities of READY runs, high first: each is one look into an index."""
    highest = f"SELECT MAX(l.priority) FROM {RUN_TABLE} l WHERE l.status = 'READY' AND l.{where}"  # noqa: S608
    return (
        f"WITH RECURSIVE levels(priority) AS ({highest} UNION ALL SELECT ({highest} AND l.priority < levels.priority) "  # noqa: S608
        f"FROM levels WHERE levels.priority IS NOT NULL) SELECT priority AS level FROM levels LIMIT {_LEVELS}"
    )


class _Clocked(SQLite):
    """The words of statements that `clocked` makes."""

    __slots__ = ()

    now = "(SELECT now FROM clock)"
