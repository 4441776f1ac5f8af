"""Where the tables are, and whether they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections, models, router
from django_apscheduler.models import DjangoJob

from django_jobs.models.alerts import AlertState
from django_jobs.models.batches import Batch, Dependency, Dependent
from django_jobs.models.jobs import Job
from django_jobs.models.limits import LimitEdit, Pace
from django_jobs.models.logs import LogChunk
from django_jobs.models.runs import Run
from django_jobs.models.schedules import ScheduleRevision, SchedulerProcess
from django_jobs.models.statistics import DepthSample, Rollup
from django_jobs.models.steps import Event, Step
from django_jobs.models.tags import RunTag
from django_jobs.models.workers import MaintenanceTask, Queue, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable


def jobs_database() -> str:
    """Return the alias that holds our tables, as the project's routers say."""
    return router.db_for_write(Run)


def missing_tables(alias: str | None = None) -> set[str]:
    """Return the tables of ours that the database lacks, with two or three queries."""
    connection = connections[alias or jobs_database()]
    there = set(connection.introspection.table_names())
    return {model._meta.db_table for model in _tables()} - there


def _tables() -> Iterable[type[models.Model]]:
    return (
        DjangoJob, Job, Run, Worker, Queue, MaintenanceTask, Rollup, ScheduleRevision, SchedulerProcess,
        Batch, Dependent, Dependency, Step, Event, Pace, LimitEdit,
        LogChunk, AlertState, RunTag, DepthSample,
    )  # fmt: skip
