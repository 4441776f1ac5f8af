"""Send the tables of jobs to the database that `DJANGO_JOBS["DATABASE"]` names."""

from __future__ import annotations

from typing import Any

from django_jobs.conf import jobs_settings

# Ours extends a table of django-apscheduler's: both live in one database.
APPS = {"django_jobs", "django_apscheduler"}


class JobsRouter:
    """A database router; without the setting it has no opinion."""

    def db_for_read(self, model: type[Any], **hints: Any) -> str | None:
        """Return the jobs' database for the jobs' models."""
        return jobs_settings().DATABASE if model._meta.app_label in APPS else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Allow the jobs' tables in their database only."""
        alias = jobs_settings().DATABASE
        return None if alias is None or app_label not in APPS else db == alias
