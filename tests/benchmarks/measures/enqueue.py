"""One enqueue in autocommit, beside a bare `Model.objects.create` and the driver's own INSERT."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from django.db import transaction

from django_jobs import Unique, get_job_manager
from django_jobs.models import Run
from tests.benchmarks import floor, rows, work
from tests.benchmarks.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(*, quick: bool) -> list[Figure]:
    """Measure microseconds a call."""
    calls, rounds = (200, 5) if quick else (500, 9)
    add = get_job_manager().add_immediate_job
    ways: dict[str, Callable[[], object]] = {
        "driver": _driver_insert(),
        "create": lambda: Run.objects.create(**rows.bare_run()),
        "add_immediate_job": lambda: add(work.nothing),
        **_unique_ways(),
    }
    taken: dict[str, list[float]] = {name: [] for name in [*ways, "in atomic", "create in atomic"]}
    for call in ways.values():
        _time(call, 100)
    for _ in range(rounds):
        for name, call in ways.items():
            clock = time.process_time if name in _PROCESSOR else time.perf_counter
            taken[name].append(_time(call, calls, clock))
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
            name="unique enqueue, processor time",
            unit="us",
            values=taken["unique"],
            reference="the same call without a key",
            reference_values=taken["plain"],
            ratio_at_most=1.5,
        ),
        Figure(
            name="unique enqueue whose key is taken, processor time",
            unit="us",
            values=taken["skipped"],
            reference="the same call without a key",
            reference_values=taken["plain"],
        ),
        Figure(
            name="floor: the driver's one-row INSERT and commit",
            unit="us",
            values=taken["driver"],
            reference="bare Model.objects.create",
            reference_values=taken["create"],
        ),
    ]


# The ways that are measured by the time that this process computes: what the rest does is the database's.
_PROCESSOR = ("plain", "unique", "skipped")


def _unique_ways() -> dict[str, Callable[[], object]]:
    manager = get_job_manager()
    unique = manager.using(unique=Unique("{value}", until="started"))
    numbers = itertools.count()
    return {
        "plain": lambda: manager.add_immediate_job(work.give, next(numbers)),
        "unique": lambda: unique.add_immediate_job(work.give, next(numbers)),
        "skipped": lambda: unique.add_immediate_job(work.give, -1),
    }


def _time(call: Callable[[], object], count: int, clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    for _ in range(count):
        call()
    return (clock() - began) / count * 1e6


def _driver_insert() -> Callable[[], object]:
    raw, statement, values = floor.raw_connection(), floor.insert_statement(), floor.inserted_row()
    return lambda: raw.cursor().execute(statement, values)
