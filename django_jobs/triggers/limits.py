"""From when, until when, how often at most and how much later a trigger fires."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

from django_jobs.triggers.firing import first, following, in_utc
from django_jobs.triggers.moments import MAX_INTERVAL, check_aware, check_in_calendar, in_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from apscheduler.triggers.base import BaseTrigger

# They are gone through one by one, in each process that declares them.
MAX_TIMES = 10_000
_END_OF_DAY = time(23, 59, 59)


def limited(
    make: Callable[..., BaseTrigger],
    zone: tzinfo,
    *,
    start: date | None,
    end: date | None,
    times: int | None,
    jitter: float | timedelta | None,
) -> BaseTrigger:
    """Return a trigger with the limits that a caller chose.

    Args:
        make: Called with `start_date`, `end_date` and `jitter`, as APScheduler has them.
        zone: In which a date begins and ends.
        start: As for `crontab`.
        end: As for `crontab`.
        times: As for `crontab`.
        jitter: As for `crontab`.

    Raises:
        ValueError: A limit is out of range, or a datetime naive.
        TypeError: One is of another type.
    """
    begin = _moment("start", start, zone, time())
    until = _moment("end", end, zone, _END_OF_DAY)
    if begin is not None and until is not None and until < begin:
        raise ValueError(f"the end, {until.isoformat()}, is before the start, {begin.isoformat()}")
    if times is not None:
        until = last_of(make(start_date=begin, end_date=until, jitter=None), times, begin) or until
    return make(start_date=begin, end_date=until, jitter=jitter_seconds(jitter))


def last_of(trigger: BaseTrigger, times: int, begin: datetime | None) -> datetime | None:
    """Return the last of so many firings, or of those that there are; None where there are none.

    Raises:
        ValueError: The number is out of range, or there is no start to count from.
        TypeError: It is not a whole number.
    """
    if isinstance(times, bool) or not isinstance(times, int):
        raise TypeError(f"times must be a whole number, not {times!r}")
    if not 1 <= times <= MAX_TIMES:
        raise ValueError(f"times must be from 1 to {MAX_TIMES:,}, not {times}")
    if begin is None:
        raise ValueError("times is counted from the start: pass start=..., so that each process counts alike")
    last, after = None, first(trigger, begin)
    for _ in range(times):
        if after is None:
            break
        last, after = after, following(trigger, after)
    return last


def jitter_seconds(jitter: float | timedelta | None) -> float | None:
    """Return a jitter in seconds; None where there is none.

    Raises:
        ValueError: It is out of range, or not a number.
    """
    seconds = in_seconds(jitter) if isinstance(jitter, timedelta) else jitter
    check_jitter(seconds)
    return in_seconds(timedelta(seconds=seconds)) if seconds else None


def check_jitter(jitter: object) -> None:
    """Refuse a jitter that is not a number of seconds.

    Raises:
        ValueError: It is none, or out of range.
    """
    if jitter is None:
        return
    if isinstance(jitter, bool) or not isinstance(jitter, int | float):
        raise ValueError(f"jitter is a number of seconds, not {jitter!r}")  # noqa: TRY004 - of a trigger, whose other mistakes are ValueErrors
    # Not a number is not in any range either.
    if not 0 <= jitter <= MAX_INTERVAL.total_seconds():
        raise ValueError(f"jitter is 0 or more seconds, by which a firing comes later, and not {jitter!r}")


def _moment(name: str, value: date | None, zone: tzinfo, of_day: time) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, date):
        raise TypeError(f"{name} must be an aware datetime or a date, not {value!r}")
    if isinstance(value, datetime):
        check_aware(name, value)
        moment = value.replace(microsecond=0)
    else:
        moment = datetime.combine(value, of_day, zone)
    check_in_calendar(moment)
    # One that the clocks skip is stored as what they show then.
    return in_utc(moment).astimezone(moment.tzinfo)
