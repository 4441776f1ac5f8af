"""APScheduler's triggers: made, also from crontab, asked when they fire, stored as JSON, and put into words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_jobs.triggers.builders import anchored, at, calendar, interval, length_of
    from django_jobs.triggers.cron import crontab
    from django_jobs.triggers.description import describe
    from django_jobs.triggers.firing import (
        due,
        first,
        following,
        is_once,
        local,
        moved_from,
        moved_to,
        previous,
        strays,
    )
    from django_jobs.triggers.left_out import leaving_out
    from django_jobs.triggers.rules import by_rule, rule, same
    from django_jobs.triggers.storage import dumps, loads
    from django_jobs.triggers.validation import check, storable

__all__ = [
    "anchored", "at", "by_rule", "calendar", "check", "crontab", "describe", "due", "dumps", "first",
    "following", "interval", "is_once", "leaving_out", "length_of", "loads", "local", "moved_from", "moved_to",
    "previous", "rule", "same", "storable", "strays",
]  # fmt: skip

# Where each name is.
_HOMES = {
    name: module
    for module, names in {
        "builders": "anchored at calendar interval length_of",
        "cron": "crontab",
        "description": "describe",
        "firing": "due first following is_once local moved_from moved_to previous strays",
        "left_out": "leaving_out",
        "rules": "by_rule rule same",
        "storage": "dumps loads",
        "validation": "check storable",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    # On first use: a process that only declares schedules neither stores nor describes them.
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return found
