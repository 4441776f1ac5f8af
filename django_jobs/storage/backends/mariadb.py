"""MariaDB and MySQL: no UPDATE that returns rows, so claims and fences lock first.

`UTC_TIMESTAMP`, because Django stores UTC there, or what DATABASES has as TIME_ZONE, whatever the
session's time zone is.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from django_jobs.storage.backends.by_queue import CLAIM_ORDER, enough
from django_jobs.storage.backends.columns import ROLLUP_KEY, ROLLUP_SUMS
from django_jobs.storage.backends.levels import priorities, ready_queues
from django_jobs.storage.backends.mariadb_lines import BY_KEY, MariaDBLines, as_taken, marks
from django_jobs.storage.backends.words import Words
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import ROLLUP_TABLE, RUN_TABLE, TASK_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.base import Row
    from django_jobs.storage.backends.claiming import Scope, Start
    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun, Key, NewRun
    from django_jobs.storage.unique_keys import Holder


# Rows that ids are locked by. Two ids of one row only wait for each other.
_LOCKS = 1000
# The number of a key that another row has.
_DUPLICATE = 1062


class _Dialect(Words):
    """See `Words`."""

    __slots__ = ()

    array = "JSON_ARRAYAGG({})"
    concat = "CONCAT({}, {}, {})"
    _by_key = BY_KEY

    @property
    def now(self) -> str:
        """See `Words`."""
        if self.zone is UTC:
            return "UTC_TIMESTAMP(6)"
        # The server may not know the names of zones.
        offset = datetime.now(UTC).astimezone(self.zone).utcoffset() or timedelta()
        return f"(UTC_TIMESTAMP(6) + INTERVAL {int(offset.total_seconds())} SECOND)"

    def later(self, seconds: float) -> Statement:
        """See `Words`."""
        return f"{self.now} + INTERVAL %s MICROSECOND", [int(seconds * 1_000_000)]

    def after_delay(self) -> str:
        """See `Words`."""
        return f"{self.now} + INTERVAL ROUND(v.retry_in * 1000000) MICROSECOND"

    @classmethod
    def element(cls, index: int, kind: str) -> str:
        """See `Words`."""
        return f"e.v{index}"

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Words`; before 10.6 there is no JSON_TABLE."""
        # At least one column: rows may have everything in common.
        width = max(1, len(rows[0]))
        first = "SELECT " + ", ".join(f"%s AS v{index}" for index in range(width))
        others = "SELECT " + ", ".join(["%s"] * width)
        union = " UNION ALL ".join([first, *[others] * (len(rows) - 1)])
        return f"({union}) e", [value for row in rows for value in (row or [None])]

    def update(
        self,
        table: str,
        changes: Sequence[tuple[str, str]],
        source: Statement,
        where: str,
        returning: str = "",
    ) -> Statement:
        """See `Words`; nothing is returned."""
        rows, params = source
        assignments = ", ".join(f"{table}.{column} = {value}" for column, value in changes)
        return (
            f"UPDATE ({rows}) v STRAIGHT_JOIN {table} {self._by_key} ON {where} "  # noqa: S608
            f"SET {assignments}",
            params,
        )


