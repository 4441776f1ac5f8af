"""A thousand `async def` jobs that each await one second, beside `asyncio.gather` of as many sleeps."""

from __future__ import annotations

import asyncio
import time

from django_jobs import get_job_manager
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess

COUNT = 1_000


def measure(*, quick: bool) -> list[Figure]:
    """Measure the seconds from the commit to the last outcome."""
    ours, bare = [], []
    for _ in range(2 if quick else 5):
        rows.forget_runs()
        with WorkerProcess() as worker:
            worker.start()
            time.sleep(0.3)
            get_job_manager().add_many((work.rest, ()) for _ in range(COUNT))
            began = time.monotonic()
            ours.append(rows.wait_until_drained() - began)
        began = time.monotonic()
        asyncio.run(_gather())
        bare.append(time.monotonic() - began)
    return [
        Figure(
            name=f"{COUNT:,} async jobs that await 1 s",
            unit="s",
            values=ours,
            reference="asyncio.gather",
            reference_values=bare,
            at_most=2.0,
        )
    ]


async def _gather() -> None:
    await asyncio.gather(*[work.rest() for _ in range(COUNT)])
