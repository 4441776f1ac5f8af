"""Background jobs for Django, kept in your own database: now, at a time, or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from django_jobs.api.batch_info import BatchInfo
    from django_jobs.api.batches.batch import Batch
    from django_jobs.api.batches.handles import RunHandle
    from django_jobs.api.job_info import JobInfo, RunInfo
    from django_jobs.api.manager import JobManager, get_job_manager
    from django_jobs.exceptions import (
        BatchClosed,
        ConflictingIdError,
        GiveUp,
        JobCancelled,
        JobFailed,
        JobLookupError,
        RetryLater,
    )
    from django_jobs.execution.context import RunContext, current_run
    from django_jobs.execution.instrumentation import Observer, add_observer, remove_observer
    from django_jobs.registry.alerts import Alert
    from django_jobs.registry.decorators import Enqueuer, job
    from django_jobs.registry.handles import JobHandle
    from django_jobs.registry.limits import Limit
    from django_jobs.registry.options import JobOptions
    from django_jobs.registry.retry import Retry
    from django_jobs.registry.schedules import cron, recurring
    from django_jobs.registry.unique import Debounce, Unique
    from django_jobs.storage.retention import Pruned

__all__ = [
    "Alert", "Batch", "BatchClosed", "BatchInfo", "ConflictingIdError", "Debounce", "Enqueuer", "GiveUp",
    "JobCancelled", "JobFailed", "JobHandle", "JobInfo", "JobLookupError", "JobManager", "JobOptions",
    "Limit", "Observer", "Pruned", "Retry", "RetryLater", "RunContext", "RunHandle", "RunInfo", "Unique",
    "add_observer", "cron", "current_run", "get_job_manager", "job", "recurring", "remove_observer",
]  # fmt: skip

# Where each name is.
_HOMES = {
    name: module
    for module, names in {
        "api.batch_info": "BatchInfo",
        "api.batches.batch": "Batch",
        "api.batches.handles": "RunHandle",
        "api.job_info": "JobInfo RunInfo",
        "api.manager": "JobManager get_job_manager",
        "exceptions": "BatchClosed ConflictingIdError GiveUp JobCancelled JobFailed JobLookupError RetryLater",
        "execution.context": "RunContext current_run",
        "execution.instrumentation": "Observer add_observer remove_observer",
        "registry.alerts": "Alert",
        "registry.decorators": "Enqueuer job",
        "registry.handles": "JobHandle",
        "registry.limits": "Limit",
        "registry.options": "JobOptions",
        "registry.retry": "Retry",
        "registry.schedules": "cron recurring",
        "registry.unique": "Debounce Unique",
        "storage.retention": "Pruned",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    # On first use: Django imports this package before models may be imported.
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
