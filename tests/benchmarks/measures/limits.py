"""Runs with limits beside plain ones: a backlog worked off."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from django_jobs import Limit, get_job_manager
from django_jobs.storage import claims
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

KEYS = 500
# Of what plain runs reach in the same round.
MANY_KEYS_AT_LEAST, HOT_KEY_AT_LEAST = 0.6, 0.3
FAIR_KEYS_AT_LEAST = 0.5


def measure(*, quick: bool) -> list[Figure]:
    """Measure runs a second of plain runs, of many keys and of one hot key."""
    count, rounds = (10_000, 2) if quick else (20_000, 5)
    shapes: dict[str, list[tuple[Any, tuple[Any, ...]]]] = {
        "plain": [(work.nothing, ())] * count,
        "plain with an argument": [(work.indexed, (index % KEYS,)) for index in range(count)],
        f"{KEYS} keys": [(work.keyed, (index % KEYS,)) for index in range(count)],
        "one hot key": [(work.hot, ())] * count,
        f"{KEYS} fair keys": [(work.fair, (index % KEYS,)) for index in range(count)],
        "one fair key": [(work.fair, (0,))] * count,
    }
    taken: dict[str, list[float]] = {name: [] for name in shapes}
    drain(shapes["plain"][:1000])
    for _ in range(rounds):
        for name, jobs in shapes.items():
            taken[name].append(drain(jobs))
    plain = {name: taken.pop(name) for name in ("plain", "plain with an argument")}
    figures = [
        Figure(name=f"drain of {count:,}: {name}", unit="runs/s", values=values)
        for name, values in plain.items()
    ]
    at_least = (MANY_KEYS_AT_LEAST, HOT_KEY_AT_LEAST, FAIR_KEYS_AT_LEAST, FAIR_KEYS_AT_LEAST)
    for (name, values), least in zip(taken.items(), at_least, strict=True):
        # A call's arguments are verified and read, whether it has a limit or not.
        reference = "plain" if shapes[name][0][0] is work.hot else "plain with an argument"
        figures.append(
            Figure(
                name=f"drain of {count:,}: {name}",
                unit="runs/s",
                values=values,
                reference=reference,
                reference_values=plain[reference],
                ratio_at_least=least,
            )
        )
    figures.append(beside_a_line(2_000 if quick else 100_000, rounds))
    return figures


def beside_a_line(waiting: int, rounds: int) -> Figure:
    """Measure the claim of one key's run beside another full key's line, and alone."""
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        rows.forget_runs()
        worker_id = rows.live_worker("default")
        alone.append(claim_ms(worker_id))
        full = get_job_manager().using(limit=Limit("full", concurrency=1))
        full.add_many((work.nothing, ()) for _ in range(waiting))
        claims.claim(worker_id, limit=1, using="default")
        rows.analyze("default")
        beside.append(claim_ms(worker_id))
    return Figure(
        name=f"claim of a key beside {waiting:,} waiting of another",
        unit="ms",
        values=beside,
        reference="alone",
        reference_values=alone,
        ratio_at_most=1.1,
    )


def claim_ms(worker_id: str, samples: int = 200) -> float:
    """Return the median of the milliseconds that a claim takes which finds one run of a key."""
    other = get_job_manager().using(limit=Limit("other", concurrency=samples))
    taken = []
    for _ in range(samples):
        other.add_immediate_job(work.nothing)
        began = time.perf_counter()
        (run,) = claims.claim(worker_id, limit=1, using="default")
        taken.append((time.perf_counter() - began) * 1000)
        rows.finish(run)
    return median(taken)


def drain(jobs: Iterable[tuple[Any, ...]]) -> float:
    """Return the runs a second of a fresh worker process."""
    rows.forget_runs()
    count = len(get_job_manager().add_many(jobs))
    with WorkerProcess() as worker:
        worker.begin()
        ended = rows.wait_until_drained()
        return count / (ended - worker.began())
