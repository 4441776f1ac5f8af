"""Triggers for every so many seconds, and for one moment."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.date import DateTrigger

from django_jobs.triggers.intervals import Interval
from django_jobs.triggers.moments import in_seconds

MIN_INTERVAL = timedelta(milliseconds=1)
MAX_INTERVAL = timedelta(days=36525)  # 100 years


def interval(seconds: float | timedelta) -> Interval:
    """Return a trigger for every so many seconds in UTC, first one interval from now.

    Args:
        seconds: From 0.001 to 100 years; also a timedelta.

    Raises:
        ValueError: It is out of range.
        TypeError: It is neither a number nor a timedelta.
    """
    if isinstance(seconds, bool):
        raise ValueError(f"the interval must be a number of seconds, not {seconds}")  # noqa: TRY004 - True is a wrong number, not a wrong type
    if not isinstance(seconds, int | float | timedelta):
        raise TypeError(f"the interval must be a number of seconds or a timedelta, not {seconds!r}")
    if not isinstance(seconds, timedelta):
        if isinstance(seconds, float) and math.isnan(seconds):
            raise ValueError("the interval is not a number (NaN); pass seconds")
        if seconds > MAX_INTERVAL.total_seconds():
            raise ValueError(
                f"an interval of {seconds} seconds is longer than 100 years; for one time, add a scheduled job"
            )
        if seconds < MIN_INTERVAL.total_seconds():
            raise ValueError(too_short(f"{seconds} seconds"))
        seconds = timedelta(seconds=seconds)
    if seconds > MAX_INTERVAL:
        raise ValueError(
            f"an interval of {seconds} is longer than 100 years; for one time, add a scheduled job"
        )
    if seconds < MIN_INTERVAL:
        raise ValueError(too_short(str(seconds)))
    return Interval(seconds=in_seconds(seconds), timezone=UTC, has_chosen_start=False)


def at(run_at: datetime | timedelta) -> DateTrigger:
    """Return a trigger for one moment, which may be in the past; a timedelta counts from now.

    Raises:
        ValueError: The datetime is naive, or the timedelta leads out of the calendar.
        TypeError: It is neither.
    """
    if isinstance(run_at, timedelta):
        try:
            run_at = datetime.now(UTC) + run_at
        except OverflowError:
            raise ValueError(f"{run_at} from now is out of the calendar") from None
    if not isinstance(run_at, datetime):
        raise TypeError(f"expected an aware datetime or a timedelta, not {run_at!r}")
    if run_at.utcoffset() is None:
        raise ValueError(
            f"{run_at.isoformat()} is naive, so it is unclear which moment is meant; "
            "pass django.utils.timezone.make_aware(run_at)"
        )
    check_in_calendar(run_at)
    return DateTrigger(run_at, timezone=UTC)  # the zone is for naive ones only


def length_of(
    *, weeks: float = 0, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
) -> timedelta:
    """Return the sum of some lengths.

    Raises:
        ValueError: It is longer than any interval may be, or not a number.
        TypeError: One of them is not a number.
    """
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError("the interval is longer than 100 years; for one time, add a scheduled job") from None


def check_in_calendar(moment: datetime) -> None:
    """Refuse a moment that UTC has no year for.

    Raises:
        ValueError: It is before year 1 or after year 9999 in UTC.
    """
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(
            f"{moment.isoformat()} is out of the calendar, which in UTC is years 1 to 9999"
        ) from None


def too_short(length: str) -> str:
    """Say why an interval of this length is refused."""
    return f"an interval of {length} is too short: it must be at least {MIN_INTERVAL.total_seconds()} seconds"
