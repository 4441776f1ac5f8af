"""The times and days of a cron trigger in words: "at 03:30 on weekdays"."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from apscheduler.triggers.cron.expressions import (
    AllExpression,
    LastDayOfMonthExpression,
    RangeExpression,
    WeekdayPositionExpression,
)
from apscheduler.triggers.cron.fields import (
    MAX_VALUES,
    MIN_VALUES,
    DayOfMonthField,
    DayOfWeekField,
    MonthField,
)
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import gettext, ngettext

from django_jobs.triggers.cron import FIELDS
from django_jobs.triggers.lengths import every
from django_jobs.triggers.ranges import spell_runs, step_of
from django_jobs.triggers.special_days import NearestWeekday

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.cron.fields import BaseField


def describe_cron(trigger: CronTrigger) -> str:
    """Return words for the fields; where none would be honest, the fields."""
    fields = {field.name: field for field in trigger.fields}
    if str(fields["second"]) != "0" or str(fields["year"]) != "*" or str(fields["week"]) != "*":
        return f"cron {str(trigger).removeprefix('cron')}"
    clock = _describe_times(_values(fields["minute"]), _values(fields["hour"]))
    days = _describe_days(fields)
    if days is None:
        return f"cron {str(trigger).removeprefix('cron')}"
    if clock is None and (_needs_both_days(fields) or _values(fields["day"]) is None):
        # As a crontab expression it would mean either of them, or nothing.
        return f"cron {str(trigger).removeprefix('cron')}"
    if clock is None:
        return "cron " + " ".join(str(fields[field.name]) for field in FIELDS)
    if days:
        return gettext("%(times)s %(days)s") % {"times": clock.words, "days": days}
    if clock.is_of_a_day:
        return gettext("%(times)s every day") % {"times": clock.words}
    return clock.words


def _values(field: BaseField) -> list[int] | None:
    """Return the values that a cron field means; None when that depends on the month."""
    low, high = MIN_VALUES[field.name], MAX_VALUES[field.name]
    values: set[int] = set()
    for part in field.expressions:
        if isinstance(part, RangeExpression):
            values.update(range(part.first, (high if part.last is None else part.last) + 1, part.step or 1))
        elif type(part) is AllExpression:
            values.update(range(low, high + 1, part.step or 1))
        else:
            return None
    return sorted(values)


class _Times(NamedTuple):
    words: str
    # Whether "every day" must be said: "every hour" says it already.
    is_of_a_day: bool


# Minutes or hours that are said one by one.
_MOST_NAMED = 4


def _describe_times(minutes: list[int] | None, hours: list[int] | None) -> _Times | None:
    if not minutes or not hours:
        return None
    minute_step = _even_step(minutes, 60)
    hour_step = _even_step(hours, 24)
    if len(hours) == 24:
        if minute_step:
            return _Times(every([(minute_step, "minute")]), False)
        if minutes == [0]:
            return _Times(every([(1, "hour")]), False)
        if len(minutes) == 1:
            return _Times(gettext("at minute %(minute)d of every hour") % {"minute": minutes[0]}, False)
        if len(minutes) <= _MOST_NAMED:
            numbers = _join([str(minute) for minute in minutes])
            return _Times(gettext("at minutes %(minutes)s of every hour") % {"minutes": numbers}, False)
        return None
    if len(minutes) == 1 and len(hours) <= _MOST_NAMED:
        times = _join([f"{hour:02}:{minutes[0]:02}" for hour in hours])
        return _Times(gettext("at %(times)s") % {"times": times}, True)
    if len(minutes) == 1 and hour_step:
        words = every([(hour_step, "hour")])
        if minutes[0]:
            words = gettext("%(every)s at minute %(minute)d") % {"every": words, "minute": minutes[0]}
        return _Times(words, False)
    step = hours[1] - hours[0] if len(hours) > 1 else 1
    if len(minutes) == 1 and 24 % step == 0 and hours == list(range(hours[0], 24, step)):
        span = {
            "every": every([(step, "hour")]),
            "first": f"{hours[0]:02}:{minutes[0]:02}",
            "last": f"{hours[-1]:02}:{minutes[0]:02}",
        }
        return _Times(gettext("%(every)s from %(first)s to %(last)s") % span, True)
    is_span = hours[-1] - hours[0] == len(hours) - 1
    if is_span and (minute_step or len(minutes) == 1):
        span = {
            "every": every([(minute_step, "minute")]) if minute_step else every([(1, "hour")]),
            "first": f"{hours[0]:02}:{minutes[0]:02}",
            "last": f"{hours[-1]:02}:{minutes[-1]:02}",
        }
        return _Times(gettext("%(every)s from %(first)s to %(last)s") % span, True)
    return None


def _even_step(values: list[int], size: int) -> int:
    """Return n if the values are every nth of a clock's round, the last step included; otherwise 0."""
    step = step_of(values, 0, size - 1)
    return step if step and size % step == 0 else 0


