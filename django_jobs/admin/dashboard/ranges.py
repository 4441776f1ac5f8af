"""The times to look back on: from a number of hours or days ago to now, or from one moment to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from django_jobs.storage import statistics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from django.utils.functional import _StrOrPromise

# A range from one moment to another has at most so many steps, and ends at most so long after it begins.
MOST_STEPS, LONGEST = 72, timedelta(days=400)
# Counts of minutes are kept for two days, those of hours for sixty.
_FINE, _COARSE = timedelta(days=2), timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Range:
    """A time to look back on, and what it is cut into.

    Attributes:
        name: What the address calls it; "custom" where the address has its times.
        label: What it is called.
        short: The same on a button.
        length: How long it is.
        step: How long each of its steps is.
        each: What a chart of it shows.
        since: When it begins; None where it ends now.
        until: When it ends; None for now.
    """

    name: str
    label: _StrOrPromise
    short: _StrOrPromise
    length: timedelta
    step: timedelta
    each: _StrOrPromise
    since: datetime | None = None
    until: datetime | None = None

    def times(self, now: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
        """Return from when to when it is, from the beginning of a step of the zone."""
        seconds = int(self.step.total_seconds())
        if self.since is not None and self.until is not None:
            return statistics.floor(self.since, seconds, zone).astimezone(UTC), self.until
        # The last bar is the present minute or hour, which is not over.
        last = statistics.floor(now, seconds, zone)
        # By the zone's clocks, as its days are: one of them may have 23 hours, or 25.
        return (last - (self.length - self.step)).astimezone(UTC), now


RANGES = {
    one.name: one
    for one in (
        Range("hour", _("Last hour"), _("1 h"), timedelta(hours=1), timedelta(minutes=1), _("Runs per minute")),
        Range("6-hours", _("Last 6 hours"), _("6 h"), timedelta(hours=6), timedelta(minutes=10), _("Runs per 10 minutes")),
        Range("day", _("Last 24 hours"), _("24 h"), timedelta(days=1), timedelta(hours=1), _("Runs per hour")),
        Range("week", _("Last 7 days"), _("7 d"), timedelta(days=7), timedelta(hours=6), _("Runs per 6 hours")),
        Range("month", _("Last 30 days"), _("30 d"), timedelta(days=30), timedelta(days=1), _("Runs per day")),
    )
}  # fmt: skip
DEFAULT_RANGE = "hour"
CUSTOM = "custom"


def chosen(query: Mapping[str, str], now: datetime) -> Range:
    """Return the range that an address asks for: by `range`, or by `from` and `until`, times in the page's zone.

    Without `until` it ends now. What cannot be read, or ends before it begins, is left out.
    """
    since, until = _moment(query.get("from", "")), _moment(query.get("until", ""))
    until = min(until or now, now)
    if since is None or since >= until:
        return RANGES.get(query.get("range", ""), RANGES[DEFAULT_RANGE])
    since = max(since, until - LONGEST)
    length = until - since
    least = (
        timedelta(days=1)
        if since < now - _COARSE
        else timedelta(hours=1)
        if since < now - _FINE
        else timedelta(0)
    )
    steps = [(one.step, one.each) for one in RANGES.values()]
    step, each = next((one for one in steps if one[0] >= least and length <= MOST_STEPS * one[0]), steps[-1])
    return Range(CUSTOM, _("From to"), "", length, step, each, since, until)


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    if found is not None and timezone.is_naive(found):
        return timezone.make_aware(found)
    return found


def as_input(moment: datetime) -> str:
    """Return a moment as an input of the kind datetime-local has it, in the zone of the page."""
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M}"
