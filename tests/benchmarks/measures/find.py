"""Lists of one object's runs, and of one tag's, beside a long history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import connection

from django_jobs import get_job_manager
from django_jobs.models import Run, RunTag
from django_jobs.operations import run_query
from django_jobs.operations.run_query import Criteria
from django_jobs.registry.limits import digest
from tests.benchmarks import rows
from tests.benchmarks.figures import Figure
from tests.benchmarks.measures.history import grow
from tests.benchmarks.work import nothing

if TYPE_CHECKING:
    from collections.abc import Callable

# An object has ten runs, every hundredth run is another one's, and every tenth has a tag.
OBJECTS, HOT, TAG = 10, "shop.order:hot", "import"
MOST_MS = 10
# It reads as many runs as a page reads at most.
FULL = "a page of that tag and a status that none of its runs has"


def measure(*, quick: bool) -> list[Figure]:
    """Measure milliseconds a list."""
    size = 100_000 if quick else 5_000_000
    fill(size)
    manager = get_job_manager()
    for _ in range(5):
        manager.using(about=HOT, tags=[TAG]).add_immediate_job(nothing)
    asked: dict[str, Callable[[], object]] = {
        "a page of the runs about an object": lambda: page(Criteria(about="shop.order:7")),
        "the same, of an object with a hundredth of all runs": lambda: page(Criteria(about=HOT)),
        "the same, those that failed": lambda: page(Criteria(about="shop.order:7", status="FAILED")),
        "get_jobs(about=...)": lambda: manager.get_jobs(about=HOT),
        "a page of a tag that a tenth of all runs has": lambda: page(Criteria(tag=TAG)),
        "get_jobs(tag=...)": lambda: manager.get_jobs(tag=TAG),
        FULL: lambda: page(Criteria(tag=TAG, status="CANCELLED")),
    }
    rounds = 10 if quick else 30
    return [
        Figure(
            name=f"{name}, beside {size:,} runs",
            unit="ms",
            values=[_took(ask) for _ in range(rounds + 1)][1:],
            at_most=None if name == FULL else MOST_MS,
        )
        for name, ask in asked.items()
    ]


def fill(size: int) -> None:
    """Write a history in which runs are about objects and have tags."""
    number = f"(n % {size // OBJECTS})"
    order = (
        f"'shop.order:' || {number}" if connection.vendor != "mysql" else f"CONCAT('shop.order:', {number})"
    )
    grow(size, alias="default", about=f"CASE WHEN n % 100 = 0 THEN '{HOT}' ELSE {order} END")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {RunTag._meta.db_table} (run_id, tag) SELECT id, %s FROM {Run._meta.db_table} "
            "WHERE id %% 10 = 0",
            [digest(TAG)],
        )
    rows.analyze("default")


def page(criteria: Criteria) -> run_query.Page:
    """Read a page as the admin's list does."""
    runs = Run.objects.defer(*run_query.LARGE_COLUMNS)
    return run_query.page(criteria, runs, size=50, before=None, after=None, using="default")


def _took(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000