def _describe_special_days(fields: dict[str, BaseField]) -> str | None:
    """Say which days the day field means, where one of them depends on the month; None where nothing would."""
    months, weekdays = _values(fields["month"]), _values(fields["day_of_week"])
    plain = [part for part in fields["day"].expressions if isinstance(part, RangeExpression)]
    words = [_special_day(part) for part in fields["day"].expressions if part not in plain]
    if not months or not weekdays or not all(words):
        return None
    if plain:
        field = DayOfMonthField("day", ",".join(map(str, plain)))
        days = _describe_days({**fields, "day": field, "month": _EVERY_MONTH, "day_of_week": _EVERY_WEEKDAY})
        words.insert(0, days)
    joint = gettext("%(one)s or %(other)s")
    text = functools.reduce(lambda one, other: joint % {"one": one, "other": other}, filter(None, words))
    if len(months) < 12:
        names = _join(spell_runs(months, lambda value: str(MONTHS[value]), _to))
        text += " " + gettext("in %(months)s") % {"months": names}
    if len(weekdays) < 7:
        both = {"days": text, "weekdays": _describe_weekdays(weekdays)}
        text = gettext("%(days)s, but only %(weekdays)s") % both
    return text


def _special_day(part: AllExpression) -> str | None:
    if isinstance(part, WeekdayPositionExpression):
        nth = (
            gettext("on the first %(weekday)s of the month"),
            gettext("on the second %(weekday)s of the month"),
            gettext("on the third %(weekday)s of the month"),
            gettext("on the fourth %(weekday)s of the month"),
            gettext("on the fifth %(weekday)s of the month"),
            gettext("on the last %(weekday)s of the month"),
        )
        return nth[part.option_num] % {"weekday": WEEKDAYS[part.weekday]}
    if isinstance(part, NearestWeekday):
        if part.day is None:
            return gettext("on the last day from Monday to Friday of the month")
        return gettext("on the day from Monday to Friday nearest to day %(day)d of the month") % {
            "day": part.day
        }
    if isinstance(part, LastDayOfMonthExpression):
        return gettext("on the last day of the month")
    return None


def _describe_days(fields: dict[str, BaseField]) -> str | None:
    days, months, weekdays = _values(fields["day"]), _values(fields["month"]), _values(fields["day_of_week"])
    if days is None:
        return _describe_special_days(fields)
    if not days or not months or not weekdays:
        return None
    in_months = "" if len(months) == 12 else _join(spell_runs(months, lambda value: str(MONTHS[value]), _to))
    if len(days) < 31 and len(weekdays) < 7:
        every_day = {**fields, "day_of_week": _EVERY_WEEKDAY}
        both = {"days": _describe_days(every_day), "weekdays": _describe_weekdays(weekdays)}
        return gettext("%(days)s, but only %(weekdays)s") % both
    if len(days) < 31:
        numbers = _join(spell_runs(days, str, _to))
        if in_months:
            text = ngettext("on day %(days)s of %(months)s", "on days %(days)s of %(months)s", len(days))
        else:
            text = ngettext("on day %(days)s of the month", "on days %(days)s of the month", len(days))
        return text % {"days": numbers, "months": in_months}
    words = [_describe_weekdays(weekdays)] if len(weekdays) < 7 else []
    if in_months:
        words.append(gettext("in %(months)s") % {"months": in_months})
    return " ".join(words)


_EVERY_MONTH = MonthField("month", "*")
_EVERY_WEEKDAY = DayOfWeekField("day_of_week", "*")


def _describe_weekdays(weekdays: list[int]) -> str:
    if weekdays == [0, 1, 2, 3, 4]:
        return gettext("on weekdays")
    names = _join(spell_runs(weekdays, lambda day: str(WEEKDAYS[day]), _to))
    return gettext("on %(weekdays)s") % {"weekdays": names}


def _needs_both_days(fields: dict[str, BaseField]) -> bool:
    return str(fields["day"]) != "*" and str(fields["day_of_week"]) != "*"


def _to(first: str, last: str) -> str:
    return gettext("%(first)s to %(last)s") % {"first": first, "last": last}


def _join(words: Sequence[str]) -> str:
    if len(words) < 2:
        return words[0]
    joint = gettext("%(words)s, %(next)s")
    listed = functools.reduce(lambda one, other: joint % {"words": one, "next": other}, words[:-1])
    return gettext("%(words)s and %(last)s") % {"words": listed, "last": words[-1]}
