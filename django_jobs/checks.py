"""System checks: configuration mistakes, said before they cost anything."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from django_jobs import conf, functions
from django_jobs.celery_engine.project import complaints
from django_jobs.engines.factories import factory, takes_max_workers

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUTER = "django_jobs.routers.JobsRouter"


def check_settings(**_: Any) -> Sequence[CheckMessage]:
    """E001: every key of DJANGO_JOBS exists and has a sensible value."""
    return [
        Error(problem, hint="See docs/settings.md for every key.", id="django_jobs.E001")
        for problem in conf.problems(getattr(settings, "DJANGO_JOBS", None) or {})
    ]


def check_apps(**_: Any) -> Sequence[CheckMessage]:
    """E002: django-apscheduler, whose table we extend, is installed too."""
    if any(app.split(".")[0] == "django_apscheduler" for app in settings.INSTALLED_APPS):
        return []
    return [
        Error(
            "django_jobs extends a table of django_apscheduler, which is not installed.",
            hint='Add "django_apscheduler" to INSTALLED_APPS.',
            id="django_jobs.E002",
        )
    ]


def check_time_zones(**_: Any) -> Sequence[CheckMessage]:
    """E003: times are aware."""
    if settings.USE_TZ:
        return []
    return [
        Error(
            "django_jobs needs aware datetimes, and USE_TZ is False.",
            hint="Set USE_TZ = True (Django's default); TIME_ZONE keeps its meaning for pages and forms.",
            id="django_jobs.E003",
        )
    ]


def check_database(**_: Any) -> Sequence[CheckMessage]:
    """E004, E005, W001: the jobs' database is one that we know, and is routed to."""
    alias = (getattr(settings, "DJANGO_JOBS", None) or {}).get("DATABASE")
    found: list[CheckMessage] = []
    if alias and not any(
        router == ROUTER or type(router).__name__ == "JobsRouter" for router in settings.DATABASE_ROUTERS
    ):
        found.append(
            Error(
                f"DJANGO_JOBS['DATABASE'] is {alias!r}, but no router sends our tables there.",
                hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
                id="django_jobs.E004",
            )
        )
    connection = connections[alias if alias in settings.DATABASES else "default"]
    if connection.vendor not in {"sqlite", "postgresql", "mysql"}:
        found.append(
            Error(
                f"django_jobs knows SQLite, PostgreSQL, MariaDB and MySQL, not {connection.vendor}.",
                hint="Give it a database of its own with DJANGO_JOBS['DATABASE'].",
                id="django_jobs.E005",
            )
        )
    if connection.vendor == "sqlite" and connection.is_in_memory_db() and not _is_testing():  # type: ignore[attr-defined]
        found.append(
            Warning(
                "The jobs' SQLite database is in memory: threads wait for each other, and jobs end with the process.",
                hint="Use a file.",
                id="django_jobs.W001",
            )
        )
    return found


def check_declarations(**_: Any) -> Sequence[CheckMessage]:
    """E009: each declared schedule has an id of its own."""
    return [
        Error(
            f"The job id {job_id!r} is declared more than once: by {', '.join(paths)}.",
            hint='Give each an id of its own, as in @recurring(minutes=30, job_id="...").',
            id="django_jobs.E009",
        )
        for job_id, paths in functions.contested_ids().items()
    ]


def check_celery(**_: Any) -> Sequence[CheckMessage]:
    """E020: where a queue is Celery's, there is a Celery app that takes our messages."""
    if "celery" not in _engines():
        return []
    return [
        Error(problem, hint="See docs/engines.md for how to set it up.", id="django_jobs.E020")
        for problem in complaints()
    ]


def check_executors(**_: Any) -> Sequence[CheckMessage]:
    """E021: what ENGINES has the path of can be imported, and be called for an executor."""
    found: list[CheckMessage] = []
    for path in dict.fromkeys(_engines()):
        if path in conf.ENGINE_NAMES or not conf.is_path(path):
            continue
        try:
            made = factory(path)
        except ImportError as error:
            found.append(_no_executor(f"DJANGO_JOBS['ENGINES'] names {path}, which cannot be had: {error}"))
            continue
        if not callable(made):
            found.append(_no_executor(f"DJANGO_JOBS['ENGINES'] names {path}, which cannot be called."))
        elif not takes_max_workers(made):
            found.append(
                _no_executor(f"DJANGO_JOBS['ENGINES'] names {path}, which takes no argument max_workers.")
            )
    return found


def _engines() -> Sequence[Any]:
    engines = (getattr(settings, "DJANGO_JOBS", None) or {}).get("ENGINES")
    # What else it may be is E001's to say.
    return list(engines.values()) if isinstance(engines, Mapping) else []


def _no_executor(problem: str) -> CheckMessage:
    hint = "Name a callable that is called with max_workers=... and returns a concurrent.futures.Executor."
    return Error(problem, hint=hint, id="django_jobs.E021")


def _is_testing() -> bool:
    return "test" in sys.argv[1:2] or "pytest" in sys.modules


ALL = (
    check_settings,
    check_apps,
    check_time_zones,
    check_database,
    check_declarations,
    check_celery,
    check_executors,
)
