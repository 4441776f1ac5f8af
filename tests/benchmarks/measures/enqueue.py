"""One enqueue in autocommit, beside a bare `Model.objects.create` and the driver's own INSERT."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from django_jobs import get_job_manager
from django_jobs.models import Run
from tests.benchmarks import rows, work
from tests.benchmarks.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = (
    "job_id, name, func, payload, signature, queue_name, priority, kind, status, run_after, enqueued_at, "
    "attempt, rescues, cancel_requested, worker_id, error, log"
)


def measure(*, quick: bool) -> list[Figure]:
    """Measure microseconds a call."""
    calls, rounds = (200, 5) if quick else (500, 9)
    add = get_job_manager().add_immediate_job
    ways: dict[str, Callable[[], object]] = {
        "driver": _driver_insert(),
        "create": lambda: Run.objects.create(**rows.bare_run()),
        "add_immediate_job": lambda: add(work.nothing),
    }
    taken: dict[str, list[float]] = {name: [] for name in [*ways, "in atomic", "create in atomic"]}
    for call in ways.values():
        _time(call, 100)
    for _ in range(rounds):
        for name, call in ways.items():
            taken[name].append(_time(call, calls))
        with transaction.atomic():
            taken["create in atomic"].append(_time(ways["create"], calls))
        with transaction.atomic():
            taken["in atomic"].append(_time(ways["add_immediate_job"], calls))
        rows.forget_runs()
    return [
        Figure(
            name="enqueue, autocommit",
            unit="us",
            values=taken["add_immediate_job"],
            reference="bare Model.objects.create",
            reference_values=taken["create"],
            ratio_at_most=1.3,
        ),
        Figure(
            name="enqueue, inside atomic()",
            unit="us",
            values=taken["in atomic"],
            reference="bare Model.objects.create",
            reference_values=taken["create in atomic"],
        ),
        Figure(
            name="floor: the driver's one-row INSERT and commit",
            unit="us",
            values=taken["driver"],
            reference="bare Model.objects.create",
            reference_values=taken["create"],
        ),
    ]


def _time(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count * 1e6


def _driver_insert() -> Callable[[], object]:
    connection.ensure_connection()
    # Without Django's cursors, also those that its SQLite connections make themselves.
    raw: Any = connection.connection
    mark = "?" if connection.vendor == "sqlite" else "%s"
    statement = f"INSERT INTO {Run._meta.db_table} ({COLUMNS}) VALUES ({','.join([mark] * 17)})"
    fields = rows.bare_run()
    now = connection.ops.adapt_datetimefield_value(fields["run_after"])
    values = [*list(fields.values())[:9], now, now, 0, 0, False, "", "", ""]

    def insert() -> None:
        cursor = raw.cursor()
        cursor.execute(statement, values)

    return insert
