"""Versions of the declared schedules, and the processes that have them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ScheduleRevision(models.Model):
    """The schedules that one version of the code declares, kept while a process has it and a while after.

    Revisions differ in what they declare, and are ordered by when that was first seen. Processes lock
    the row whose fingerprint is empty; it remembers what people changed of jobs that are not declared
    at present.
    """

    fingerprint = models.CharField(primary_key=True, max_length=64)
    number = models.PositiveIntegerField(unique=True, help_text=_("In the order they were first seen."))
    definitions = models.JSONField(default=dict, help_text=_("What each declared job is, by its id."))
    first_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, help_text=_("Since when no process is known to have it."))

    class Meta:
        # The name it was made under, which processes of the version before know.
        db_table = "django_jobs_release"
        verbose_name = _("schedule revision")
        verbose_name_plural = _("schedule revisions")

    def __str__(self) -> str:
        return str(self.number)


class SchedulerProcess(models.Model):
    """One process with a clock, and the revision of the schedules that its code has."""

    id = models.CharField(primary_key=True, max_length=64)
    # Not a foreign key: the two are written in one transaction, and nothing deletes a revision in use.
    fingerprint = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    process_key = models.CharField(max_length=255, help_text=_("As a worker's."))
    expires_at = models.DateTimeField(help_text=_("Dead by then, unless it says that it lives."))

    class Meta:
        # As above.
        db_table = "django_jobs_declarer"
        verbose_name = _("scheduler process")
        verbose_name_plural = _("scheduler processes")

    def __str__(self) -> str:
        return self.id
