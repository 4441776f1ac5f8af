"""A backlog of no-op runs, worked off; beside a bare thread pool that makes the same calls."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

from django.db import connection

from django_jobs import get_job_manager
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess

# Threads of a process, and processes.
SHAPES = ((10, 1), (1, 1), (10, 2), (1, 2))
AT_LEAST = {"sqlite": 10_000.0, "postgresql": 8_000.0}


def measure(*, quick: bool) -> list[Figure]:
    """Measure runs a second, from the start of the worker to the last commit."""
    count, rounds = (10_000, 2) if quick else (20_000, 5)
    taken: dict[tuple[int, int], list[float]] = {shape: [] for shape in SHAPES}
    pool: dict[int, list[float]] = {10: [], 1: []}
    drain(1_000)
    for _ in range(rounds):
        for shape in SHAPES:
            taken[shape].append(drain(count, *shape))
        for threads, values in pool.items():
            values.append(pool_rate(count, threads))
    return [
        Figure(
            name=f"drain of {count:,}: {processes} x {threads} thread{'s' * (threads > 1)}",
            unit="runs/s",
            values=taken[threads, processes],
            reference=f"bare ThreadPoolExecutor({threads})",
            reference_values=pool[threads],
            at_least=AT_LEAST.get(connection.vendor) if (threads, processes) == (10, 1) else None,
        )
        for threads, processes in SHAPES
    ]


def drain(count: int, threads: int = 10, processes: int = 1) -> float:
    """Return the runs a second of fresh worker processes."""
    rows.forget_runs()
    get_job_manager().add_many((work.nothing, ()) for _ in range(count))
    with ExitStack() as stack:
        workers = [stack.enter_context(WorkerProcess(threads=threads)) for _ in range(processes)]
        for worker in workers:
            worker.begin()
        ended = rows.wait_until_drained()
        began = min(worker.began() for worker in workers)
    return count / (ended - began)


def pool_rate(count: int, threads: int) -> float:
    """Return the calls a second of a thread pool that keeps nothing."""
    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        wait([pool.submit(work.nothing) for _ in range(count)])
        return count / (time.monotonic() - began)
