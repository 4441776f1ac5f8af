"""Cron on the clock on the wall, in place of APScheduler's own.

APScheduler's goes to the next day by adding the difference of two wall clocks to a moment. Where the
clocks go forward meanwhile it lands an hour into that day, and what is due at its beginning is left
out: a day, a week or a month of a job. This one looks for the next match on the wall clock alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.cron import CronTrigger

from django_jobs.triggers.firing import in_utc
from django_jobs.triggers.left_out import LeftOut, passing_over
from django_jobs.triggers.special_days import DayField

if TYPE_CHECKING:
    from collections.abc import Iterator

# No zone ever changed by more, or twice within it.
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# Years between two matches at most, where fields match at all: a 29th of February on one weekday, around 2100.
_RAREST = 41


class Cron(CronTrigger):  # type: ignore[misc]
    """Fires when the wall clock shows what the fields ask for.

    A time that the clocks skip fires at the moment it would have been, once with what else is due
    then. A time that they repeat fires the first time only, unless its hour is `*`: what is due in each
    hour is due in that one, too.

    Args:
        repeats: Whether a time that the clocks repeat fires both times, whatever its hour is.
        **fields: As for `CronTrigger`.
    """

    __slots__ = ("not_on", "repeats")
    FIELDS_MAP = {**CronTrigger.FIELDS_MAP, "day": DayField}

    def __init__(self, *, repeats: bool = False, **fields: Any) -> None:
        super().__init__(**fields)
        self.repeats = repeats
        self.not_on: LeftOut | None = None

    @property
    def _fires_in_each_hour(self) -> bool:
        (hour,) = (field for field in self.fields if field.name == "hour")
        return self.repeats or str(hour) == "*"

    @passing_over
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next match, after the previous firing or from now on; None when there is none."""
        moment = self._beginning(previous_fire_time, in_utc(now))
        end = None if self.end_date is None else in_utc(self.end_date)
        try:
            if moment.microsecond:
                moment = moment.replace(microsecond=0) + _SECOND
            found = self._at_or_after(moment)
            if found is None or (end is not None and found > end):
                return None
            later: datetime = self._apply_jitter(found, self.jitter, now)
            return (later if end is None else min(later, end)).astimezone(self.timezone)
        except OverflowError:
            return None  # the year 10000

    def _beginning(self, previous: datetime | None, now: datetime) -> datetime:
        """Return the moment, in UTC, from which APScheduler's would look."""
        if previous is None:
            return now if self.start_date is None else max(now, in_utc(self.start_date))
        after = in_utc(previous) + timedelta(microseconds=1)
        return after if now == in_utc(previous) else min(now, after)

    def _at_or_after(self, moment: datetime) -> datetime | None:
        while True:
            end = moment + _DAY
            times = [
                wall - offset
                for first, last, offset in self._walls(moment, end)
                if (wall := self._match(first)) is not None and wall < last and wall - offset < end
            ]
            if times:
                return min(times)
            following = self._match(moment + self._offset(moment))
            if following is None:
                return None
            # No offset is a day long, so that nothing matches until a day before.
            moment = max(end, following - _DAY)

    def _walls(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
        """Yield what the wall clock shows, or would have shown, from one moment to another.

        Returns:
            First and last of it (the last excluded), and what to subtract to have the moment in UTC.
            Wall clocks are datetimes whose zone, UTC, means nothing.
        """
        before, offset, after = map(self._offset, (begin - _DAY, begin, end))
        first = begin + offset
        if before != offset:
            change = self._change(begin - _DAY, begin)
            # As if the clocks had not been put forward: what they skipped, if it is still to come.
            yield max(change, begin) + before, change + offset, before
            if not self._fires_in_each_hour:
                # What they repeat was due before they were put back.
                first = max(first, change + before)
        if offset == after:
            yield first, end + offset, offset
        else:
            change = self._change(begin, end)
            yield first, change + offset, offset
            yield change + offset, change + after, offset
            again = after if self._fires_in_each_hour else max(offset, after)
            yield change + again, end + after, after

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.timezone).utcoffset() or timedelta(0)

    def _change(self, before: datetime, after: datetime) -> datetime:
        """Return the second at which the offset changes between two moments."""
        offset = self._offset(before)
        while after - before > _SECOND:
            middle = before + (after - before) // 2 // _SECOND * _SECOND
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after

    def _match(self, wall: datetime) -> datetime | None:
        """Return the first of the wall clock's times from one on that all fields match."""
        position = 0
        # A year that is asked for may be as far away as it likes.
        last_year = wall.year + _RAREST if str(self.fields[0]) == "*" else 9999
        try:
            while position < len(self.fields):
                if wall.year > last_year:
                    return None
                field = self.fields[position]
                value, shown = field.get_next_value(wall), field.get_value(wall)
                if value == shown:
                    position += 1
                elif value is not None and field.REAL:
                    wall = _set(wall, field.name, value)
                else:
                    wall = _carry(wall, field.name)
                    position = 0
        except (OverflowError, ValueError):  # the year 10000
            return None
        return wall


_LEAST = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}


def _set(wall: datetime, unit: str, value: int) -> datetime:
    """Return a wall clock with one unit set, and the smaller ones at their least."""
    units = list(_LEAST)
    smaller = units[units.index(unit) + 1 :] if unit in units else units
    changes: dict[str, Any] = {unit: value, **{name: _LEAST[name] for name in smaller}}
    return wall.replace(**changes)


def _carry(wall: datetime, field: str) -> datetime:
    """Return the beginning of the next of what a field is a part of."""
    match field:
        case "second":
            return _set(wall, "second", 0) + timedelta(minutes=1)
        case "minute":
            return _set(wall, "minute", 0) + timedelta(hours=1)
        case "hour" | "week" | "day_of_week":
            return _set(wall, "hour", 0) + _DAY
        case "day":
            return _set(_set(wall, "day", 1) + timedelta(days=31), "day", 1)
        case "month":
            return _set(wall, "year", wall.year + 1)
    raise OverflowError("no such year is to come")
