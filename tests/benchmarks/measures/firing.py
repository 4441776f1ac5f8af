"""Due jobs turned into runs: many at once, with and without a process's start, and one among many that are not due."""

from __future__ import annotations

import time

from django.db import connections

from django_jobs.models import Job, Run
from django_jobs.scheduler.occurrences import fire_all, fire_due, seconds_until_due
from tests.benchmarks import rows
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess


def measure(*, quick: bool) -> list[Figure]:
    """Measure firings a second, and the milliseconds of one firing."""
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000)
    rounds, samples = (3, 30) if quick else (5, 200)
    figures = []
    there = 0
    for size in sizes:
        rows.add_jobs(size - there)
        there = size
        rows.analyze("default")
        due = min(size, 6_000)
        ours, bare = [], []
        for _ in range(rounds):
            ours.append(due / seconds_to_fire(due))
            began = time.perf_counter()
            Run.objects.bulk_create([Run(**rows.bare_run()) for _ in range(due)])
            bare.append(due / (time.perf_counter() - began))
            rows.forget_runs()
        figures.append(
            Figure(
                name=f"firing {due:,} of {size:,} jobs",
                unit="firings/s",
                values=ours,
                reference="bare bulk_create of the runs",
                reference_values=bare,
                at_least=3_000 if size == sizes[-1] else None,
            )
        )
        if size == sizes[0]:
            figures.append(without_start(size, rounds))
    if not quick:
        figures.append(late_of_many(there))
    few = 100
    rows.add_jobs(few, "grown")
    rows.analyze("grown")
    rows.analyze("default")
    many_ms, few_ms = [], []
    for number in range(samples + 5):
        pair = seconds_of_one("default") * 1000, seconds_of_one("grown") * 1000
        if number >= 5:
            many_ms.append(pair[0])
            few_ms.append(pair[1])
    figures.append(
        Figure(
            name=f"one due job among {there:,}",
            unit="ms",
            values=many_ms,
            reference=f"one due job among {few}",
            reference_values=few_ms,
            ratio_at_most=1.2,
        )
    )
    return figures


def without_start(count: int, rounds: int) -> Figure:
    """Measure firings in a process that has started, of which the first round only warms up."""
    ours, bare = [], []
    for _ in range(rounds + 1):
        rows.make_due(count)
        began = time.perf_counter()
        fire_all("default")
        ours.append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        Run.objects.bulk_create([Run(**rows.bare_run()) for _ in range(count)])
        bare.append(count / (time.perf_counter() - began))
        rows.forget_runs()
    return Figure(
        name=f"firing {count:,} of {count:,} jobs, without the start of a process",
        unit="firings/s",
        values=ours[1:],
        reference="bare bulk_create of the runs",
        reference_values=bare[1:],
        ratio_at_least=0.8,
    )


def late_of_many(count: int) -> Figure:
    """Measure firings while all of many jobs are due: the last tenth of them, beside the first."""
    rows.make_due(count)
    seconds = []
    for _ in range(10):
        fired, began = 0, time.perf_counter()
        while fired < count // 10:
            fired += fire_due("default")
        seconds.append((time.perf_counter() - began) / fired * 1e6)
    assert not fire_due("default")
    rows.forget_runs()
    return Figure(
        name=f"one firing of the last tenth of {count:,} that are due",
        unit="us",
        values=seconds[-1:],
        reference="of the first tenth",
        reference_values=seconds[:1],
        ratio_at_most=2,
    )


def seconds_to_fire(count: int) -> float:
    """Return how long a process with a clock takes from its start to the last firing."""
    due = rows.make_due(count)
    left = Job.objects.filter(next_run_time__lte=due)
    with WorkerProcess(clock=True, worker=False) as process:
        process.begin()
        while left.exists():
            time.sleep(0.005)
        ended = time.monotonic()
        began = process.began()
    assert Run.objects.count() == count
    return ended - began


def seconds_of_one(alias: str) -> float:
    """Return how long a clock takes to see and fire one due job."""
    # Nothing unfinished is left of the last sample, or this occurrence would be skipped.
    rows.forget_runs(alias)
    rows.make_due(1, alias)
    connections[alias].ensure_connection()
    began = time.perf_counter()
    wait = seconds_until_due(alias)
    fired = fire_due(alias)
    seconds = time.perf_counter() - began
    assert wait is not None
    assert wait <= 0
    assert fired == 1
    return seconds
