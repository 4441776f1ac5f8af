"""Claim and finish while a transaction is held open, and after it; tables as they are, and tuned. PostgreSQL only."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from django.db import connection, connections

from django_jobs.models import Run
from django_jobs.storage import table_health
from django_jobs.storage.backends.postgresql import by_id_until
from django_jobs.storage.claim_start import ClaimStart
from tests.benchmarks import rows
from tests.benchmarks.figures import Figure
from tests.benchmarks.measures.history import grow
from tests.many_rows import copy_row

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLE = Run._meta.db_table
BATCH = 200
# Runs that end under a held snapshot while it is counted what a claim and its outcomes read.
ENDED = 50_000
ALIASES = {"default": "as it is", "grown": "tuned"}


def measure(*, quick: bool) -> list[Figure]:
    """Measure microseconds a run, in batches of 200, the two databases in turns."""
    if connections["default"].vendor != "postgresql":
        return []
    figures = _reads()
    history, held, after = (50_000, 10.0, 20.0) if quick else (1_000_000, 60.0, 80.0)
    for alias in ALIASES:
        grow(history, alias=alias)
        rows.analyze(alias)
    table_health.apply(using="grown")
    workers = {alias: rows.live_worker(alias) for alias in ALIASES}
    figures += [_figures("before", _turns(workers, 3.0))]
    holders = {alias: _hold(alias) for alias in ALIASES}
    figures += [
        _figures(f"after {held / 2 * part:.0f} s of a held snapshot", _last(_turns(workers, held / 2)))
        for part in (1, 2)
    ]
    for holder in holders.values():
        holder.rollback()
        holder.close()
    figures += [
        _figures(f"{after / 2 * part:.0f} s after its end", _last(_turns(workers, after / 2)))
        for part in (1, 2)
    ]
    return [*figures, *_shares()]


def _reads() -> list[Figure]:
    """Count the pages that statements read beside an empty table, and after runs have ended under a snapshot."""
    worker_id = rows.live_worker("default")
    rows.claim_and_finish(worker_id, BATCH, "default")
    figures = [*_read_by(worker_id, 0, ClaimStart())]
    holder = _hold("default")
    for part in (1, 2):
        copy_row(Run.objects.create(**rows.bare_run(), attempt=0, rescues=0), ENDED - 1)
        runs = Run.objects.filter(status="READY")
        runs.update(status="RUNNING", worker_id=worker_id)
        Run.objects.filter(status="RUNNING").update(status="SUCCESSFUL")
        figures += _read_by(worker_id, part * ENDED, ClaimStart())
        by_id_until.clear()
    holder.rollback()
    holder.close()
    rows.forget_runs()
    return figures


def _read_by(worker_id: str, ended: int, start: ClaimStart) -> Iterator[Figure]:
    pages: dict[str, int] = {}

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # The planner is told something before a statement, and after it.
        parts = sql.split("; ")
        at = next((index for index, part in enumerate(parts) if f"UPDATE {_TABLE} SET" in part), None)
        if at is not None:
            what = "a claim" if "attempt = attempt + 1" in parts[at] else "outcomes"
            parts[at] = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {parts[at]}"
            with connection.connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("; ".join(parts), params)
                for _ in range(at):
                    cursor.nextset()
                (((plan,),),) = cursor.fetchall()
                cursor.execute("ROLLBACK")
            plan = json.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan["Plan"]
            pages[what] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return execute(sql, params, many, context)

    # The first that are slow are asked as ever.
    for words in ("the first", "the next"):
        with connection.execute_wrapper(explain):
            rows.claim_and_finish(worker_id, BATCH, "default", start)
        yield from (
            Figure(
                name=f"{what} of {BATCH}, {words}, {ended:,} ended since a snapshot",
                unit="pages",
                values=[float(count)],
            )
            for what, count in pages.items()
        )


def _hold(alias: str) -> Any:
    """Open a transaction that sees the rows as they are now."""
    made = connections.create_connection(alias)
    made.set_autocommit(False)
    with made.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(f"SELECT COUNT(*) FROM {Run._meta.db_table} WHERE id < 10")
    return made


def _turns(workers: dict[str, str], seconds: float) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {alias: [] for alias in workers}
    starts = {alias: ClaimStart() for alias in workers}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for alias, worker_id in workers.items():
            claimed, finished = rows.claim_and_finish(worker_id, BATCH, alias, starts[alias])
            taken[alias].append((claimed + finished) / BATCH * 1e6)
    return taken


def _last(taken: dict[str, list[float]]) -> dict[str, list[float]]:
    return {alias: values[-20:] for alias, values in taken.items()}


def _figures(when: str, taken: dict[str, list[float]]) -> Figure:
    return Figure(
        name=f"claim and finish {when}, tuned, a run",
        unit="us",
        values=taken["grown"],
        reference="as it is",
        reference_values=taken["default"],
    )


def _shares() -> list[Figure]:
    found = []
    for alias, words in ALIASES.items():
        for one in table_health.updates(using=alias):
            if one.updates > 1000:
                share = 100 * one.hot / one.updates
                found.append(Figure(name=f"HOT updates of {one.table}, {words}", unit="%", values=[share]))
                found.append(
                    Figure(name=f"dead rows of {one.table}, {words}", unit="rows", values=[float(one.dead)])
                )
    return found
