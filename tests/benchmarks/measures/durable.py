"""What is kept: the cost of one commit and of steps, and of a hundred thousand runs that sleep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import connections

from django_jobs import get_job_manager
from django_jobs.models import Run, Step
from tests.benchmarks import load, rows, work
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, threads_of

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEPING = 100_000
BATCH = 200
COLUMNS = (
    "job_id, name, func, payload, signature, queue_name, priority, kind, status, attempt, rescues, cancel_requested, "
    "worker_id, error, log, enqueued_at, run_after, waits_for"
)
STEP_COLUMNS = (
    "run_id, {}, kind, name, occurrence, signature, tries, error, attempt, started_at, until, event"
)


def measure(*, quick: bool) -> list[Figure]:
    """Measure drains of functions that write a row, and claims beside runs that sleep."""
    return [*_costs(quick), *_sleeping(quick)]


def _costs(quick: bool) -> list[Figure]:
    count, rounds = (2_000, 2) if quick else (5_000, 5)
    functions: dict[str, Callable[[], object]] = {
        "plain": work.write,
        "atomic": work.write_atomic,
        "with a step": work.write_in_step,
        "with an atomic step": work.write_in_atomic_step,
    }
    taken: dict[str, list[float]] = {name: [] for name in functions}
    _drain(work.write, 500)
    for _ in range(rounds):
        for name, function in functions.items():
            taken[name].append(_drain(function, count))
    plain = taken.pop("plain")
    return [
        Figure(name="a function that writes a row: plain", unit="us", values=plain),
        *(
            Figure(
                name=f"a function that writes a row: {name}",
                unit="us",
                values=values,
                reference="plain",
                reference_values=plain,
            )
            for name, values in taken.items()
        ),
    ]


def _drain(function: Callable[[], object], count: int) -> float:
    """Return the microseconds a run of a fresh worker process."""
    rows.forget_runs()
    get_job_manager().add_many((function, ()) for _ in range(count))
    with WorkerProcess() as worker:
        worker.begin()
        ended = rows.wait_until_drained()
        return (ended - worker.began()) / count * 1e6


def _sleeping(quick: bool) -> list[Figure]:
    rounds = 20 if quick else 100
    workers = {alias: rows.live_worker(alias) for alias in ("default", "grown")}
    for alias in workers:
        rows.forget_runs(alias)
    _put_to_sleep("grown")
    for alias in workers:
        rows.analyze(alias)
    taken: dict[str, list[tuple[float, float]]] = {alias: [] for alias in workers}
    for number in range(rounds + 2):
        # Neither is always the first of a round.
        for alias in sorted(workers, reverse=bool(number % 2)):
            seconds = rows.claim_and_finish(workers[alias], BATCH, alias)
            if number >= 2:
                taken[alias].append(seconds)
    figures = [
        Figure(
            name=f"{what} of {BATCH} beside {SLEEPING:,} sleeping runs, a run",
            unit="us",
            values=[seconds[index] / BATCH * 1e6 for seconds in taken["grown"]],
            reference="beside none",
            reference_values=[seconds[index] / BATCH * 1e6 for seconds in taken["default"]],
            ratio_at_most=1.05,
        )
        for index, what in enumerate(("claim", "finish"))
    ]
    return [*figures, *_idle(5.0 if quick else 30.0)]


def _idle(seconds: float) -> list[Figure]:
    """Measure a worker's process without sleeping runs, and with them."""
    sent, threads = [], []
    for count in (0, SLEEPING):
        rows.forget_runs()
        if count:
            _put_to_sleep("default")
        with WorkerProcess(count=True) as process:
            process.start()
            time.sleep(7)
            before = sum(process.statements().values())
            time.sleep(seconds)
            sent.append((sum(process.statements().values()) - before) / seconds * 5)
            threads.append(float(threads_of(process.pid)))
    return [
        Figure(
            name=f"idle process beside {SLEEPING:,} sleeping runs, {what}",
            unit="",
            values=values[1:],
            reference="beside none",
            reference_values=values[:1],
            ratio_at_most=1.0 if what == "threads" else None,
        )
        for what, values in (("statements in 5 s", sent), ("threads", threads))
    ]


def _put_to_sleep(alias: str) -> None:
    """Insert runs that sleep until tomorrow, or wait for an event, each with its step, as a worker leaves them."""
    connection = connections[alias]
    numbers = load.Numbers(connection.vendor)
    run, step = Run._meta.db_table, Step._meta.db_table
    now, later = numbers.moment(str(int(time.time()))), numbers.moment(str(int(time.time()) + 86400))
    is_event = "n % 2 = 0"
    name = numbers.text("'sleeping-'", numbers.number_text("n"))
    key = numbers.text("'k'", numbers.number_text("id"))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {run} ({COLUMNS}) SELECT {name}, 'nothing', "
            f"'{rows.FUNC}', '{rows.PAYLOAD}', '{rows.SIGNATURE}', 'default', 0, 'immediate', 'READY', 0, 0, "
            f"{numbers.false}, '', '', '', {now}, CASE WHEN {is_event} THEN NULL ELSE {later} END, "
            f"CASE WHEN {is_event} THEN 'event' END FROM {numbers.source(1, SLEEPING)}"
        )
        cursor.execute(f"DELETE FROM {step}")
        cursor.execute(
            f"INSERT INTO {step} ({STEP_COLUMNS.format(connection.ops.quote_name('key'))}) SELECT id, {key}, 'event', "
            f"'signed', 0, '', 0, '', 1, enqueued_at, run_after, CASE WHEN run_after IS NULL THEN {key} END FROM {run}"
        )
