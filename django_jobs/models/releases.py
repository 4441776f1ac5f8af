"""Versions of the declared schedules, and the processes that have them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Release(models.Model):
    """The schedules that one version of the code declares, kept while a process has it and a while after.

    Versions are told apart by what they declare, and ordered by when that was first seen. The row
    whose fingerprint is empty is what processes lock, and remembers what persons changed of jobs that
    are not declared at present.
    """

    fingerprint = models.CharField(primary_key=True, max_length=64)
    number = models.PositiveIntegerField(unique=True, help_text=_("In the order they were first seen."))
    definitions = models.JSONField(default=dict, help_text=_("What each declared job is, by its id."))
    first_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, help_text=_("Since when no process is known to have it."))

    class Meta:
        verbose_name = _("release")
        verbose_name_plural = _("releases")

    def __str__(self) -> str:
        return str(self.number)


class Declarer(models.Model):
    """One process with a clock, and the release that its code is of."""

    id = models.CharField(primary_key=True, max_length=64)
    # Not a foreign key: the two are written in one transaction, and nothing deletes a release in use.
    fingerprint = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    process_key = models.CharField(max_length=255, help_text=_("As a worker's."))
    expires_at = models.DateTimeField(help_text=_("Dead by then, unless it says that it lives."))

    class Meta:
        verbose_name = _("declarer")
        verbose_name_plural = _("declarers")

    def __str__(self) -> str:
        return self.id
