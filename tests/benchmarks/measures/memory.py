"""Memory of a worker process: at rest, with async runs that wait, and over a long drain, in waves."""

from __future__ import annotations

import time

from django_jobs import get_job_manager
from django_jobs.models import Run
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, memory_mb

WAVE = 10_000
# As many as one process awaits at the same time, by default.
WAITING = 1_000


def measure(*, quick: bool) -> list[Figure]:
    """Measure what is held after the second wave, and how much more the second half of them takes."""
    rest, waiting = at_rest_and_waiting()
    waves = 4 if quick else 52
    resident, proportional = [], []
    with WorkerProcess() as worker:
        worker.start()
        for _ in range(waves):
            get_job_manager().add_many((work.nothing, ()) for _ in range(WAVE))
            rows.wait_until_drained()
            rss, pss = memory_mb(worker.pid)
            resident.append(rss)
            proportional.append(pss)
    # Pools of memory fill up with the first hundred thousand; what is lost goes on for ever.
    half = waves // 2
    runs = (waves - half) * WAVE
    note = "after each wave: " + ", ".join(f"{value:.1f}" for value in resident)
    return [
        Figure(name="worker process at rest, RSS", unit="MB", values=[rest]),
        Figure(name=f"one of {WAITING:,} async runs that wait", unit="kB", values=[waiting]),
        Figure(name="worker process, RSS after 20,000 runs", unit="MB", values=[resident[1]], note=note),
        Figure(name="worker process, PSS after 20,000 runs", unit="MB", values=[proportional[1]]),
        Figure(
            name=f"growth over the last {runs:,} of {waves * WAVE:,} runs",
            unit="MB",
            values=[resident[-1] - resident[half - 1]],
            at_most=2.0,
        ),
    ]


def at_rest_and_waiting() -> tuple[float, float]:
    """Return the MB of a worker that has done nothing yet, and the kB that each waiting run adds."""
    with WorkerProcess() as worker:
        worker.start()
        time.sleep(1)
        rest, _ = memory_mb(worker.pid)
        get_job_manager().add_many((work.rest_long, ()) for _ in range(WAITING))
        while Run.objects.running().count() < WAITING:
            time.sleep(0.1)
        time.sleep(1)
        full, _ = memory_mb(worker.pid)
        rows.wait_until_drained()
    return rest, (full - rest) * 1000 / WAITING
