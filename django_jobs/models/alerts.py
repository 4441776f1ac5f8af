"""What people were told, and what is still wrong."""

from __future__ import annotations

from django.db import models


class AlertState(models.Model):
    """One thing that is or was wrong, however often it happened: what alerts are grouped by."""

    # A hash of what it is about.
    key = models.CharField(primary_key=True, max_length=64)
    # "failed", "late", "longest", or the code of a problem of `health`.
    kind = models.CharField(max_length=40)
    # The function, or what else it is about.
    subject = models.CharField(max_length=600)
    # What to say of it: its last occurrence.
    text = models.TextField()
    # The last run that it is about, if it is about runs.
    run_id = models.BigIntegerField(null=True)
    count = models.PositiveIntegerField(default=0)
    # Of those, how many the last message was about.
    told_count = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField()
    last_at = models.DateTimeField()
    # When the last message was sent, and until when the next one is on its way.
    told_at = models.DateTimeField(null=True)
    telling_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "django_jobs_alert"

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
