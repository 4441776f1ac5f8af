"""The same work with the driver's statements alone: what the table and this Python allow.

Nothing here is fenced, leased, counted, logged or tried again; one process has the table to itself.
"""

from __future__ import annotations

import json
import queue
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import connection

from django_jobs import codec
from django_jobs.models import Run
from tests.benchmarks import rows, work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Runs of one claim, and of one statement of outcomes.
BATCH = 200
TABLE = Run._meta.db_table
FUNCTIONS = {"tests.benchmarks.work:nothing": work.nothing}
INSERTED = (
    "job_id", "name", "func", "payload", "signature", "queue_name", "priority", "kind", "status", "run_after",
    "enqueued_at", "attempt", "rescues", "cancel_requested", "worker_id", "error", "log",
)  # fmt: skip
_PICK = (
    f"SELECT id FROM {TABLE} WHERE status = 'READY' AND run_after <= {{now}} "
    f"ORDER BY priority DESC, run_after, id LIMIT {BATCH}"
)
_TAKE = (
    f"UPDATE {TABLE} SET status = 'RUNNING', attempt = attempt + 1, worker_id = 'floor', started_at = {{now}}"
)


def raw_connection() -> Any:
    """Return the driver's connection, in autocommit: no cursor of Django's is in between."""
    connection.ensure_connection()
    return connection.connection


def drain(count: int, threads: int = 10) -> None:
    """Claim runs, decode their arguments, call their function on threads, and write what they came to."""
    claimed: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, datetime, datetime]] = queue.SimpleQueue()
    callers = [threading.Thread(target=_call_all, args=(claimed, ended)) for _ in range(threads)]
    for caller in callers:
        caller.start()
    claim, finish = STATEMENTS[connection.vendor]
    raw = raw_connection()
    left = count
    while left:
        runs = claim(raw)
        for run in runs:
            claimed.put(run)
        finish(raw, [ended.get() for _ in runs])
        left -= len(runs)
    for _ in callers:
        claimed.put(None)
    for caller in callers:
        caller.join()


def _call_all(
    claimed: queue.SimpleQueue[tuple[Any, ...] | None],
    ended: queue.SimpleQueue[tuple[int, datetime, datetime]],
) -> None:
    while (run := claimed.get()) is not None:
        began_at = datetime.now(UTC)
        run_id, func, payload = run
        args, kwargs = codec.load_arguments(payload)
        FUNCTIONS[func](*args, **kwargs)
        ended.put((run_id, began_at, datetime.now(UTC)))


def _now() -> str:
    return f"'{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}'"


def _claim_sqlite(raw: Any) -> list[tuple[Any, ...]]:
    now = _now()
    rows: list[tuple[Any, ...]] = raw.execute(
        f"{_TAKE.format(now=now)} WHERE id IN ({_PICK.format(now=now)}) RETURNING id, func, payload"
    ).fetchall()
    return rows


def _finish_sqlite(raw: Any, outcomes: Iterable[tuple[int, datetime, datetime]]) -> None:
    rows = [(pk, began.isoformat(" ")[:-6], end.isoformat(" ")[:-6]) for pk, began, end in outcomes]
    raw.execute(
        f"UPDATE {TABLE} SET status = 'SUCCESSFUL', started_at = e.value->>1, finished_at = e.value->>2 "
        f"FROM JSON_EACH(?) e WHERE {TABLE}.id = e.value->>0",
        [json.dumps(rows)],
    )


def _claim_postgresql(raw: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = raw.execute(
        f"WITH picked AS MATERIALIZED ({_PICK.format(now='NOW()')} FOR UPDATE SKIP LOCKED) "
        f"{_TAKE.format(now='NOW()')} FROM picked WHERE {TABLE}.id = picked.id "
        f"RETURNING {TABLE}.id, {TABLE}.func, {TABLE}.payload"
    ).fetchall()
    return rows


def _finish_postgresql(raw: Any, outcomes: Iterable[tuple[int, datetime, datetime]]) -> None:
    raw.execute(
        f"UPDATE {TABLE} SET status = 'SUCCESSFUL', started_at = (e->>1)::timestamptz, "
        f"finished_at = (e->>2)::timestamptz FROM JSON_ARRAY_ELEMENTS(%s::json) AS e "
        f"WHERE {TABLE}.id = (e->>0)::bigint",
        [json.dumps(list(outcomes), default=str)],
    )


def _claim_mysql(raw: Any) -> list[tuple[Any, ...]]:
    cursor, now = raw.cursor(), "UTC_TIMESTAMP(6)"
    cursor.execute("BEGIN")
    pick = _PICK.replace("SELECT id", "SELECT id, func, payload").format(now=now)
    cursor.execute(f"{pick} FOR UPDATE SKIP LOCKED")
    rows: list[tuple[Any, ...]] = list(cursor.fetchall())
    if rows:
        ids = ",".join(str(row[0]) for row in rows)
        cursor.execute(f"{_TAKE.format(now=now)} WHERE id IN ({ids})")
    cursor.execute("COMMIT")
    return rows


def _finish_mysql(raw: Any, outcomes: Sequence[tuple[int, datetime, datetime]]) -> None:
    rest = " UNION ALL SELECT %s, %s, %s" * (len(outcomes) - 1)
    raw.cursor().execute(
        f"UPDATE (SELECT %s AS id, %s AS began, %s AS ended{rest}) v STRAIGHT_JOIN {TABLE} "
        f"FORCE INDEX (PRIMARY) ON {TABLE}.id = v.id "
        f"SET {TABLE}.status = 'SUCCESSFUL', {TABLE}.started_at = v.began, {TABLE}.finished_at = v.ended",
        [value for outcome in outcomes for value in outcome],
    )


STATEMENTS = {
    "sqlite": (_claim_sqlite, _finish_sqlite),
    "postgresql": (_claim_postgresql, _finish_postgresql),
    "mysql": (_claim_mysql, _finish_mysql),
}


def inserted_row() -> list[Any]:
    """Return the values of `INSERTED` of one more run, as the driver takes them."""
    fields = rows.bare_run()
    now = connection.ops.adapt_datetimefield_value(fields["run_after"])
    return [*list(fields.values())[:9], now, now, 0, 0, False, "", "", ""]


def insert_many(runs: Iterable[Sequence[Any]]) -> None:
    """Insert rows of `INSERTED`, as the driver's `executemany` does it, in one transaction."""
    cursor = raw_connection().cursor()
    cursor.execute("BEGIN")
    cursor.executemany(insert_statement(), list(runs))
    cursor.execute("COMMIT")


def insert_statement() -> str:
    """Return the statement that inserts one row of `INSERTED`."""
    mark = "?" if connection.vendor == "sqlite" else "%s"
    return f"INSERT INTO {TABLE} ({', '.join(INSERTED)}) VALUES ({','.join([mark] * len(INSERTED))})"
