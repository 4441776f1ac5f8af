"""Bytes that a run costs PostgreSQL: of its write-ahead log, and of the disk once the run is history.

The log is the whole server's: nothing else may write to it meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from django_jobs import get_job_manager
from django_jobs.models import Run
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(*, quick: bool) -> list[Figure]:
    """Measure bytes a run; nothing on databases that do not say."""
    if connection.vendor != "postgresql":
        return []
    count, rounds = (2_000, 1) if quick else (5_000, 3)
    manager = get_job_manager()
    ways: dict[str, Callable[[], object]] = {
        "one by one": lambda: [manager.add_immediate_job(work.nothing) for _ in range(count)],
        "add_many": lambda: manager.add_many((work.nothing, ()) for _ in range(count)),
    }
    added: dict[str, list[float]] = {name: [] for name in ways}
    executed: list[float] = []
    table: list[float] = []
    indexes: list[float] = []
    for _ in range(rounds):
        for name, add in ways.items():
            rows.forget_runs()
            # The first change of each page after a checkpoint logs all of the page.
            _ask("CHECKPOINT")
            before = _log_position()
            add()
            between = _log_position()
            with WorkerProcess() as worker:
                worker.begin()
                rows.wait_until_drained()
                after = _log_position()
            added[name].append((between - before) / count)
            executed.append((after - between) / count)
            # As it is after the vacuum that the server does by itself.
            _ask(f"VACUUM ANALYZE {Run._meta.db_table}")
            table.append(_size("pg_table_size") / count)
            indexes.append(_size("pg_indexes_size") / count)
    return [
        *(
            Figure(name=f"log of a run that is added, {name}", unit="bytes", values=values)
            for name, values in added.items()
        ),
        Figure(name="log of a run that is claimed and finished", unit="bytes", values=executed),
        Figure(name="table, of a finished run", unit="bytes", values=table),
        Figure(name="indexes, of a finished run", unit="bytes", values=indexes),
    ]


def _ask(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0]) if cursor.description else 0


def _log_position() -> int:
    return _ask("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")


def _size(function: str) -> int:
    return _ask(f"SELECT {function}('{Run._meta.db_table}')")
