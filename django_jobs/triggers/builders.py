"""Triggers for every so many seconds, for days of the calendar, and for one moment."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, cast

from apscheduler.triggers.date import DateTrigger

from django_jobs.triggers.cron import cron_zone, crontab
from django_jobs.triggers.intervals import CalendarInterval, Interval
from django_jobs.triggers.limits import jitter_seconds, last_of, limited
from django_jobs.triggers.moments import MAX_INTERVAL, check_aware, check_in_calendar, in_seconds

if TYPE_CHECKING:
    from datetime import tzinfo

    from apscheduler.triggers.base import BaseTrigger

MIN_INTERVAL = timedelta(milliseconds=1)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def interval(
    seconds: float | timedelta,
    *,
    start: date | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
) -> Interval:
    """Return a trigger for every so many seconds in UTC, first one interval from now.

    Args:
        seconds: From 0.001 to 100 years; also a timedelta.
        start: When it fires first, and what it counts from: an aware datetime, or a date for midnight in
            UTC. It may be in the past. One interval from now by default.
        end: As for `crontab`.
        times: As for `crontab`.
        jitter: As for `crontab`; shorter than the interval.

    Raises:
        ValueError: One is out of range.
        TypeError: One is of another type.
    """
    length = _checked_length(seconds)
    later = jitter_seconds(jitter)
    if later is not None and later >= length.total_seconds():
        raise ValueError(f"a jitter of {later} seconds leaves out firings: it must be less than the interval")

    def make(**limits: Any) -> Interval:
        has_start = limits["start_date"] is not None
        return Interval(seconds=in_seconds(length), timezone=UTC, has_chosen_start=has_start, **limits)

    made = limited(make, UTC, start=start, end=end, times=times, jitter=later)
    return cast("Interval", made)


def anchored(
    seconds: float | timedelta,
    anchor: time | str,
    timezone: str | tzinfo | None = None,
    *,
    start: date | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
) -> BaseTrigger:
    """Return a trigger for every so many minutes or hours of the wall clock, counted from a time of day.

    Every 6 hours from 03:00 is at 03:00, 09:00, 15:00 and 21:00, in summer and in winter.

    Args:
        seconds: What divides an hour or a day into equal parts, as 20 minutes or 6 hours; also a timedelta.
        anchor: A time of the day, or its text: "03:00".
        timezone: As for `crontab`.
        start: As for `crontab`.
        end: As for `crontab`.
        times: As for `crontab`.
        jitter: As for `crontab`.

    Raises:
        ValueError: The interval has no such parts; or one of the others is out of range.
        TypeError: One is of another type.
    """
    length, clock = _checked_length(seconds), _time_of_day("anchor", anchor)
    if clock.second:
        raise ValueError(f"anchor must be a whole minute, not {clock}")
    if length % _MINUTE == timedelta(0) and _HOUR % length == timedelta(0):
        step = length // _MINUTE
        minutes, hours = range(clock.minute % step, 60, step), "*"
    elif length % _HOUR == timedelta(0) and _DAY % length == timedelta(0):
        step = length // _HOUR
        minutes, hours = (
            range(clock.minute, clock.minute + 1),
            ",".join(map(str, range(clock.hour % step, 24, step))),
        )
    else:
        raise ValueError(
            f"an anchor needs an interval that divides an hour or a day into equal parts, and {length} does "
            "not: pass start=..., the moment from which it counts"
        )
    expression = f"{','.join(map(str, minutes))} {hours} * * *"
    return crontab(expression, timezone, start=start, end=end, times=times, jitter=jitter)


def calendar(
    *,
    start: date,
    years: int = 0,
    months: int = 0,
    weeks: int = 0,
    days: int = 0,
    at: time | str = "00:00",
    timezone: str | tzinfo | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
) -> CalendarInterval:
    """Return a trigger for every so many days, weeks, months or years of the calendar, at a time of day.

    A month or year without the day of the start, as a 31st, is left out. A time that the clocks skip fires
    at the moment it would have been; one that they repeat fires the first time.

    Args:
        start: The first day, which the others are counted from; it may be in the past.
        years: Of the interval.
        months: Of the interval.
        weeks: Of the interval.
        days: Of the interval.
        at: A time of the day, or its text: "06:00".
        timezone: As for `crontab`.
        end: The last day on which it may fire.
        times: How often it fires at most, from 1 to 10,000, counted from `start`.
        jitter: As for `crontab`.

    Raises:
        ValueError: There is no interval; or one of them is out of range.
        TypeError: One is of another type.
    """
    counts = {"years": years, "months": months, "weeks": weeks, "days": days}
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} must be a whole number, not {count!r}")
        if count < 0:
            raise ValueError(f"{name} must be 0 or more, not {count}")
    if not any(counts.values()):
        raise ValueError("a calendar interval needs years, months, weeks or days, as in months=1")
    if years * 366 + months * 31 + weeks * 7 + days > MAX_INTERVAL.days:
        raise ValueError("the interval is longer than 100 years; for one time, add a scheduled job")
    first_day, last_day = _day("start", start), None if end is None else _day("end", end)
    if last_day is not None and last_day < first_day:
        raise ValueError(f"the end, {last_day}, is before the start, {first_day}")
    clock, zone = _time_of_day("at", at), cron_zone(timezone)

    def make(last_day: date | None, jitter: float | None = None) -> CalendarInterval:
        return CalendarInterval(
            **counts, hour=clock.hour, minute=clock.minute, second=clock.second,
            start_date=first_day, end_date=last_day, timezone=zone, jitter=jitter,
        )  # fmt: skip

    if times is not None:
        begin = datetime.combine(first_day, time(), zone)
        check_in_calendar(begin)
        last = last_of(make(last_day), times, begin)
        last_day = last_day if last is None else last.date()
    return make(last_day, jitter_seconds(jitter))


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
    check_aware("run_at", run_at)
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


def _checked_length(seconds: float | timedelta) -> timedelta:
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
    return seconds


def _time_of_day(name: str, value: time | str) -> time:
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value)
        except ValueError:
            raise ValueError(f'{name} must be a time of the day, as "03:00", not {value!r}') from None
    if not isinstance(value, time):
        raise TypeError(f'{name} must be a time of the day, as "03:00", not {value!r}')
    if value.tzinfo is not None or value.microsecond:
        raise ValueError(f"{name} must be whole seconds without a time zone, which timezone=... names")
    return value


def _day(name: str, value: date) -> date:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise TypeError(f"{name} must be a date without a time, which at=... gives, not {value!r}")
    return value


def too_short(length: str) -> str:
    """Say why an interval of this length is refused."""
    return f"an interval of {length} is too short: it must be at least {MIN_INTERVAL.total_seconds()} seconds"
