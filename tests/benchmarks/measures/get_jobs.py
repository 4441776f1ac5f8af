"""`get_job` and `get_jobs` of one, some and many jobs and runs, beside the same rows as tuples."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import connection

from django_jobs.api.manager import get_job_manager
from django_jobs.models import Job, Run
from tests.benchmarks import rows
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Numbers, spread_jobs
from tests.many_rows import copy_row, numbered

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 10_000
JOB_COLUMNS = (
    "id", "next_run_time", "job_state", "name", "func", "payload", "queue_name", "priority", "kind", "max_instances",
    "broken_reason", "options", "about",
)  # fmt: skip


def measure(*, quick: bool) -> list[Figure]:
    """Measure milliseconds of the processor, of a call."""
    rounds = 5 if quick else 15
    manager = get_job_manager()
    rows.add_jobs(COUNT)
    with connection.cursor() as cursor:
        spread_jobs(cursor, Numbers(connection.vendor), int(time.time()))
    rows.analyze("default")
    timed = Job.objects.order_by("next_run_time").values_list(*JOB_COLUMNS)
    job_id = str(Job.objects.order_by("pk")[0].pk)
    figures = [
        _figure(
            "get_job of a scheduled job", rounds,
            lambda: manager.get_job(job_id), lambda: list(timed.filter(pk=job_id)),
        )
    ]  # fmt: skip
    figures += [
        _figure(
            f"get_jobs, {limit:,} of {COUNT:,} scheduled", rounds,
            lambda limit=limit: manager.get_jobs(limit=limit), lambda limit=limit: list(timed[:limit]),
        )
        for limit in (1, 100, COUNT)
    ]  # fmt: skip
    Job.objects.all().delete()
    run = Run.objects.create(**rows.bare_run(), attempt=0, rescues=0)
    copy_row(run, COUNT - 1, job_id=numbered("waits-"))
    rows.analyze("default")
    columns = [one.attname for one in Run._meta.concrete_fields if one.attname not in {"log", "errors"}]
    waiting = Run.objects.unfinished().order_by("id").values_list(*columns)
    figures.append(
        _figure(
            "get_job of a run", rounds,
            lambda: manager.get_job(run.job_id), lambda: list(Run.objects.filter(job_id=run.job_id).values_list(*columns)),
        )
    )  # fmt: skip
    figures += [
        _figure(
            f"get_jobs, {limit:,} of {COUNT:,} runs", rounds,
            lambda limit=limit: manager.get_jobs(limit=limit), lambda limit=limit: list(waiting[:limit]),
        )
        for limit in (1, 100, COUNT)
    ]  # fmt: skip
    return figures


def _figure(name: str, rounds: int, ours: Callable[[], Any], bare: Callable[[], Any]) -> Figure:
    assert ours()
    pairs = [(_milliseconds(ours), _milliseconds(bare)) for _ in range(rounds)]
    return Figure(
        name=name,
        unit="ms",
        values=[value for value, _ in pairs],
        reference="values_list of the same rows",
        reference_values=[value for _, value in pairs],
    )


def _milliseconds(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return (time.process_time() - began) * 1000
