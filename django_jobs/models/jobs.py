"""Scheduled and recurring jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from django_apscheduler.models import DjangoJob

from django_jobs.models.base import Call, PresentIndex


class JobQuerySet(models.QuerySet["Job"]):
    """Selections of jobs."""

    def active(self) -> JobQuerySet:
        """Jobs that will fire."""
        # Not `=`: a planner without statistics takes that for so rare that it reads all jobs to find one.
        return self.filter(broken_reason__lte="", next_run_time__isnull=False)

    def paused(self) -> JobQuerySet:
        """Jobs that wait for `resume_job`."""
        return self.filter(broken_reason="", next_run_time__isnull=True)

    def broken(self) -> JobQuerySet:
        """Jobs that cannot be read, kept until somebody mends them."""
        return self.exclude(broken_reason="")

    def declared(self) -> JobQuerySet:
        """Jobs that the code declares, as against those that somebody added."""
        return self.filter(declared__isnull=False)


class Job(Call, DjangoJob):  # type: ignore[misc] # django-apscheduler ships no types
    """A scheduled or recurring job: django-apscheduler's row, and what it lacks.

    `id`, `next_run_time` (null while paused) and `job_state` (our JSON of the trigger, never a
    pickle) are inherited columns of django-apscheduler's table.
    """

    max_instances = models.PositiveIntegerField(
        _("max instances"),
        default=1,
        help_text=_("Unfinished runs of this job at the same time, over all processes."),
    )
    coalesce = models.BooleanField(
        _("coalesce"), default=True, help_text=_("Missed firings become one run, not one each.")
    )
    misfire_grace_time = models.PositiveIntegerField(
        _("misfire grace time"),
        null=True,
        blank=True,
        help_text=_("Seconds a firing may be late before it is skipped; empty: it runs however late."),
    )
    broken_reason = models.TextField(
        _("broken"), blank=True, default="", help_text=_("Why this job cannot fire; empty when it can.")
    )
    declared = models.JSONField(
        _("declared"),
        null=True,
        editable=False,
        help_text=_(
            "What the code's declaration says of what a person may change; null: added, not declared."
        ),
    )
    overrides = models.JSONField(
        _("overrides"),
        default=dict,
        editable=False,
        help_text=_("What a person changed of it since, by name; deploys leave that alone."),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    # A run of one of its scheduled times that was made before this, by the database's clock, is of an
    # earlier job of this id, or of before a person chose the time again. Empty: since `created_at`.
    occurrences_since = models.DateTimeField(null=True, editable=False)
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)
    # A default of the database's: processes of the version before insert rows without it.
    paused_by = models.CharField(
        _("paused by"), max_length=255, blank=True, default="", db_default="",
        help_text=_("Who paused it, as they are called; empty when nobody said."),
    )  # fmt: skip
    # What its options say, for an index. Not a foreign key: it may be of any model, in any database.
    about = models.CharField(_("about"), max_length=255, null=True, editable=False)  # noqa: DJ001 - most have none
    # No constraint and no index: history may be pruned under it, and nothing looks a job up by it.
    last_run = models.ForeignKey(
        "Run", null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        permissions = [
            ("run_job", "Can run jobs now"),
            ("manage_job", "Can add, pause, resume and reschedule jobs"),
        ]
        indexes = [PresentIndex(fields=["about"], name="django_jobs_job_about")]

    def __str__(self) -> str:
        return str(self.id)

    def save(self, **options: Any) -> None:
        """Write the row, with what its options say that it is about."""
        self.about = self.said.get("about")
        super().save(**options)

    @property
    def status(self) -> str:
        """One of scheduled, paused, broken."""
        if self.broken_reason:
            return "broken"
        return "scheduled" if self.next_run_time else "paused"

    @property
    def has_chosen_next_run(self) -> bool:
        """Whether a person chose when it fires next, and that is still to come."""
        chosen = self.overrides.get("next_run_time")
        return chosen is not None and self.next_run_time == datetime.fromisoformat(chosen)

    @property
    def overridden(self) -> list[str]:
        """What a person changed of a declared job, by name; "paused" among them."""
        if self.declared is None:
            return []
        names = [name for name in self.overrides if name != "next_run_time" or self.has_chosen_next_run]
        return sorted(names) + (["paused"] if self.paused_at else [])


class _TheirJobs(models.Manager):  # type: ignore[type-arg]
    """The rows of django-apscheduler's table that are its own."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Leave out the rows that are parts of ours.

        django-apscheduler's store deletes what it cannot unpickle, and everything on `remove_all_jobs`.
        """
        # No join: the store locks rows, and PostgreSQL locks none of an outer join.
        return super().get_queryset().filter(~models.Exists(Job.objects.filter(pk=models.OuterRef("pk"))))


def _protect_ours() -> None:
    meta = DjangoJob._meta
    meta.local_managers = [manager for manager in meta.local_managers if manager.name != "objects"]
    DjangoJob.add_to_class("objects", _TheirJobs())


_protect_ours()
