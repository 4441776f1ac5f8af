"""Memory of a worker process over a long drain, in waves."""

from __future__ import annotations

from django_jobs import get_job_manager
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, memory_mb

WAVE = 10_000


def measure(*, quick: bool) -> list[Figure]:
    """Measure what is held after the second wave, and how much more the second half of them takes."""
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
        Figure(name="worker process, RSS after 20,000 runs", unit="MB", values=[resident[1]], note=note),
        Figure(name="worker process, PSS after 20,000 runs", unit="MB", values=[proportional[1]]),
        Figure(
            name=f"growth over the last {runs:,} of {waves * WAVE:,} runs",
            unit="MB",
            values=[resident[-1] - resident[half - 1]],
            at_most=2.0,
        ),
    ]
