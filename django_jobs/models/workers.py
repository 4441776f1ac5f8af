"""Processes that work, queues that an operator paused, and tasks that one process does for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    # What its process met and does not know of the code that runs need, and the first and the last time that
    # processes met it: {"shop.jobs:new": [ISO 8601, ISO 8601]}. Empty where it is none.
    unknown = models.JSONField(null=True, editable=False)
    was_lost = models.BooleanField(_("lost"), default=False, help_text=_("Ended without saying so."))
    # What the process says of itself: `project`, `memory` in bytes, `quiet` once it takes no more runs, and where something
    # is wrong `problems` and `clock_ahead`. None of a process of a version before.
    details = models.JSONField(null=True, default=None)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        # Those that live, among all that ever did.
        indexes = [models.Index(fields=["stopped_at"], name="django_jobs_worker_stopped")]

    def __str__(self) -> str:
        return self.id

    @property
    def queue_names(self) -> list[str]:
        """The queues that it serves, empty for all; whatever anybody wrote into the column."""
        return [str(name) for name in self.queues] if isinstance(self.queues, list) else []

    @property
    def is_quiet(self) -> bool:
        """Whether its process takes no more runs, and finishes those that it has: it is being stopped."""
        return isinstance(self.details, dict) and self.details.get("quiet") is True

    @property
    def queue_threads(self) -> dict[str, int]:
        """Queues that take at most so many of its threads; whatever anybody wrote into the column."""
        details = self.details if isinstance(self.details, dict) else {}
        found = details.get("queue_threads")
        if not isinstance(found, dict):
            return {}
        return {str(name): most for name, most in found.items() if isinstance(most, int)}


def queue_words(names: Sequence[str], most: Mapping[str, int]) -> list[str]:
    """Return queues as people write them: "mail:4" where one takes at most so many threads of a process.

    Args:
        names: Those that it serves; empty for all.
        most: How many threads some of them take at most.
    """
    shown = [f"{name}:{most[name]}" if name in most else name for name in names]
    return shown or [f"{name}:{count}" for name, count in most.items()]


class Queue(models.Model):
    """A queue that an operator has said something about; others need no row."""

    name = models.CharField(_("name"), primary_key=True, max_length=100)
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)
    # By the database's clock: its runs are claimed again from then on, and nothing is written.
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=255, null=True, blank=True)  # noqa: DJ001 - versions without it insert rows
    paused_reason = models.CharField(_("reason"), max_length=500, null=True, blank=True)  # noqa: DJ001 - as above

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        """Whether it is paused now, by this host's clock; for pages: claims ask the database."""
        if self.paused_at is None:
            return False
        return self.paused_until is None or self.paused_until > timezone.now()


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
