"""The names of our tables in SQL."""

from __future__ import annotations

from django_apscheduler.models import DjangoJob

from django_jobs.models import Job, LogChunk, MaintenanceTask, Queue, Rollup, Run, Worker

RUN_TABLE = Run._meta.db_table
WORKER_TABLE = Worker._meta.db_table
JOB_TABLE = Job._meta.db_table
QUEUE_TABLE = Queue._meta.db_table
# django-apscheduler's part of a job.
TRIGGER_TABLE = DjangoJob._meta.db_table
ROLLUP_TABLE = Rollup._meta.db_table
LOG_TABLE = LogChunk._meta.db_table
TASK_TABLE = MaintenanceTask._meta.db_table
