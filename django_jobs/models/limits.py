"""What is kept of limits besides the runs themselves."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Pace(models.Model):
    """When the next run of a key with a rate may begin; rows whose time is past are deleted."""

    # As `Run.limit_key`.
    key = models.CharField(max_length=32, primary_key=True)
    next_at = models.DateTimeField(db_index=True)
    # Who has the last share, and what `next_at` was before: a run that is handed back unstarted gives it back.
    run_id = models.BigIntegerField()
    attempt = models.PositiveIntegerField()
    before = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key


class LimitEdit(models.Model):
    """What an operator made of a limit, over what the code says, for all keys of one pattern."""

    # A digest of the pattern: it may be longer than what is indexed.
    key = models.CharField(max_length=32, primary_key=True)
    # The pattern: the key as it is written in the code, as "shop:{shop.pk}".
    name = models.TextField(_("limit"))
    # Empty where the code's holds; 0 keeps all runs waiting.
    concurrency = models.PositiveIntegerField(_("at the same time"), null=True, blank=True)
    rate = models.CharField(_("rate"), max_length=30, null=True, blank=True)  # noqa: DJ001 - empty is no rate
    edited_at = models.DateTimeField(_("edited at"))
    edited_by = models.CharField(_("edited by"), max_length=255, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("limit")
        verbose_name_plural = _("limits")

    def __str__(self) -> str:
        return self.name
