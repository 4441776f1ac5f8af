"""Batches beside the same number of plain runs: added, worked off, and joined once."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection

from django_jobs import get_job_manager
from django_jobs.models import Batch, Run
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, memory_mb, precise_cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

# Of the plain rate that a batch must keep.
SHARE = 0.7
# Runs of a statement of `add_many`.
PART = 300
# Megabytes that an allocator and the pages of a driver may take while counts grow a hundredfold.
SLACK = 30


@dataclass(slots=True)
class Round:
    """What one batch, or the same number of plain runs, took.

    Args:
        rate: Runs a second from the first insert to the last commit.
        adding: Runs a second while they were added.
        cpu: Milliseconds of processor time for a thousand runs: of this process while it adds, of the worker,
            and of the sessions that both have on PostgreSQL. How often this one asks for the end is no part of it.
        grown: Megabytes that the worker had at most, more than when a tenth was done.
        adder_grown: Megabytes that this process had at most, more than before.
    """

    rate: float
    adding: float
    cpu: float
    grown: float
    adder_grown: float


def measure(*, quick: bool) -> list[Figure]:
    """Measure batches and plain runs in turns; BENCHMARK_SIZE is how many runs."""
    count = int(os.environ.get("BENCHMARK_SIZE") or (5_000 if quick else 1_000_000))
    plain, batched = [], []
    for _ in range(2 if quick else 1):
        plain.append(_plain(count))
        batched.append(_batch(count))
    others = f"{count:,} plain runs"
    return [
        Figure(
            name=f"batch of {count:,} with a job at its end, from the first insert to the last commit",
            unit="runs/s",
            values=[one.rate for one in batched],
            reference=others,
            reference_values=[one.rate for one in plain],
            ratio_at_least=SHARE,
        ),
        Figure(
            name=f"batch of {count:,}: processor time of who adds and works, and of their sessions",
            unit="ms/1,000",
            values=[one.cpu for one in batched],
            reference=others,
            reference_values=[one.cpu for one in plain],
        ),
        Figure(
            name=f"batch of {count:,}: added by a generator",
            unit="runs/s",
            values=[one.adding for one in batched],
            reference=others,
            reference_values=[one.adding for one in plain],
        ),
        Figure(
            name=f"batch of {count:,}: memory of the process that adds, more than before",
            unit="MB",
            values=[one.adder_grown for one in batched],
            # Eight bytes for each handle.
            at_most=8e-6 * count + SLACK,
        ),
        Figure(
            name=f"batch of {count:,}: memory of the worker, more than after a tenth",
            unit="MB",
            values=[one.grown for one in batched],
            reference=others,
            reference_values=[one.grown for one in plain],
            at_most=SLACK,
        ),
    ]


def _plain(count: int) -> Round:
    def add() -> None:
        # In parts: a list of all of them would be measured, too.
        for start in range(0, count, PART):
            get_job_manager().add_many((work.nothing, ()) for _ in range(min(PART, count - start)))

    return _round(count, add)


def _batch(count: int) -> Round:
    def add() -> None:
        with get_job_manager().batch("benchmark", on_end=work.give) as batch:
            batch.add_many((work.nothing, ()) for _ in range(count))

    Batch.objects.all().delete()
    taken = _round(count, add)
    row = Batch.objects.get()
    assert (row.state, row.successful) == ("successful", count), row.state
    assert Run.objects.filter(batch_id=None).count() == 1, "joined once"
    return taken


def _round(count: int, add: Callable[[], None]) -> Round:
    rows.forget_runs()
    with WorkerProcess() as worker:
        before, used = _most_memory(), time.process_time() + _sessions_cpu("=")
        began = time.monotonic()
        add()
        added = time.monotonic()
        grown = _most_memory() - before
        cpu = time.process_time() + _sessions_cpu("=") - used - precise_cpu_seconds(worker.pid)
        worker.begin()
        sizes = _drain(worker.pid)
        ended = time.monotonic()
        cpu += precise_cpu_seconds(worker.pid) + _sessions_cpu("<>")
    return Round(
        rate=count / (ended - began),
        adding=count / (added - began),
        cpu=cpu / count * 1e6,
        grown=max(sizes) - sizes[len(sizes) // 10],
        adder_grown=grown,
    )


def _drain(pid: int) -> list[float]:
    """Wait until no run is unfinished; return the worker's memory in MB, every half a second."""
    statement = f"SELECT 1 FROM {Run._meta.db_table} WHERE status IN ('READY', 'RUNNING') LIMIT 1"
    began = next_at = time.monotonic()
    sizes = []
    with connection.cursor() as cursor:
        while True:
            if time.monotonic() >= next_at:
                sizes.append(memory_mb(pid)[0])
                next_at += 0.5
            cursor.execute(statement)
            if cursor.fetchone() is None:
                return sizes
            # Each look passes what has ended since the last vacuum: of a long drain it is worth few of them.
            time.sleep(max(0.02, (time.monotonic() - began) / 200))


def _sessions_cpu(which: str) -> float:
    """Return the processor time of the database's processes for sessions, where it has such and they are here.

    Args:
        which: "=" for the session of this process, "<>" for those of others.
    """
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid {which} pg_backend_pid()"
        )
        return sum(precise_cpu_seconds(pid) for (pid,) in cursor.fetchall() if Path(f"/proc/{pid}").exists())


def _most_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
