"""Crontab expressions to triggers, with cron's own meanings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from django_jobs.conf import jobs_settings
from django_jobs.triggers.combining import Or
from django_jobs.triggers.limits import limited
from django_jobs.triggers.moments import zone_of
from django_jobs.triggers.ranges import spell_runs, step_of
from django_jobs.triggers.special_days import earliest, split_days, split_weekdays
from django_jobs.triggers.wall_clock import Cron

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime, timedelta, tzinfo

    from apscheduler.triggers.base import BaseTrigger


class _Field(NamedTuple):
    title: str
    name: str  # APScheduler's
    low: int
    high: int
    names: tuple[str, ...] = ()


_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
FIELDS = (
    _Field("minute", "minute", 0, 59),
    _Field("hour", "hour", 0, 23),
    _Field("day of month", "day", 1, 31),
    _Field("month", "month", 1, 12, _MONTHS),
    _Field("day of week", "day_of_week", 0, 7, _WEEKDAYS),
)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = {month: 29 if month == 2 else 30 if month in {4, 6, 9, 11} else 31 for month in range(1, 13)}
_PART = re.compile(r"(?P<any>\*)|(?P<first>\w+)(-(?P<last>\w+))?", re.ASCII)


def crontab(
    expression: str,
    timezone: str | tzinfo | None = None,
    *,
    repeats: bool = False,
    start: date | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
) -> BaseTrigger:
    """Return a trigger for a crontab expression, with cron's own meanings.

    Weekdays 0 and 7 are Sunday. When both the day of the month and the day of the week are restricted
    (neither starts with `*`), it fires when either matches. `L` is the last day of the month, `15W` the
    weekday nearest to the 15th, `LW` the last weekday, `fri#2` the second Friday and `friL` the last. A time that the clocks skip fires at the
    moment it would have been, once with what else is due then. A time that they repeat fires once, unless
    the hour is `*`. UTC has neither.

    Args:
        expression: Five fields (minute, hour, day of month, month, day of week), or @hourly, @daily,
            @midnight, @weekly, @monthly, @yearly, @annually.
        timezone: A tzinfo or the name of one; the setting CRON_TIME_ZONE, "UTC" by default, if None.
        repeats: Whether a time that the clocks repeat fires twice, whatever the hour is.
        start: It does not fire before. An aware datetime, or a date: from midnight in its time zone.
        end: It does not fire after. An aware datetime, or a date: that day is the last one.
        times: How often it fires at most, from 1 to 10,000, counted from `start`, which must be given.
        jitter: Seconds, or a timedelta, by which each firing comes later at most, at random.

    Raises:
        ValueError: The expression or zone is wrong, or means a date that does not exist; or a limit is
            out of range.
        TypeError: One of them is of another type.
    """
    zone = cron_zone(timezone)
    parts = _parts(expression)

    def make(*, start_date: datetime | None, end_date: datetime | None, jitter: float | None) -> BaseTrigger:
        common: dict[str, Any] = {
            "start_date": start_date, "end_date": end_date, "timezone": zone, "repeats": repeats
        }  # fmt: skip
        if len(parts) == 1:
            return Cron(**common, **parts[0], jitter=jitter)
        return Or([Cron(**common, **part) for part in parts], jitter=jitter)

    return limited(make, zone, start=start, end=end, times=times, jitter=jitter)


def cron_zone(zone: str | tzinfo | None) -> tzinfo:
    """Return a zone; that of the setting CRON_TIME_ZONE if None.

    Raises:
        ValueError: As for `zone_of`.
        TypeError: The same.
    """
    return zone_of(jobs_settings().CRON_TIME_ZONE if zone is None else zone)


def _parts(expression: str) -> list[dict[str, Any]]:
    """Return the fields of one trigger, as APScheduler has them, or of those of which any fires."""
    if not isinstance(expression, str):
        raise TypeError(f"a crontab expression is a text, as '30 3 * * mon-fri', not {expression!r}")
    text = expression.strip()
    if text.startswith("@"):
        text = _nickname(text)
    words = text.split()
    if len(words) != len(FIELDS):
        hint = "; seconds are not part of crontab, use add_recurring_job for them" if len(words) == 6 else ""
        raise ValueError(
            f"{expression!r}: expected 5 fields (minute, hour, day of month, month, day of week), "
            f"not {len(words)}{hint}"
        )
    special_days, words[2] = split_days(words[2])
    special_weekdays, words[4] = split_weekdays(words[4], lambda text: _weekday_name(expression, text))
    fields = zip(FIELDS, words, strict=True)
    minutes, hours, days, months, weekdays = [
        _parse(expression, field, word) if word else [] for field, word in fields
    ]
    common = {
        "minute": _spell(minutes, FIELDS[0]),
        "hour": _spell(hours, FIELDS[1]),
        "month": _spell(months, FIELDS[3]),
    }
    day = ",".join([*([_spell(days, FIELDS[2])] if days else []), *special_days])
    starts = words[2][:1], words[4][:1]
    if special_weekdays and starts[0] == "*" and day != "*":
        raise ValueError(f"{expression!r}: {words[2]} and an nth weekday cannot be combined: name the days")
    needed = min([*days, *([earliest(special_days)] if special_days else [])])
    if not any(needed <= _LONGEST[month] for month in months):
        if "*" in starts or not (weekdays or special_weekdays):
            raise ValueError(f"{expression!r} never fires: no such month has a day {needed}")
        # A trigger that never fires is searched for at each firing.
        day = ""
    of_days = _day_parts(day, special_weekdays, _spell_weekdays(weekdays) if weekdays else "", starts)
    return [{**common, **part} for part in of_days]


def _day_parts(
    day: str, special_weekdays: list[str], day_of_week: str, starts: tuple[str, str]
) -> list[dict[str, Any]]:
    """Return the day fields of one trigger, or of those of which any fires."""
    nth = [{"day": ",".join(special_weekdays)}] if special_weekdays else []
    if "*" not in starts:
        by_day = [{"day": day}] if day else []
        return [*by_day, *([{"day_of_week": day_of_week}] if day_of_week else []), *nth]
    if not nth:
        return [{"day": day, "day_of_week": day_of_week}]
    # The field of days is `*`, or that of weekdays has one beside its nth ones.
    return [*([{"day_of_week": day_of_week}] if day_of_week and day == "*" else []), *nth]


def _weekday_name(expression: str, text: str) -> str:
    return _WEEKDAYS[_value(expression, FIELDS[4], text) % 7]


def _nickname(text: str) -> str:
    known = _NICKNAMES.get(text.lower())
    if known is not None:
        return known
    if text.lower() == "@reboot":
        raise ValueError(
            "'@reboot' is not supported: jobs are shared by many processes, and none of their starts "
            "is the reboot. Once per deploy: `manage.py jobs add` in the deployment script. Once per start of "
            "a worker: add_immediate_job in a receiver of django_jobs.signals.worker_started"
        )
    raise ValueError(f"{text!r} is not a crontab nickname; there are {', '.join(_NICKNAMES)}")


def _parse(expression: str, field: _Field, word: str) -> list[int]:
    """Return the sorted values of a field that a word of the expression means; Sunday is 0."""
    values: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        match = _PART.fullmatch(span)
        if match is None:
            raise ValueError(f"{expression!r}: {field.title} {part!r} is not a value, a range or *")
        step = 1
        if slash:
            if not (step_text.isascii() and step_text.isdigit() and int(step_text)):
                raise ValueError(f"{expression!r}: {field.title} {part!r} has a step that is not 1 or more")
            step = int(step_text)
        first, last = _span(expression, field, match, stepped=bool(slash))
        values.update(range(first, last + 1, step))
    if field.names is _WEEKDAYS:
        values = {value % 7 for value in values}
    return sorted(values)


def _span(expression: str, field: _Field, match: re.Match[str], *, stepped: bool) -> tuple[int, int]:
    # Both 0 and 7 are Sunday: what counts to the end of the week counts to Saturday.
    end = 6 if field.names is _WEEKDAYS else field.high
    if match["any"]:
        return field.low, end
    first = _value(expression, field, match["first"])
    if match["last"] is None:
        return first, max(first, end) if stepped else first
    last = _value(expression, field, match["last"])
    if first > last and last == 0 and match["last"].isalpha():
        last = 7  # fri-sun
    if first > last:
        raise ValueError(
            f"{expression!r}: {field.title} range {match[0]} runs backwards; "
            f"write {match['first']}-{_end_name(field, end)},{_end_name(field, field.low)}-{match['last']}"
        )
    return first, last


def _end_name(field: _Field, value: int) -> str:
    return field.names[value - field.low] if field.names else str(value)


def _value(expression: str, field: _Field, text: str) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    if not text.isdigit():
        names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
        raise ValueError(f"{expression!r}: {field.title} {text!r} is not {field.low}-{field.high}{names}")
    if not field.low <= int(text) <= field.high:
        raise ValueError(f"{expression!r}: {field.title} {text} is outside {field.low}-{field.high}")
    return int(text)


def _spell(values: Sequence[int], field: _Field) -> str:
    """Write values for APScheduler, which refuses some of the steps that cron permits."""
    if len(values) == field.high - field.low + 1:
        return "*"
    step = step_of(values, field.low, field.high)
    if step:
        return f"*/{step}"
    return ",".join(spell_runs(values, str))


def _spell_weekdays(values: Iterable[int]) -> str:
    # APScheduler's numbers count from Monday; its names say what they mean.
    from_monday = sorted((value - 1) % 7 for value in values)
    if len(from_monday) == 7:
        return "*"
    return ",".join(spell_runs(from_monday, lambda value: _WEEKDAYS[(value + 1) % 7]))
