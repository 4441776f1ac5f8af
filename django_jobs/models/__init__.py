"""Tables, constraints, indexes and selections."""

from __future__ import annotations

from django_jobs.models.alerts import AlertState
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
    PresentIndex,
    Status,
    StatusIndex,
    Wait,
)
from django_jobs.models.batches import BACKFILL_PREFIX, BATCH_PREFIX, Batch, Dependency, Dependent
from django_jobs.models.database import jobs_database, missing_tables
from django_jobs.models.jobs import Job, JobQuerySet
from django_jobs.models.limits import LimitEdit, Pace
from django_jobs.models.logs import LogChunk
from django_jobs.models.runs import BLOCKED, BLOCKED_STATES, BROKEN, HELD, PAUSED, Dashboard, Run, RunQuerySet
from django_jobs.models.schedules import ScheduleRevision, SchedulerProcess
from django_jobs.models.statistics import BIN_ENDS, RAN_BINS, WAITED_BINS, DepthSample, Rollup
from django_jobs.models.steps import MAX_STEP_NAME_LENGTH, Event, Step, StepKind
from django_jobs.models.tags import RunTag
from django_jobs.models.workers import MaintenanceTask, Queue, Worker, queue_words

__all__ = [
    "BACKFILL_PREFIX",
    "BATCH_PREFIX",
    "BIN_ENDS",
    "BLOCKED",
    "BLOCKED_STATES",
    "BROKEN",
    "DEFAULT_QUEUE_NAME",
    "FINISHED",
    "HELD",
    "MAX_ID_LENGTH",
    "MAX_PRIORITY",
    "MAX_STEP_NAME_LENGTH",
    "MIN_PRIORITY",
    "PAUSED",
    "RAN_BINS",
    "UNFINISHED",
    "WAITED_BINS",
    "AlertState",
    "Batch",
    "Call",
    "Dashboard",
    "Dependency",
    "Dependent",
    "DepthSample",
    "Event",
    "InStatus",
    "Job",
    "JobQuerySet",
    "Kind",
    "LimitEdit",
    "LogChunk",
    "MaintenanceTask",
    "Pace",
    "PresentIndex",
    "Queue",
    "Rollup",
    "Run",
    "RunQuerySet",
    "RunTag",
    "ScheduleRevision",
    "SchedulerProcess",
    "Status",
    "StatusIndex",
    "Step",
    "StepKind",
    "Wait",
    "Worker",
    "jobs_database",
    "missing_tables",
    "queue_words",
]
