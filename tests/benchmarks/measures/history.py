"""Claim and finish over an empty history and a long one, in turns."""

from __future__ import annotations

from django.db import connections

from django_jobs.models import Run
from tests.benchmarks import rows
from tests.benchmarks.figures import Figure

BATCH = 200
COLUMNS = (
    "job_id, name, func, payload, signature, queue_name, priority, kind, status, run_after, enqueued_at, "
    "started_at, finished_at, attempt, rescues, cancel_requested, worker_id, error, log"
)


def measure(*, quick: bool) -> list[Figure]:
    """Measure microseconds a run, in batches of 200."""
    sizes = (100_000,) if quick else (1_000_000, 5_000_000)
    rounds = 10 if quick else 30
    workers = {alias: rows.live_worker(alias) for alias in ("default", "grown")}
    figures = []
    there = 0
    for size in sizes:
        grow(size - there)
        there = size
        rows.analyze("grown")
        taken: dict[str, list[tuple[float, float]]] = {alias: [] for alias in workers}
        for number in range(rounds + 2):
            for alias, worker_id in workers.items():
                seconds = rows.claim_and_finish(worker_id, BATCH, alias)
                if number >= 2:
                    taken[alias].append(seconds)
        for index, what in enumerate(("claim", "finish")):
            figures.append(
                Figure(
                    name=f"{what} of {BATCH} over {size:,} finished runs, a run",
                    unit="us",
                    values=[seconds[index] / BATCH * 1e6 for seconds in taken["grown"]],
                    reference="over an empty history",
                    reference_values=[seconds[index] / BATCH * 1e6 for seconds in taken["default"]],
                    ratio_at_most=1.2,
                )
            )
    return figures


def grow(count: int, step: int = 250_000, *, alias: str = "grown", about: str = "") -> None:
    """Insert finished runs, as the worker would have left them.

    Args:
        count: How many.
        step: How many with one statement.
        alias: Of the database.
        about: What each is about, in SQL by `n`; empty for nothing.
    """
    connection = connections[alias]
    table = Run._meta.db_table
    false = "0" if connection.vendor == "sqlite" else "FALSE"
    now = {"sqlite": "datetime('now')", "postgresql": "now()", "mysql": "UTC_TIMESTAMP(6)"}[connection.vendor]
    values = (
        f"'nothing', '{rows.FUNC}', '{rows.PAYLOAD}', '{rows.SIGNATURE}', 'default', 0, 'immediate', "
        f"'SUCCESSFUL', {now}, {now}, {now}, {now}, 1, 0, {false}, 'bench-earlier', '', ''"
    )
    columns = COLUMNS
    if about:
        columns, values = f"{COLUMNS}, about", f"{values}, {about}"
    job = "'job-' || n" if connection.vendor != "mysql" else "CONCAT('job-', n)"
    for start in range(0, count, step):
        first, last = start + 1, min(count, start + step)
        match connection.vendor:
            case "postgresql":
                numbers = f"generate_series({first}, {last}) AS n"
                statement = f"INSERT INTO {table} ({columns}) SELECT {job}, {values} FROM {numbers}"
            case "mysql":
                statement = f"INSERT INTO {table} ({columns}) SELECT {job}, {values} FROM (SELECT seq AS n FROM seq_{first}_to_{last}) s"
            case _:
                numbers = (
                    f"WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n < {last})"
                )
                statement = f"INSERT INTO {table} ({columns}) {numbers} SELECT {job}, {values} FROM c"
        with connection.cursor() as cursor:
            cursor.execute(statement)
