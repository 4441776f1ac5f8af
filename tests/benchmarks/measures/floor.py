"""A backlog of no-op runs, worked off by a worker process as `runjobs` has it; beside bare statements in turns."""

from __future__ import annotations

from django.db import connection

from django_jobs import get_job_manager
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, cpu_seconds

AT_LEAST = {"sqlite": 0.7, "postgresql": 0.85}


def measure(*, quick: bool) -> list[Figure]:
    """Measure runs a second and the processor's time of a run, with ten threads in one process."""
    count, rounds = (5_000, 3) if quick else (20_000, 5)
    ours: list[tuple[float, float]] = []
    floor: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        pair = drain(count, is_floor=True), drain(count)
        if number:  # the first warms up
            floor.append(pair[0])
            ours.append(pair[1])
    return [
        Figure(
            name=f"drain of {count:,}, with a clock",
            unit="runs/s",
            values=[count / seconds for seconds, _ in ours],
            reference="the driver's statements alone",
            reference_values=[count / seconds for seconds, _ in floor],
            ratio_at_least=AT_LEAST.get(connection.vendor),
        ),
        Figure(
            name="the worker's processor time of a run",
            unit="us",
            values=[cpu / count * 1e6 for _, cpu in ours],
            reference="the driver's statements alone",
            reference_values=[cpu / count * 1e6 for _, cpu in floor],
            note="without a database server's; steadier than rates where a machine is shared",
        ),
    ]


def drain(count: int, *, is_floor: bool = False) -> tuple[float, float]:
    """Return the seconds, and those of the processor, of a fresh process."""
    rows.forget_runs()
    get_job_manager().add_many((work.nothing, ()) for _ in range(count))
    with WorkerProcess(clock=True) as worker:
        used = cpu_seconds(worker.pid)
        if is_floor:
            worker.begin_floor()
        else:
            worker.begin()
        ended = rows.wait_until_drained()
        began = worker.began()
        return ended - began, cpu_seconds(worker.pid) - used
