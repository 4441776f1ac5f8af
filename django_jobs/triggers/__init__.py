"""APScheduler's triggers: made, also from crontab, asked when they fire, stored as JSON, and put into words."""

from __future__ import annotations

from django_jobs.triggers.builders import at, interval, length_of
from django_jobs.triggers.cron import crontab
from django_jobs.triggers.description import describe
from django_jobs.triggers.firing import due, first, is_once, local, moved_to, strays
from django_jobs.triggers.rules import by_rule, rule, same
from django_jobs.triggers.storage import dumps, loads
from django_jobs.triggers.validation import check

__all__ = [
    "at",
    "by_rule",
    "check",
    "crontab",
    "describe",
    "due",
    "dumps",
    "first",
    "interval",
    "is_once",
    "length_of",
    "loads",
    "local",
    "moved_to",
    "rule",
    "same",
    "strays",
]
