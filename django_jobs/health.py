"""Whether jobs are executed as they should be: `report()` has workers, queues and problems."""

from __future__ import annotations

from django_jobs.operations.health import report
from django_jobs.operations.reports import Problem, QueueReport, Report, WorkerReport, WorkerTotals

__all__ = ["Problem", "QueueReport", "Report", "WorkerReport", "WorkerTotals", "report"]
