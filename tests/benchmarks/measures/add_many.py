"""`add_many` of 10,000 jobs, beside a bare `bulk_create` of equal rows and the driver's `executemany`."""

from __future__ import annotations

import time

from django_jobs import get_job_manager
from django_jobs.models import Run
from tests.benchmarks import floor, rows, work
from tests.benchmarks.figures import Figure


def measure(*, quick: bool) -> list[Figure]:
    """Measure rows a second."""
    count, rounds = (3_000, 5) if quick else (10_000, 7)
    add_many = get_job_manager().add_many
    ours: list[float] = []
    bare: list[float] = []
    raw: list[float] = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        Run.objects.bulk_create([Run(**rows.bare_run()) for _ in range(count)])
        created = time.perf_counter()
        add_many((work.nothing, ()) for _ in range(count))
        ended = time.perf_counter()
        prepared = [floor.inserted_row() for _ in range(count)]
        prepared_at = time.perf_counter()
        floor.insert_many(prepared)
        inserted = time.perf_counter()
        rows.forget_runs()
        if number:  # the first warms up
            bare.append(count / (created - began))
            ours.append(count / (ended - created))
            raw.append(count / (inserted - prepared_at))
    return [
        Figure(
            name=f"add_many of {count:,}",
            unit="rows/s",
            values=ours,
            reference="bare bulk_create",
            reference_values=bare,
            ratio_at_least=0.7,
        ),
        Figure(
            name=f"add_many of {count:,}",
            unit="rows/s",
            values=ours,
            reference="the driver's executemany of rows made before",
            reference_values=raw,
            ratio_at_least=0.7,
        ),
    ]
