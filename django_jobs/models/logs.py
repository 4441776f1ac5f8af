"""What runs have said so far that are not over."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class LogChunk(models.Model):
    """Some lines that an attempt said one after the other, written about once a second while it executes.

    Not the place of a log: `Run.log` has it once the attempt has ended. These are rows of attempts that are
    under way, or that ended without saying so.
    """

    id = models.BigAutoField(primary_key=True)
    # Not a foreign key: runs are deleted by statements that know of no other table.
    run_id = models.BigIntegerField()
    attempt = models.PositiveIntegerField(_("attempt"))
    # Of the claim: an attempt that is handed back has its number again.
    fence = models.BigIntegerField()
    written_at = models.DateTimeField()
    level = models.SmallIntegerField(_("level"), help_text=_("The highest of its lines, as of logging."))
    text = models.TextField(_("log"))

    class Meta:
        db_table = "django_jobs_log"
        # No page shows it.
        default_permissions = ()
        verbose_name = _("part of a log")
        verbose_name_plural = _("parts of logs")
        indexes = [models.Index(fields=["run_id", "id"], name="django_jobs_log_run")]

    def __str__(self) -> str:
        return f"{self.run_id} ({self.pk})"
