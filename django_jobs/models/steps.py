"""What runs keep while they go on: results of steps, cursors of loops, waits; and events nobody waited for yet."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

MAX_STEP_NAME_LENGTH = 200


class StepKind(models.TextChoices):
    """What a run keeps."""

    STEP = "step", _("step")
    LOOP = "loop", _("loop")
    SLEEP = "sleep", _("sleep")
    EVENT = "event", _("event")


class Step(models.Model):
    """A part of a run that is not done again: it is there once it ended, or while it has a state of its own."""

    id = models.BigAutoField(primary_key=True)
    # Not a foreign key: runs are deleted without being read. Its rows go with it.
    run_id = models.BigIntegerField(_("run"))
    # Of kind, name and occurrence; collations take different names for the same.
    key = models.CharField(max_length=64)
    kind = models.CharField(_("kind"), max_length=10, choices=StepKind)
    name = models.CharField(_("name"), max_length=MAX_STEP_NAME_LENGTH)
    occurrence = models.PositiveIntegerField(_("occurrence"))
    # Result, cursor or payload as JSON; empty where there is none.
    value = models.TextField(_("result"), null=True)  # noqa: DJ001 - null is no value, "" is never written
    # Of run, step and value, by SECRET_KEY.
    signature = models.CharField(max_length=64, blank=True, default="")
    tries = models.PositiveIntegerField(_("tries"), default=0)
    error = models.TextField(_("error"), blank=True, default="")
    # The run's attempt and claim that it was last written in.
    attempt = models.PositiveIntegerField(_("attempt"))
    fence = models.BigIntegerField(null=True, editable=False)
    started_at = models.DateTimeField(_("started at"))
    # Empty while it goes on or waits.
    finished_at = models.DateTimeField(_("finished at"), null=True)
    # Until when it sleeps, or waits at most.
    until = models.DateTimeField(_("until"), null=True)
    # Name of the event that it waits for now.
    event = models.CharField(max_length=MAX_STEP_NAME_LENGTH, null=True)  # noqa: DJ001 - most wait for none

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["run_id", "key"], name="django_jobs_step_key")]
        indexes = [models.Index(fields=["event"], name="django_jobs_step_event")]

    def __str__(self) -> str:
        return f"{self.name} ({self.run_id})"


class Event(models.Model):
    """An event that was sent while no run waited for it: the next that does takes it."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(_("name"), max_length=MAX_STEP_NAME_LENGTH)
    payload = models.TextField(_("payload"))
    signature = models.CharField(max_length=64)
    sent_at = models.DateTimeField(_("sent at"))

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ()
        indexes = [models.Index(fields=["name", "id"], name="django_jobs_event_name")]

    def __str__(self) -> str:
        return self.name
