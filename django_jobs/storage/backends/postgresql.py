"""PostgreSQL: SKIP LOCKED, and many rows as one JSON parameter."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django_jobs.storage.backends.base import Backend
from django_jobs.storage.backends.claiming import claimed_run
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun

_CLAIMED = ", ".join(f"{RUN_TABLE}.{column}" for column in CLAIMED_COLUMNS)


class PostgreSQL(Backend):
    """See `Backend`."""

    __slots__ = ()

    json = "%s::jsonb"
    array = "JSON_AGG({})"
    pair = "JSON_BUILD_ARRAY({})"

    @property
    def now(self) -> str:
        """See `Words`."""
        return "STATEMENT_TIMESTAMP()"

    def later(self, seconds: float) -> Statement:
        """See `Words`."""
        return f"{self.now} + %s * INTERVAL '1 second'", [seconds]

    def after_delay(self) -> str:
        """See `Words`."""
        return f"{self.now} + v.retry_in * INTERVAL '1 second'"

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Words`."""
        # One text: arrays cost the driver ten times as much a row, on the interpreter's lock.
        return "JSON_ARRAY_ELEMENTS(%s::json) AS e", [json.dumps(rows, default=str)]

    def element(self, index: int, kind: str) -> str:
        """See `Words`."""
        return f"(e->>{index})::{kind}"

    def constant(self, kind: str) -> str:
        """See `Words`."""
        return f"%s::{kind}"

    def lock_id(self, job_id: str) -> None:
        """See `Backend`."""
        number = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8], signed=True)
        self._execute(("SELECT pg_advisory_xact_lock(%s)", [number]))

    def claim(
        self, worker_id: str, fence: int, queues: Sequence[str], others: Sequence[str], limit: int
    ) -> list[ClaimedRun]:
        """See `Claiming`."""
        pick, params = self._pick(worker_id, queues, others, limit)
        is_hinted = self.is_hinted
        # To statistics older than a backlog READY rows are few, and sorting all of them looks cheap:
        # each claim would read the whole queue.
        hints = _without("sort", "bitmapscan") if is_hinted else ""
        with self.connection.cursor() as cursor:
            cursor.execute(
                # Materialized: a plan that runs the locked select once per row would take more than the limit.
                f"{hints}WITH picked AS MATERIALIZED ({pick} FOR UPDATE SKIP LOCKED) {self._take()} "
                f"FROM picked WHERE {RUN_TABLE}.id = picked.id RETURNING {_CLAIMED}",
                [*params, worker_id, fence],
            )
            if is_hinted:
                # The claim's own rows come last.
                while cursor.nextset():
                    continue
            return [claimed_run(row) for row in cursor.fetchall()]

    def _ready(self, worker_id: str, queues: Sequence[str], others: Sequence[str]) -> Statement:
        # Decided once, before any row: a claim walks the READY rows by their priorities, and would walk
        # all of them to find that none is due.
        where, params = super()._ready(worker_id, queues, others)
        return f"{self._some_due} AND {where}", params

    @property
    def is_hinted(self) -> bool:
        """Whether two statements can be sent as one: not with psycopg 2, nor as a prepared statement."""
        options = self.connection.settings_dict["OPTIONS"]
        driver = self.connection.Database.__name__  # type: ignore[attr-defined] # psycopg's wrapper has it
        return driver == "psycopg" and not options.get("server_side_binding")


def _without(*plans: str) -> str:
    """Words before a statement that forbid the planner some plans for it, in the same round trip.

    As by SET LOCAL: over with the transaction, so a transaction pooler's next client sees nothing.
    """
    forbidden = ", ".join(f"set_config('enable_{plan}', 'off', true)" for plan in plans)
    return f"SELECT {forbidden}; "
