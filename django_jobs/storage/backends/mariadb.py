"""MariaDB and MySQL: no UPDATE that returns rows, so claims and fences lock first.

`UTC_TIMESTAMP`, because Django stores UTC there, or what DATABASES has as TIME_ZONE, whatever the
session's time zone is.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import transaction

from django_jobs.storage.backends.base import Backend, Row
from django_jobs.storage.backends.columns import ROLLUP_KEY, ROLLUP_SUMS
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import ROLLUP_TABLE, RUN_TABLE, TASK_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun, Key


# Rows that ids are locked by. Two ids of one row only wait for each other.
_LOCKS = 1000


class MariaDB(Backend):
    """See `Backend`."""

    __slots__ = ()

    array = "JSON_ARRAYAGG({})"
    no_table = "FROM DUAL"
    # A plan that walks the table instead waits for every row that others hold, and two such
    # statements for each other.
    _by_key: ClassVar[str] = "FORCE INDEX (PRIMARY)"

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

    def element(self, index: int, kind: str) -> str:
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

    def lock_runs(self, ids: Sequence[int]) -> None:
        """Lock runs by their keys, in the order of these."""
        for start in range(0, len(ids), 1000):
            some = sorted(ids)[start : start + 1000]
            self._execute(
                (
                    f"SELECT id FROM {RUN_TABLE} {self._by_key} WHERE id IN ({_marks(some)}) "  # noqa: S608
                    "ORDER BY id FOR UPDATE",
                    some,
                )
            )

    def lock_id(self, job_id: str) -> None:
        """See `Backend`; its own locks outlast a transaction, so some rows stand for all ids."""
        # Ids that its collation takes for the same share a row.
        number = zlib.crc32(job_id.casefold().encode()) % _LOCKS
        self._execute(
            (
                # Not INSERT alone: a duplicate leaves a shared lock, and two that have it wait for each other.
                f"INSERT INTO {TASK_TABLE} (name, due_at, state) VALUES (%s, {self.now}, '{{}}') "  # noqa: S608
                "ON DUPLICATE KEY UPDATE due_at = VALUES(due_at)",
                [f"replace-{number}"],
            )
        )

    def claim(
        self, worker_id: str, fence: int, queues: Sequence[str], others: Sequence[str], limit: int
    ) -> list[ClaimedRun]:
        """See `Claiming`; selects and locks, and then takes."""
        pick, params = self._pick(worker_id, queues, others, limit, ", ".join(CLAIMED_COLUMNS))
        with transaction.atomic(using=self.connection.alias):
            runs = self._fetch_claimed(f"{pick} FOR UPDATE SKIP LOCKED", params)
            if runs:
                taken = self._take(f"{RUN_TABLE} {self._by_key}")
                self._execute(
                    (f"{taken} WHERE id IN ({_marks(runs)})", [worker_id, fence, *(run.id for run in runs)])
                )
        for run in runs:
            run.attempt += 1
            run.worker_id = worker_id
            run.fence = fence
        return runs

    def finish(self, rows: Sequence[Row], *, has_keys: bool = True) -> set[Key]:
        """See `Backend`."""
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, attempt, COALESCE(fence, 0), worker_id, cancel_requested FROM {RUN_TABLE} {self._by_key} "  # noqa: S608
                f"WHERE id IN ({_marks(rows)}) AND status = 'RUNNING' FOR UPDATE",
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
            f"VALUES {','.join([f'({_marks(columns)})'] * len(rows))} ON DUPLICATE KEY UPDATE {sums}"
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


def _marks(values: Sequence[Any]) -> str:
    return ",".join(["%s"] * len(values))
