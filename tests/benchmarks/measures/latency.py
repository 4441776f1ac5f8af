"""From a commit to the first line of the function, where a worker is idle."""

from __future__ import annotations

import random
import time

from django.db import connection, transaction

from django_jobs import get_job_manager
from django_jobs.models import Run
from django_jobs.worker.service import Service
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure, latencies, percentile
from tests.benchmarks.processes import WorkerProcess

FROM_ELSEWHERE_MS = {"sqlite": 12.0, "postgresql": 4.0}


def measure(*, quick: bool) -> list[Figure]:
    """Measure in the same process, from another, and after a rest."""
    samples = 100 if quick else 500
    rest, rests = (5.0, 2) if quick else (30.0, 5)
    limit = FROM_ELSEWHERE_MS.get(connection.vendor)
    figures = latencies("start, same process", in_process(samples), p50=1.0, p99=5.0)
    rows.forget_runs()
    with WorkerProcess() as worker:
        worker.start()
        time.sleep(1)
        figures += latencies(
            "start, another process", [from_elsewhere() for _ in range(samples)], p50=limit, p99=None
        )
        rested = []
        for _ in range(rests):
            time.sleep(rest)
            rested.append(from_elsewhere() * 1000)
    figures.append(
        Figure(
            name=f"start, another process, after {rest:g} s idle",
            unit="ms",
            values=rested,
            at_most=limit,
            note=f"p99 of the busy samples {percentile(rested, 99):.3g}",
        )
    )
    return figures


def add_stamp() -> tuple[str, float]:
    """Enqueue `stamp`; return the job's id, and the time of the commit."""
    committed: list[float] = []
    with transaction.atomic():
        # Registered before ours, so called before it wakes anybody.
        transaction.on_commit(lambda: committed.append(time.monotonic()))
        job_id = get_job_manager().add_immediate_job(work.stamp)
    return job_id, committed[0]


def pause() -> None:
    """Let the last run be written, and no two samples fall into step with a poll."""
    time.sleep(random.uniform(0.01, 0.03))


def in_process(samples: int) -> list[float]:
    """Return seconds with the worker in this process."""
    manager = get_job_manager()
    service = Service(clock=True)
    manager.serve(service)
    service.wait_started(30)
    time.sleep(0.5)
    seconds = []
    for _ in range(samples):
        _, committed = add_stamp()
        seconds.append(work.stamps.get(timeout=30) - committed)
        pause()
    manager.shutdown()
    return seconds


def from_elsewhere() -> float:
    """Return seconds with the worker in another process."""
    job_id, committed = add_stamp()
    while True:
        pause()
        result = Run.objects.filter(job_id=job_id).values_list("result", flat=True).get()
        if result is not None:
            return float(result) - committed