class MariaDB(_Dialect, MariaDBLines):
    """See `Backend`."""

    __slots__ = ()

    no_table = "FROM DUAL"
    shared_lock = "LOCK IN SHARE MODE"

    def lock_runs(self, ids: Sequence[int]) -> None:
        """Lock runs by their keys, in the order of these."""
        for start in range(0, len(ids), 1000):
            some = sorted(ids)[start : start + 1000]
            self._execute(
                (
                    f"SELECT id FROM {RUN_TABLE} {self._by_key} WHERE id IN ({marks(some)}) "  # noqa: S608
                    "ORDER BY id FOR UPDATE",
                    some,
                )
            )

    def lock_id(self, job_id: str) -> None:
        """See `Backend`; its own locks outlast a transaction, so some rows stand for all ids."""
        # Ids that its collation takes for the same share a row.
        self._lock(f"replace-{zlib.crc32(job_id.casefold().encode()) % _LOCKS}")

    def _lock(self, name: str) -> None:
        self._execute(
            (
                # Not INSERT alone: a duplicate leaves a shared lock, and two that have it wait for each other.
                f"INSERT INTO {TASK_TABLE} (name, due_at, state) VALUES (%s, {self.now}, '{{}}') "  # noqa: S608
                "ON DUPLICATE KEY UPDATE due_at = VALUES(due_at)",
                [name],
            )
        )

    def lock_keys(self, keys: Sequence[str]) -> None:
        """See `Limiting`; rows as those of ids, but none that a caller's long transaction may hold."""
        for number in sorted({int(key[:8], 16) % _LOCKS for key in keys}):
            self._lock(f"limit-{number}")

    def insert_unless_taken(self, run: NewRun) -> int | None:
        """See `Backend`.

        A duplicate leaves a lock of the other row's entry in the index, on which the end of that run would
        wait for the caller's transaction. So there it is looked for first; the index decides as before.
        """
        if self.connection.in_atomic_block and self.holder_of(str(run.unique_key)) is not None:
            return None
        try:
            (run_id,) = self.insert([run])
        except IntegrityError as error:
            if error.args[0] != _DUPLICATE:
                raise
            return None
        return run_id

    def lock_holder(self, unique_key: str, *, is_shared: bool) -> Holder | None:
        """See `Backend`; by the primary key, as workers lock."""
        run_id = self._waiting(unique_key)
        if run_id is None:
            # What the next statement does not find it locks nevertheless, and the run's end would wait for it.
            return None
        lock = self.shared_lock if is_shared else self.row_lock
        condition = "id = %s AND unique_key = %s AND status = 'READY'"
        return self._holder(condition, [run_id, unique_key], lock, self._by_key)

    def _waiting(self, unique_key: str) -> int | None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {RUN_TABLE} WHERE unique_key = %s AND status = 'READY'",  # noqa: S608
                [unique_key],
            )
            row = cursor.fetchone()
        return None if row is None else row[0]

    def _pick(self, worker_id: str, scope: Scope, limit: int, columns: str = "id") -> Statement:
        # For each priority the range of what is due, in the order of the index. Left to itself the planner takes,
        # as statistics have it, either an index with all that sleeps or waits in it (1.5 s beside 100,000 such
        # runs), or sorts all that is due.
        index = "django_jobs_run_queue" if len(scope.queues) == 1 else "django_jobs_run_ready"
        where, params = self._ready(worker_id, scope)
        levels = ",".join(map(str, priorities(self.connection)))
        return (
            f"SELECT {columns} FROM {RUN_TABLE} FORCE INDEX ({index}) WHERE priority IN ({levels}) AND {where} "  # noqa: S608
            "ORDER BY priority DESC, run_after, id LIMIT %s",
            [*params, limit],
        )

    def claim(
        self, worker_id: str, fence: int, scope: Scope, limit: int, start: Start | None = None
    ) -> list[ClaimedRun]:
        """See `Claiming`; selects and locks, and then takes."""
        pick, params = self._pick(worker_id, scope, limit, ", ".join(CLAIMED_COLUMNS))
        with transaction.atomic(using=self.connection.alias):
            runs = self._fetch_claimed(f"{pick} FOR UPDATE SKIP LOCKED", params)
            return self._taken(runs, worker_id, fence)

    def _served(self, scope: Scope) -> tuple[list[str], Sequence[int]]:
        return ready_queues(self.connection, *self._of_queues(scope)), priorities(self.connection)

    def _claim_of(
        self,
        queues: Sequence[str],
        levels: Sequence[int],
        worker_id: str,
        fence: int,
        scope: Scope,
        limit: int,
    ) -> tuple[list[ClaimedRun], bool]:
        # More than it takes, of which others lock some.
        most = enough(limit)
        where, params = self._ready(worker_id, scope)
        of_queue = (
            f"SELECT id, priority, run_after FROM {RUN_TABLE} FORCE INDEX (django_jobs_run_queue) "  # noqa: S608
            f"WHERE queue_name = %s AND priority IN ({','.join(map(str, levels))}) AND {where} {CLAIM_ORDER}"
        )
        with self.connection.cursor() as cursor:
            cursor.execute(*self._first_of_queues(lambda queue: (of_queue, [queue, *params]), queues, most))
            ids = [row[0] for row in cursor.fetchall()]
        runs: list[ClaimedRun] = []
        with transaction.atomic(using=self.connection.alias):
            # First no more than it takes: what it locks, others pass over.
            for some in (ids[:limit], ids[limit:]):
                if some and len(runs) < limit:
                    picked = (
                        f"SELECT {', '.join(CLAIMED_COLUMNS)} FROM {RUN_TABLE} {self._by_key} "  # noqa: S608
                        f"WHERE id IN ({marks(some)}) AND {where} {CLAIM_ORDER} LIMIT %s FOR UPDATE SKIP LOCKED"
                    )
                    runs += self._fetch_claimed(picked, [*some, *params, limit - len(runs)])
            return self._taken(runs, worker_id, fence), len(runs) == limit or len(ids) < most

    def _taken(self, runs: list[ClaimedRun], worker_id: str, fence: int) -> list[ClaimedRun]:
        """Take runs that are locked, and return them as that leaves them."""
        if runs:
            taken = self._take(f"{RUN_TABLE} {self._by_key}")
            self._execute(
                (f"{taken} WHERE id IN ({marks(runs)})", [worker_id, fence, *(run.id for run in runs)])
            )
        return as_taken(runs, worker_id, fence)

    def finish(self, rows: Sequence[Row], *, has_keys: bool = True) -> set[Key]:
        """See `Backend`."""
        # What fails here undoes what it is part of, so that needs no savepoint.
        with transaction.atomic(self.connection.alias, savepoint=False), self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, attempt, COALESCE(fence, 0), worker_id, cancel_requested FROM {RUN_TABLE} {self._by_key} "  # noqa: S608
                f"WHERE id IN ({marks(rows)}) AND status = 'RUNNING' FOR UPDATE",
                [row[0] for row in rows],
            )
            is_asked_to_stop = {row[:4]: row[4] for row in cursor.fetchall()}
            ours = [
                row
                for row in rows
                if row[:4] in is_asked_to_stop and not (is_asked_to_stop[row[:4]] and row[4] == "READY")
            ]
            if ours:
                cursor.execute(*self._finish(ours, has_keys=has_keys))
        return {row[:3] for row in ours}

    def add_rollups(self, rows: Sequence[Row]) -> None:
        """See `Backend`."""
        columns = [name for name, _ in (*ROLLUP_KEY, *ROLLUP_SUMS)]
        sums = ", ".join(f"{name} = {name} + VALUES({name})" for name, _ in ROLLUP_SUMS)
        statement = (
            f"INSERT INTO {ROLLUP_TABLE} ({', '.join(columns)}) "  # noqa: S608
            f"VALUES {','.join([f'({marks(columns)})'] * len(rows))} ON DUPLICATE KEY UPDATE {sums}"
        )
        self._execute((statement, [value for row in rows for value in row]))

    def heartbeat(
        self, worker_id: str, host: str, *, lease_seconds: float, has_clock: bool, future: float
    ) -> Row | None:
        """See `Backend`."""
        state, params = self._state(worker_id, host, has_clock=has_clock, future=future)
        with self.connection.cursor() as cursor:
            cursor.execute(*self._beat(worker_id, lease_seconds))
            if not cursor.rowcount:
                return None
            cursor.execute(f"SELECT {state}", params)
            row: Row | None = cursor.fetchone()
        return row
