"""Tables, constraints, indexes and selections."""

from __future__ import annotations

from django_jobs.models.base import (
    DEFAULT_QUEUE_NAME,
    FINISHED,
    MAX_ID_LENGTH,
    MAX_PRIORITY,
    MIN_PRIORITY,
    UNFINISHED,
    Call,
    InStatus,
    Kind,
    Status,
    StatusIndex,
)
from django_jobs.models.database import jobs_database, missing_tables
from django_jobs.models.jobs import Job, JobQuerySet
from django_jobs.models.runs import PAUSED, Dashboard, Run, RunQuerySet
from django_jobs.models.schedules import ScheduleRevision, SchedulerProcess
from django_jobs.models.statistics import BIN_ENDS, RAN_BINS, WAITED_BINS, Rollup
from django_jobs.models.workers import MaintenanceTask, Queue, Worker

__all__ = [
    "BIN_ENDS",
    "DEFAULT_QUEUE_NAME",
    "FINISHED",
    "MAX_ID_LENGTH",
    "MAX_PRIORITY",
    "MIN_PRIORITY",
    "PAUSED",
    "RAN_BINS",
    "UNFINISHED",
    "WAITED_BINS",
    "Call",
    "Dashboard",
    "InStatus",
    "Job",
    "JobQuerySet",
    "Kind",
    "MaintenanceTask",
    "Queue",
    "Rollup",
    "Run",
    "RunQuerySet",
    "ScheduleRevision",
    "SchedulerProcess",
    "Status",
    "StatusIndex",
    "Worker",
    "jobs_database",
    "missing_tables",
]
