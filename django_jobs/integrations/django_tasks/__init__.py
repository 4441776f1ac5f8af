"""Django's own Tasks framework, and its backport.

`AppConfig.ready` calls `connect_where_used`; what that connects imports the rest with the first event.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from django.conf import settings

from django_jobs import signals
from django_jobs.execution import adapters
from django_jobs.registry.options import renewals

FRAMEWORKS = ("django.tasks", "django_tasks")
# The key of a run's options that says that it is a task; what it holds is a `results.Mark`.
TASK = "task"


def connect() -> None:
    """Tell the framework's receivers of tasks that end in this process; once or more."""
    uid = "django_jobs.integrations.django_tasks"
    signals.run_finished.connect(_tell_finished, dispatch_uid=uid)
    signals.run_rescued.connect(_tell_rescued, dispatch_uid=uid)
    signals.runs_cancelled.connect(_tell_cancelled, dispatch_uid=uid)


def is_used() -> bool:
    """Return whether TASKS has other backends than the framework's own."""
    found = getattr(settings, "TASKS", None)
    # Before Django 6.0 the name is free for whatever a project likes.
    entries = found.values() if isinstance(found, dict) else ()
    own = tuple(f"{name}." for name in FRAMEWORKS)
    return any(not str(entry.get("BACKEND")).startswith(own) for entry in entries if isinstance(entry, dict))


def connect_where_used() -> None:
    """Connect, if TASKS has other backends than the framework's own."""
    adapters.register(
        TASK,
        f"{__name__}.results.begin",
        maker=f"{__name__}.enqueue.run_of_batch",
        teller=f"{__name__}.enqueue.tell_enqueued",
    )
    renewals[TASK] = f"{__name__}.results.renewed_mark"
    if is_used():
        connect()
        with suppress(ModuleNotFoundError):
            # Registers the framework's system check, which asks the backends.
            importlib.import_module(FRAMEWORKS[0])


def _tell_finished(**event: Any) -> None:
    from django_jobs.integrations.django_tasks import results

    results.tell_finished(**event)


def _tell_rescued(**event: Any) -> None:
    from django_jobs.integrations.django_tasks import results

    results.tell_rescued(**event)


def _tell_cancelled(**event: Any) -> None:
    from django_jobs.integrations.django_tasks import results

    results.tell_cancelled(**event)
