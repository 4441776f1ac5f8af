"""Batches: runs that belong together, and which of them wait for which others."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobs.models.base import FINISHED, Status

# What the id of each batch begins with, so that `wait` tells it from a job's.
BATCH_PREFIX = "batch:"
# And of one that is a backfill, whose call finds it again.
BACKFILL_PREFIX = f"{BATCH_PREFIX}backfill:"


class Batch(models.Model):
    """Runs that belong together; `Run.batch_id` says which.

    Its row is the lock of all that changes among its runs: who ends runs, adds some, retries or cancels
    them holds it. Order of locks: rows of RUNNING runs, then batches by id, then rows of runs that wait.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(_("id"), max_length=64, unique=True, help_text=_("What the API calls it."))
    name = models.CharField(_("name"), max_length=255)
    # RUNNING until it ends.
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.RUNNING)
    # What counts as failed among the ends of its runs.
    failures = models.JSONField(default=list, editable=False)
    created_at = models.DateTimeField(_("created at"))
    # When it stopped to take more from outside; its running runs may add to it until it ends.
    closed_at = models.DateTimeField(_("closed at"), null=True)
    cancelled_at = models.DateTimeField(_("cancelled at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True)
    # Of the counts below.
    changed_at = models.DateTimeField(_("changed at"))
    total = models.BigIntegerField(_("runs"), default=0)
    successful = models.BigIntegerField(_("successful"), default=0)
    failed = models.BigIntegerField(_("failed"), default=0)
    cancelled = models.BigIntegerField(_("cancelled"), default=0)
    skipped = models.BigIntegerField(_("skipped"), default=0)
    # Whether any of its runs waits, or waited, for others.
    has_dependencies = models.BooleanField(default=False, editable=False)
    # Calls to add as jobs when it ends, by "end", "success" and "failure"; and the jobs that were added.
    callbacks = models.JSONField(null=True, editable=False)
    callback_jobs = models.JSONField(null=True, editable=False)

    class Meta:
        # Who may see and change its runs may see and change it.
        default_permissions = ()
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        indexes = [models.Index(fields=["ended_at", "id"], name="django_jobs_batch_ended")]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"

    @property
    def ended_runs(self) -> int:
        """How many of its runs have ended, however they did."""
        return sum(getattr(self, status.lower()) for status in FINISHED)

    @property
    def state(self) -> str:
        """One of open (more may be added), running, cancelling, successful, failed, cancelled."""
        if self.ended_at is not None:
            return str(self.status).lower()
        if self.cancelled_at is not None:
            return "cancelling"
        return "open" if self.closed_at is None else "running"


class Dependent(models.Model):
    """A run of a batch that waits, or waited, for others of it."""

    run_id = models.BigIntegerField(primary_key=True)
    batch_id = models.BigIntegerField(db_index=True)
    # How many of those it still waits for.
    waits = models.IntegerField()
    # "cancel", "run" or "skip".
    after_failure = models.CharField(max_length=6)
    # The run for whose failure it was cancelled or skipped; a retry of that one revives it.
    ended_by = models.BigIntegerField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.run_id} waits for {self.waits}"


class Dependency(models.Model):
    """One run that another one waits for."""

    id = models.BigAutoField(primary_key=True)
    run_id = models.BigIntegerField()
    # References in the arguments of the run name it by this, counted from 0.
    position = models.PositiveIntegerField()
    after_id = models.BigIntegerField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["run_id", "position"], name="django_jobs_dependency_position")
        ]

    def __str__(self) -> str:
        return f"{self.run_id} after {self.after_id}"
