"""Whether jobs are executed as they should be: `report()` has workers, queues and problems."""

from __future__ import annotations

from django_jobs.operations.health import (
    Problem,
    QueueReport,
    Report,
    WorkerReport,
    WorkerTotals,
    report,
)

__all__ = ["Problem", "QueueReport", "Report", "WorkerReport", "WorkerTotals", "report"]
