"""Processes that work, queues that an operator paused, and tasks that one process does for all."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Worker(models.Model):
    """One process that claims runs, and until when it may keep them."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(_("host"), max_length=255)
    # Tells two boots, containers or reused process ids apart, so that a process on the same
    # machine can prove that this one is gone without waiting for the lease.
    process_key = models.CharField(max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    version = models.CharField(_("version"), max_length=30)
    queues = models.JSONField(_("queues"), default=list, help_text=_("Empty: all."))
    threads = models.PositiveIntegerField(_("threads"))
    has_clock = models.BooleanField(_("clock"))
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    lease_expires_at = models.DateTimeField(_("lease until"))
    stopped_at = models.DateTimeField(
        _("stopped at"), null=True, help_text=_("Ended by itself, or found dead.")
    )
    was_lost = models.BooleanField(_("lost"), default=False, help_text=_("Ended without saying so."))

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        # Those that live, among all that ever did.
        indexes = [models.Index(fields=["stopped_at"], name="django_jobs_worker_stopped")]

    def __str__(self) -> str:
        return self.id


class Queue(models.Model):
    """A queue that an operator has said something about; others need no row."""

    name = models.CharField(_("name"), primary_key=True, max_length=100)
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")

    def __str__(self) -> str:
        return self.name


class MaintenanceTask(models.Model):
    """Work that one process does for all, every few minutes."""

    name = models.CharField(primary_key=True, max_length=30)
    # By the database's clock. Who moves it on first has the turn.
    due_at = models.DateTimeField()
    # What the next turn goes on from.
    state = models.JSONField(default=dict)

    class Meta:
        # The name it was made under, which processes of the version before know.
        db_table = "django_jobs_chore"

    def __str__(self) -> str:
        return self.name
