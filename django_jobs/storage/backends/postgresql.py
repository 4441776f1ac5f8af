"""PostgreSQL: SKIP LOCKED, and many rows as one JSON parameter."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from django_jobs.storage.backends.by_queue import CLAIM_ORDER, ByQueue, enough
from django_jobs.storage.backends.claiming import claimed_run
from django_jobs.storage.backends.postgresql_lines import CLAIMED, Hinted, PostgreSQLLines, planning
from django_jobs.storage.backends.values import utc_text
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.base import Row
    from django_jobs.storage.backends.claiming import Scope, Start
    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun, Key

# What outcomes never take, and each of them more, unless they pass the index entries of some ten thousands of runs
# that this worker ended before; and how long they are written by their ids alone then.
SLOW_SECONDS, SLOW_SECONDS_PER_RUN, BY_ID_SECONDS = 0.01, 0.0001, 60.0
# By alias of the database, until when.
by_id_until: dict[str, float] = {}
# What a plan does that reads more runs than those whose ids it has.
_JOINED = ("seqscan", "bitmapscan", "hashjoin", "mergejoin")


class _ByQueue(Hinted, ByQueue):
    """See `ByQueue`."""

    __slots__ = ()

    def _served(self, scope: Scope) -> tuple[list[str], Sequence[int]]:
        queues, params = self._select_served(scope)
        first = f"SELECT l.priority FROM {RUN_TABLE} l WHERE l.status = 'READY' AND l.run_after IS NOT NULL"  # noqa: S608
        order = "ORDER BY l.priority DESC, l.run_after, l.id LIMIT 1"
        levels = (
            f"WITH RECURSIVE levels(priority) AS (SELECT ({first} {order}) UNION ALL SELECT ("  # noqa: S608
            f"{first} AND l.priority < levels.priority {order}) FROM levels WHERE levels.priority IS NOT NULL) "
            "SELECT priority FROM levels WHERE priority IS NOT NULL"
        )
        # As for a claim.
        hints = planning("off", "sort", "bitmapscan") if self.is_hinted else ""
        with self.connection.cursor() as cursor:
            cursor.execute(f"{hints}SELECT ARRAY({queues}), ARRAY({levels})", params)
            while cursor.nextset():
                continue
            found, priorities = cursor.fetchone()
        return found, priorities

    def _claim_of(
        self,
        queues: Sequence[str],
        levels: Sequence[int],
        worker_id: str,
        fence: int,
        scope: Scope,
        limit: int,
    ) -> tuple[list[ClaimedRun], bool]:
        where, params = self._ready(worker_id, scope)
        more, names = self._within(scope)
        most = enough(limit)
        # Two columns at a time: or the planner takes the index of what is due, since their condition implies its
        # own, and passes all that is due in other queues.
        of_queue = (
            f"SELECT id, run_after FROM {RUN_TABLE} WHERE status = 'READY' AND queue_name = q.name "  # noqa: S608
            f"AND priority = l.level AND (run_after, id) <= ({self.now}, 9223372036854775807){more} "
            "ORDER BY run_after, id LIMIT %s"
        )
        # What looks dear is not compiled: that takes longer than the claim.
        # And each queue is read in the order of its own index, whatever the statistics say: all others need a sort.
        hints = planning("off", "sort", "incremental_sort", "bitmapscan", "seqscan")
        hints = f"SELECT set_config('jit', 'off', true); {hints}" if self.is_hinted else ""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{hints}WITH found AS MATERIALIZED (SELECT f.id FROM UNNEST(%s::smallint[]) l(level) "  # noqa: S608
                f"CROSS JOIN LATERAL (SELECT r.id FROM UNNEST(%s::text[]) q(name) CROSS JOIN LATERAL ({of_queue}) r "
                "ORDER BY r.run_after, r.id LIMIT %s) f LIMIT %s), "
                # By their ids: no index has this condition.
                f"picked AS MATERIALIZED (SELECT id FROM {RUN_TABLE} WHERE id = ANY(ARRAY(SELECT id FROM found)) "
                f"AND '' || {where} {CLAIM_ORDER} LIMIT %s FOR UPDATE SKIP LOCKED), "
                f"taken AS ({self._take()} FROM picked WHERE {RUN_TABLE}.id = picked.id RETURNING {CLAIMED}) "
                "SELECT (SELECT COUNT(*) FROM found), taken.* FROM (SELECT 1) one LEFT JOIN taken ON TRUE",
                [list(levels), list(queues), *names, most, most, most, *params, limit, worker_id, fence],
            )
            while cursor.nextset():
                continue
            rows = cursor.fetchall()
        runs = [claimed_run(row[1:]) for row in rows if row[1] is not None]
        return runs, len(runs) == limit or rows[0][0] < most


class PostgreSQL(_ByQueue, PostgreSQLLines):
    """See `Backend`."""

    __slots__ = ()

    json = "%s::jsonb"
    array = "JSON_AGG({})"
    pair = "JSON_BUILD_ARRAY({})"
    can_start = True

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
        return "JSON_ARRAY_ELEMENTS(%s::json) AS e", [json.dumps(rows, default=_text)]

    @classmethod
    def element(cls, index: int, kind: str) -> str:
        """See `Words`."""
        return f"(e->>{index})::{kind}"

    @classmethod
    def constant(cls, kind: str) -> str:
        """See `Words`."""
        return f"%s::{kind}"

    def lock_id(self, job_id: str) -> None:
        """See `Backend`."""
        number = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8], signed=True)
        self._execute(("SELECT pg_advisory_xact_lock(%s)", [number]))

    def lock_keys(self, keys: Sequence[str]) -> None:
        """See `Limiting`."""
        # In one order, or two that share two keys wait for each other.
        numbers = sorted({int.from_bytes(bytes.fromhex(key)[:8], signed=True) for key in keys})
        for number in numbers:
            self._execute(("SELECT pg_advisory_xact_lock(%s)", [number]))

    def finish(self, rows: Sequence[Row], *, has_keys: bool = True) -> set[Key]:
        """See `Backend`.

        The planner takes the few runs that a worker has for the shortest way, and does not know of the entries
        that PostgreSQL keeps while a transaction is open that could see them.
        """
        began, alias = monotonic(), self.connection.alias
        if began < by_id_until.get(alias, 0.0) and self.is_hinted:
            return self._finish_by_id(rows, has_keys=has_keys)
        written = super().finish(rows, has_keys=has_keys)
        if monotonic() - began > SLOW_SECONDS + SLOW_SECONDS_PER_RUN * len(rows):
            by_id_until[alias] = began + BY_ID_SECONDS
        return written

    def _finish_by_id(self, rows: Sequence[Row], *, has_keys: bool) -> set[Key]:
        # No partial index has this condition, and nothing but a nested loop goes by the primary key.
        statement, params = self._finish(rows, has_keys=has_keys, unindexed="'' || ")
        with self.connection.cursor() as cursor:
            cursor.execute(f"{planning('off', *_JOINED)}{statement}; {planning('on', *_JOINED)}", params)
            cursor.nextset()
            return set(cursor.fetchall())

    def count_unfinished(self, job_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """See `Backend`; by the index, job by job.

        With all ids in one condition the planner prefers to read a table of up to some ten thousand runs whole:
        a tenth of a firing.
        """
        source, params = self.source((("k", "text"),), [(job_id,) for job_id in job_ids])
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT v.k, c.unfinished, c.waiting FROM ({source}) v CROSS JOIN LATERAL ("  # noqa: S608
                "SELECT COUNT(*) AS unfinished, COUNT(CASE WHEN r.waits_for = 'turn' THEN 1 END) AS waiting "
                f"FROM {RUN_TABLE} r WHERE r.job_id = v.k AND r.status IN ('READY', 'RUNNING')) c "
                "WHERE c.unfinished > 0",
                params,
            )
            return {job_id: (count, waiting) for job_id, count, waiting in cursor.fetchall()}

    def claim(
        self, worker_id: str, fence: int, scope: Scope, limit: int, start: Start | None = None
    ) -> list[ClaimedRun]:
        """See `Claiming`."""
        if start is None:
            pick, params = self._pick(worker_id, scope, limit)
            # Materialized: a plan that runs the locked select once per row would take more than the limit.
            pick = f"picked AS MATERIALIZED ({pick} FOR UPDATE SKIP LOCKED)"
        else:
            pick, params = self._pick_from(start, worker_id, scope, limit)
        is_hinted = self.is_hinted
        # To statistics older than a backlog READY rows are few, and sorting all of them looks cheap:
        # each claim would read the whole queue.
        hints = planning("off", "sort", "bitmapscan") if is_hinted else ""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{hints}WITH {pick} {self._take()} "
                f"FROM picked WHERE {RUN_TABLE}.id = picked.id RETURNING {CLAIMED}",
                [*params, worker_id, fence],
            )
            if is_hinted:
                # The claim's own rows come last.
                while cursor.nextset():
                    continue
            return [claimed_run(row) for row in cursor.fetchall()]

    def _pick_from(self, start: Start, worker_id: str, scope: Scope, limit: int) -> Statement:
        """Select what a claim takes whose walk of one priority begins at a time; higher ones are walked whole."""
        where, params = self._ready(worker_id, scope)
        select = f"SELECT id FROM {RUN_TABLE} WHERE {where} AND"  # noqa: S608
        most = "(SELECT most FROM due)"
        return (
            f"due AS MATERIALIZED (SELECT {self._due(f'{self.now} AND d.run_after >= %s')} AS most), "  # noqa: S608
            f"higher AS MATERIALIZED ({select} priority > %s ORDER BY priority DESC, run_after, id LIMIT {most} "
            f"FOR UPDATE SKIP LOCKED), same AS MATERIALIZED ({select} priority = %s AND run_after >= %s "
            f"ORDER BY run_after, id LIMIT {most} - (SELECT COUNT(*) FROM higher) FOR UPDATE SKIP LOCKED), "
            "picked AS MATERIALIZED (SELECT id FROM higher UNION ALL SELECT id FROM same)",
            [start.since, limit, *params, start.priority, *params, start.priority, start.since],
        )

    def _most(self, scope: Scope, limit: int) -> Statement:
        # Read once, before any row: a claim walks the READY rows by their priorities, and would go on through
        # all that are deferred behind those that are due.
        return self._due(self.now), [limit]

    @staticmethod
    def _due(until: str) -> str:
        # In the order of their times, which only the index of those has.
        return (
            f"(SELECT COUNT(*) FROM (SELECT 1 FROM {RUN_TABLE} d WHERE d.status = 'READY' "  # noqa: S608
            f"AND d.run_after <= {until} ORDER BY d.run_after LIMIT %s) AS due)"
        )


def _text(value: object) -> str:
    if type(value) is datetime and value.tzinfo is UTC:
        return f"{utc_text(value)}+00:00"
    return str(value)
