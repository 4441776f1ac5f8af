"""Lengths of time in words: "every 3 days"."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import formats
from django.utils.translation import gettext, ngettext_lazy

from django_jobs.triggers.moments import in_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# By unit: alone after "every", and as part of a length. Whole sentences, for languages that bend the words.
_EVERY = {
    "year": ngettext_lazy("every year", "every %(count)s years", "number"),
    "month": ngettext_lazy("every month", "every %(count)s months", "number"),
    "week": ngettext_lazy("every week", "every %(count)s weeks", "number"),
    "day": ngettext_lazy("every day", "every %(count)s days", "number"),
    "hour": ngettext_lazy("every hour", "every %(count)s hours", "number"),
    "minute": ngettext_lazy("every minute", "every %(count)s minutes", "number"),
    "second": ngettext_lazy("every second", "every %(count)s seconds", "number"),
}
_LENGTH = {
    "year": ngettext_lazy("%(count)s year", "%(count)s years", "number"),
    "month": ngettext_lazy("%(count)s month", "%(count)s months", "number"),
    "week": ngettext_lazy("%(count)s week", "%(count)s weeks", "number"),
    "day": ngettext_lazy("%(count)s day", "%(count)s days", "number"),
    "hour": ngettext_lazy("%(count)s hour", "%(count)s hours", "number"),
    "minute": ngettext_lazy("%(count)s minute", "%(count)s minutes", "number"),
    "second": ngettext_lazy("%(count)s second", "%(count)s seconds", "number"),
}


def every(units: Iterable[tuple[float, str]]) -> str:
    """Say "every" and a length: of its counts by unit, those that are 0 go unsaid."""
    given = [(count, unit) for count, unit in units if count]
    if len(given) == 1:
        return _counted(_EVERY, *given[0])
    return gettext("every %(length)s") % {"length": " ".join(_counted(_LENGTH, *part) for part in given)}


def _counted(words: Mapping[str, Any], count: float, unit: str) -> str:
    # Half a second takes the plural; gettext knows whole numbers only.
    if isinstance(count, int):
        return str(words[unit] % {"count": count, "number": count})
    return str(words[unit] % {"count": formats.number_format(count), "number": 2})


def units_of(length: timedelta) -> list[tuple[float, str]]:
    """Return a length by unit: weeks, or days, hours, minutes and seconds."""
    if length % timedelta(weeks=1) == timedelta(0):
        return [(length // timedelta(weeks=1), "week")]
    hours, minutes = divmod(length.seconds // 60, 60)
    seconds = in_seconds(timedelta(seconds=length.seconds % 60, microseconds=length.microseconds))
    return [(length.days, "day"), (hours, "hour"), (minutes, "minute"), (seconds, "second")]
