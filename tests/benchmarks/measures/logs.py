"""A backlog of no-op runs, worked off beside runs that say 10,000 lines a second; and beside the same ones, silent.

On a busy machine rates say little. So the processor's time of a line is measured besides, from what it takes to say it
to the row that keeps it: the share of a core that 10,000 a second take, and the drain has less.
"""

from __future__ import annotations

import os
import time
from unittest.mock import patch

from django_jobs import get_job_manager
from django_jobs.models import Run
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, precise_cpu_seconds

# Runs that speak, and what each says in a second.
SPEAKERS, LINES = 5, 2_000
THREADS = 10
# Nothing is cut: the longest way is measured.
MAX_LOG_BYTES = 1_000_000_000
# For so long lines are said to measure the processor's time.
TENTHS = 50


def measure(*, quick: bool) -> list[Figure]:
    """Measure runs a second, from the start of the worker to the last commit of a no-op run."""
    count, rounds = (10_000, 3) if quick else (30_000, 7)
    taken: dict[int, list[float]] = {LINES: [], 0: []}
    drain(1_000, LINES)
    for _ in range(rounds):
        for lines, values in taken.items():
            values.append(drain(count, lines))
    return [
        Figure(
            name=f"drain of {count:,} beside {SPEAKERS * LINES:,} lines of logs a second",
            unit="runs/s",
            values=taken[LINES],
            reference="beside the same runs, silent",
            reference_values=taken[0],
        ),
        _share_of_a_core(3 if quick else 7),
    ]


def _share_of_a_core(rounds: int) -> Figure:
    lines = SPEAKERS * LINES * TENTHS // 10
    taken: dict[int, list[float]] = {LINES // 10: [], 0: []}
    for _ in range(rounds):
        for number, values in taken.items():
            values.append(speaking(number) / lines * SPEAKERS * LINES * 100)
    spoken = [said - silent for said, silent in zip(*taken.values(), strict=True)]
    return Figure(
        name=f"{SPEAKERS * LINES:,} lines of logs a second", unit="% of a core", values=spoken, at_most=5
    )


def speaking(lines: int) -> float:
    """Return the processor's seconds of a worker whose runs say so many lines ten times a second each."""
    rows.forget_runs()
    get_job_manager().add_many((work.speak, (TENTHS, lines)) for _ in range(SPEAKERS))
    with (
        patch.dict(os.environ, {"BENCH_MAX_LOG_BYTES": str(MAX_LOG_BYTES)}),
        WorkerProcess(threads=SPEAKERS) as worker,
    ):
        worker.start()
        used = precise_cpu_seconds(worker.pid)
        while Run.objects.unfinished().exists():
            time.sleep(0.1)
        return precise_cpu_seconds(worker.pid) - used


def drain(count: int, lines: int) -> float:
    """Return the runs a second of a fresh worker process."""
    rows.forget_runs()
    manager = get_job_manager()
    manager.using(priority=1).add_many((work.say, (lines,)) for _ in range(SPEAKERS))
    manager.add_many((work.nothing, ()) for _ in range(count))
    left = Run.objects.unfinished().filter(func__endswith=":nothing")
    with (
        patch.dict(os.environ, {"BENCH_MAX_LOG_BYTES": str(MAX_LOG_BYTES)}),
        WorkerProcess(threads=SPEAKERS + THREADS) as worker,
    ):
        worker.begin()
        began = worker.began()
        while left.exists():
            time.sleep(0.01)
        ended = time.monotonic()
        # Or the worker would wait for them as long as it may.
        Run.objects.running().update(cancel_requested=True)
    return count / (ended - began)
