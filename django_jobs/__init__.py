"""Background jobs for Django, kept in your own database: now, at a time, or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from django_jobs.api.job_info import JobInfo, RunInfo
    from django_jobs.api.manager import JobManager, get_job_manager
    from django_jobs.exceptions import (
        ConflictingIdError,
        GiveUp,
        JobCancelled,
        JobFailed,
        JobLookupError,
        RetryLater,
    )
    from django_jobs.execution.context import RunContext, current_run
    from django_jobs.execution.instrumentation import Observer, add_observer, remove_observer
    from django_jobs.registry.decorators import Enqueuer, job
    from django_jobs.registry.options import JobOptions
    from django_jobs.registry.retry import Retry
    from django_jobs.registry.schedules import cron, recurring
    from django_jobs.storage.retention import Pruned

__all__ = [
    "ConflictingIdError",
    "Enqueuer",
    "GiveUp",
    "JobCancelled",
    "JobFailed",
    "JobInfo",
    "JobLookupError",
    "JobManager",
    "JobOptions",
    "Observer",
    "Pruned",
    "Retry",
    "RetryLater",
    "RunContext",
    "RunInfo",
    "add_observer",
    "cron",
    "current_run",
    "get_job_manager",
    "job",
    "recurring",
    "remove_observer",
]

_HOMES = {
    "ConflictingIdError": "exceptions",
    "Enqueuer": "registry.decorators",
    "GiveUp": "exceptions",
    "JobCancelled": "exceptions",
    "JobFailed": "exceptions",
    "JobInfo": "api.job_info",
    "JobLookupError": "exceptions",
    "JobManager": "api.manager",
    "JobOptions": "registry.options",
    "Observer": "execution.instrumentation",
    "Pruned": "storage.retention",
    "Retry": "registry.retry",
    "RetryLater": "exceptions",
    "RunContext": "execution.context",
    "RunInfo": "api.job_info",
    "add_observer": "execution.instrumentation",
    "cron": "registry.schedules",
    "current_run": "execution.context",
    "get_job_manager": "api.manager",
    "job": "registry.decorators",
    "recurring": "registry.schedules",
    "remove_observer": "execution.instrumentation",
}


def __getattr__(name: str) -> Any:
    # On first use: Django imports this package before models may be imported.
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
