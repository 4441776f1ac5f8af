"""Intervals that count from their start, in place of APScheduler's own.

APScheduler counts from the firing before. With jitter each firing then puts off all that follow: an
hourly interval loses hours of a week, and the 31st of a month becomes the 1st. Where the clocks skip
the hour of a calendar interval, it leaves out the whole month or year.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.interval import IntervalTrigger

from django_jobs.triggers.firing import in_utc
from django_jobs.triggers.left_out import LeftOut, passing_over

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


class Interval(IntervalTrigger):  # type: ignore[misc]
    """Fires every so many seconds; with jitter, up to so much later, and no firing puts off the next.

    Args:
        has_chosen_start: Whether somebody chose its start. Else it starts one interval after it was added.
        **fields: As for `IntervalTrigger`.
    """

    __slots__ = ("has_chosen_start", "not_on")

    def __init__(self, *, has_chosen_start: bool, **fields: Any) -> None:
        super().__init__(**fields)
        self.has_chosen_start = has_chosen_start
        self.not_on: LeftOut | None = None

    @passing_over
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first time of the interval after the previous firing; None after its end."""
        if not self.jitter:
            unchanged: datetime | None = super().get_next_fire_time(previous_fire_time, now)
            return unchanged
        start = in_utc(self.start_date)
        after = in_utc(now) - _MICROSECOND if previous_fire_time is None else in_utc(previous_fire_time)
        number = max(0, (after - start) // self.interval + 1)
        try:
            found = start + number * self.interval
            later: datetime = self._apply_jitter(found, self.jitter, now)
        except OverflowError:
            return None  # the year 10000
        if self.end_date is not None:
            end = in_utc(self.end_date)
            if found > end:
                return None
            later = min(later, end)
        return later.astimezone(self.timezone)


class CalendarInterval(CalendarIntervalTrigger):  # type: ignore[misc]
    """Fires at a time of day, every so many days, weeks, months or years from its start.

    A month without the day of the start is left out, as APScheduler does. A time that the clocks skip
    fires at the moment it would have been; one that they repeat fires the first time.
    """

    __slots__ = ("not_on",)

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.not_on: LeftOut | None = None

    @passing_over
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first time after the previous firing, or from now on; None when there is none."""
        after = in_utc(now) if previous_fire_time is None else in_utc(previous_fire_time) + _MICROSECOND
        try:
            # No offset is a day long.
            for day in self._days((after - _DAY).date()):
                if self.end_date is not None and day > self.end_date:
                    return None
                found = datetime.combine(day, self._time).astimezone(UTC)
                if found >= after:
                    later: datetime = self._apply_jitter(found, self.jitter, now)
                    return later.astimezone(self.timezone)
        except OverflowError:
            pass  # the year 10000, or the first one
        return None

    def _days(self, begin: date) -> Iterator[date]:
        """Yield its days, without most of those before one."""
        months, days = self.months + 12 * self.years, self.days + 7 * self.weeks
        if months and days:
            return self._days_one_by_one(begin, months, timedelta(days))
        if months:
            return self._days_of_months(begin, months)
        return self._every_so_many_days(begin, timedelta(days))

    def _every_so_many_days(self, begin: date, length: timedelta) -> Iterator[date]:
        day: date = self.start_date + length * max(0, (begin - self.start_date) // length)
        while True:
            yield day
            day += length

    def _days_of_months(self, begin: date, months: int) -> Iterator[date]:
        start = self.start_date
        passed = (begin.year - start.year) * 12 + begin.month - start.month
        number = start.year * 12 + start.month - 1 + months * max(0, passed // months)
        while number < 12 * 10_000:
            day = _day_of_month(number, start.day)
            if day is not None:
                yield day
            number += months

    def _days_one_by_one(self, begin: date, months: int, length: timedelta) -> Iterator[date]:
        # Each day depends on the one before it: the length may lead into another month.
        day: date | None = self.start_date
        while day is not None:
            if day >= begin:
                yield day
            number, of_month = day.year * 12 + day.month - 1 + months, day.day
            while (day := _day_of_month(number, of_month)) is None and number < 12 * 10_000:
                number += months
            day = day and day + length


def has_chosen_start(trigger: IntervalTrigger) -> bool:
    """Return whether somebody chose when an interval starts.

    APScheduler does not say. Where nobody did, it took the time at that moment, with its microseconds.
    """
    chosen: bool | None = getattr(trigger, "has_chosen_start", None)
    return trigger.start_date.microsecond == 0 if chosen is None else chosen


def _day_of_month(number: int, day: int) -> date | None:
    """Return a day of a month, which is counted from year 0; None where it has no such day."""
    try:
        return date(number // 12, number % 12 + 1, day)
    except ValueError:
        return None
