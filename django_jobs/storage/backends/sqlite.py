"""SQLite: one writer at a time, so the UPDATE is its own lock; many rows as one JSON parameter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.storage.backends.base import Backend, Row
from django_jobs.storage.backends.claiming import PAUSED
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import RUN_TABLE, WORKER_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun, Key


class SQLite(Backend):
    """See `Backend`."""

    __slots__ = ()

    array = "JSON_GROUP_ARRAY({})"
    # Or it would scan all outcomes once for every RUNNING run of the table.
    unindexed = "+"
    # The driver lets go of the interpreter's lock for each row that it fetches, and waits for it.
    finished = ""

    @property
    def now(self) -> str:
        """See `Words`; SQLite's own clock is this host's too, but stops at milliseconds."""
        return f"'{datetime.now(self.zone):%Y-%m-%d %H:%M:%S.%f}'"

    def time(self, moment: datetime | None) -> Any:
        """See `Words`."""
        if moment is not None and moment.tzinfo is UTC and self.connection.timezone is UTC:
            # What Django's conversion comes to, without its way there.
            return moment.isoformat(" ")[:-6]
        return super().time(moment)

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

    def element(self, index: int, kind: str) -> str:
        """See `Words`."""
        return f"JSON_EXTRACT(e.value, '$[{index}]')"

    def begin_write(self) -> None:
        """See `Backend`."""
        self._execute((f"UPDATE {WORKER_TABLE} SET id = id WHERE 0", []))  # noqa: S608

    def claim(
        self, worker_id: str, fence: int, queues: Sequence[str], others: Sequence[str], limit: int
    ) -> list[ClaimedRun]:
        """See `Claiming`."""
        pick, params = self._pick(worker_id, queues, others, limit)
        return self._fetch_claimed(
            f"{self._take()} WHERE id IN ({pick}) RETURNING {', '.join(CLAIMED_COLUMNS)}",
            [worker_id, fence, *params],
        )

    def _most(self, queues: Sequence[str], others: Sequence[str], limit: int) -> Statement:
        # None where none is due: in WHERE that would be asked for each READY row, all of which are walked
        # by their priorities to find nothing.
        some_due, names = self._some_due_of(queues, others)
        return f"CASE WHEN {some_due} THEN %s ELSE 0 END", [*names, limit]

    def _some_due_of(self, queues: Sequence[str], others: Sequence[str]) -> Statement:
        # From name to name on the index of queues, however many runs each has.
        following = f"SELECT MIN(n.queue_name) FROM {RUN_TABLE} n WHERE n.status = 'READY'"  # noqa: S608
        names, params = self._of_queues(queues, others)
        # Where none is left to others, and none paused, it need not be asked which queue it is of.
        is_any = "" if queues or others else f"NOT EXISTS ({PAUSED}) OR "
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
