"""The days that crontab expressions have letters for: L (last), W (nearest weekday) and # (nth weekday).

L and # become the words that APScheduler's day field has for them ("last", "2nd fri"). W is a word of ours.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from typing import TYPE_CHECKING

from apscheduler.triggers.cron.expressions import AllExpression
from apscheduler.triggers.cron.fields import DayOfMonthField

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from apscheduler.triggers.cron.fields import BaseField

POSITIONS = ("1st", "2nd", "3rd", "4th", "5th", "last")
_SATURDAY = 5


class NearestWeekday(AllExpression):  # type: ignore[misc]
    """Monday to Friday nearest to a day of the month, in the same month; LW is the last one of the month.

    Args:
        day: From 1 to 31, or L. A month without that day has none.
    """

    value_re = re.compile(r"(?P<day>\d{1,2}|L)W$", re.IGNORECASE)

    def __init__(self, day: str) -> None:
        super().__init__(None)
        self.day = None if day in "lL" else int(day)
        if self.day is not None and not 1 <= self.day <= 31:
            raise ValueError(f"{day}W needs a day from 1 to 31")

    def get_next_value(self, date: datetime, field: BaseField) -> int | None:
        """Return the day of this month, if it is still to come."""
        found = self.of_month(date.year, date.month)
        return found if found is not None and found >= date.day else None

    def of_month(self, year: int, month: int) -> int | None:
        """Return the day of a month; None where it has no such day."""
        last = monthrange(year, month)[1]
        day = self.day or last
        if day > last:
            return None
        weekday = date(year, month, day).weekday()
        if weekday < _SATURDAY:
            return day
        back, forth = (1, 2) if weekday == _SATURDAY else (2, 1)
        nearest = day - back if back < forth else day + forth
        if nearest < 1:
            return day + forth
        return nearest if nearest <= last else day - back

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NearestWeekday) and self.day == other.day

    def __hash__(self) -> int:
        return hash(self.day)

    def __str__(self) -> str:
        return f"{self.day or 'L'}W"


class DayField(DayOfMonthField):  # type: ignore[misc]
    """APScheduler's day of the month, which knows W, too."""

    COMPILERS = [NearestWeekday, *DayOfMonthField.COMPILERS]


def split_days(word: str) -> tuple[list[str], str]:
    """Return the special days of a crontab field of days, as the day field has them, and what is left of it.

    Raises:
        ValueError: A number is out of range.
    """
    special, plain = [], []
    for part in word.split(","):
        if part.upper() == "L":
            special.append("last")
        elif match := NearestWeekday.value_re.fullmatch(part):
            special.append(str(NearestWeekday(**match.groupdict())))
        else:
            plain.append(part)
    return special, ",".join(plain)


_NTH = re.compile(r"(?P<weekday>[A-Za-z0-9]+?)(?:#(?P<number>\d+)|(?P<last>[lL]))")


def split_weekdays(word: str, weekday: Callable[[str], str]) -> tuple[list[str], str]:
    """Return the nth and last weekdays of a crontab field of weekdays, and what is left of it.

    Args:
        word: The field.
        weekday: Returns the name of a weekday of crontab's, or refuses it.

    Raises:
        ValueError: There is no such weekday, or more than five of it.
    """
    special, plain = [], []
    for part in word.split(","):
        match = _NTH.fullmatch(part)
        if match is None:
            plain.append(part)
            continue
        number = len(POSITIONS) if match["last"] else int(match["number"])
        if not 1 <= number <= len(POSITIONS) or (match["number"] and number == len(POSITIONS)):
            raise ValueError(
                f"{part!r}: a month has its 1st to 5th of a weekday, as in fri#2; the last is friL"
            )
        special.append(f"{POSITIONS[number - 1]} {weekday(match['weekday'])}")
    return special, ",".join(plain)


def as_crontab(day: str) -> tuple[str, str]:
    """Return one day of the day field as crontab has it: what its field of days says, and that of weekdays."""
    position, _, weekday = day.partition(" ")
    if weekday and position in POSITIONS:
        number = POSITIONS.index(position) + 1
        return "", f"{weekday}L" if number == len(POSITIONS) else f"{weekday}#{number}"
    return "L" if day == "last" else day, ""


def earliest(days: Sequence[str]) -> int:
    """Return the earliest day of the month that special days need; 1 where each month has them."""
    needed = [int(day[:-1]) for day in days if day[:-1].isdigit() and day.endswith("W")]
    return min(needed) if len(needed) == len(days) and needed else 1
