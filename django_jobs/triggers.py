"""Triggers to JSON and back, to words, and from crontab: the one place that knows APScheduler's trigger classes."""

from __future__ import annotations

import functools
import json
import math
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.cron.expressions import AllExpression, RangeExpression
from apscheduler.triggers.cron.fields import MAX_VALUES, MIN_VALUES
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.utils import formats
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import gettext, ngettext, ngettext_lazy

from django_jobs.exceptions import UnknownTrigger
from django_jobs.zones import zone_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from apscheduler.triggers.base import BaseTrigger
    from apscheduler.triggers.cron.fields import BaseField

VERSION = 1

MIN_INTERVAL = timedelta(milliseconds=1)
MAX_INTERVAL = timedelta(days=36525)  # 100 years


# Making


def interval(seconds: float | timedelta) -> IntervalTrigger:
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
        if math.isnan(seconds):
            raise ValueError("the interval is not a number (NaN); pass seconds")
        if seconds > MAX_INTERVAL.total_seconds():
            raise ValueError(
                f"an interval of {seconds} seconds is longer than 100 years; for one time, add a scheduled job"
            )
        if seconds < MIN_INTERVAL.total_seconds():
            raise ValueError(_too_short(f"{seconds} seconds"))
        seconds = timedelta(seconds=seconds)
    if seconds > MAX_INTERVAL:
        raise ValueError(
            f"an interval of {seconds} is longer than 100 years; for one time, add a scheduled job"
        )
    if seconds < MIN_INTERVAL:
        raise ValueError(_too_short(str(seconds)))
    return IntervalTrigger(seconds=_number(seconds), timezone=UTC)


def at(run_at: datetime) -> DateTrigger:
    """Return a trigger for one moment, which may be in the past.

    Raises:
        ValueError: The datetime is naive.
        TypeError: It is not a datetime.
    """
    if not isinstance(run_at, datetime):
        raise TypeError(f"expected an aware datetime, not {run_at!r}")
    if run_at.utcoffset() is None:
        raise ValueError(
            f"{run_at.isoformat()} is naive, so it is unclear which moment is meant; "
            "pass django.utils.timezone.make_aware(run_at)"
        )
    return DateTrigger(run_at, timezone=UTC)  # the zone is for naive ones only


def crontab(expression: str, timezone: str | tzinfo | None = None) -> BaseTrigger:
    """Return a trigger for a crontab expression, with cron's own meanings.

    Weekdays 0 and 7 are Sunday. When both the day of the month and the day of the week are restricted
    (neither starts with `*`), it fires when either matches. As APScheduler has it, and unlike Vixie
    cron, a time that the clocks skip fires at the moment it would have been, and a time that they
    repeat fires twice; UTC has neither.

    Args:
        expression: Five fields (minute, hour, day of month, month, day of week), or @hourly, @daily,
            @midnight, @weekly, @monthly, @yearly, @annually.
        timezone: A tzinfo or the name of one; UTC if None.

    Raises:
        ValueError: The expression or zone is wrong, or means a date that does not exist.
    """
    zone = _zone(timezone)
    text = expression.strip()
    if text.startswith("@"):
        text = _nickname(text)
    words = text.split()
    if len(words) != len(_FIELDS):
        hint = "; seconds are not part of crontab, use add_recurring_job for them" if len(words) == 6 else ""
        raise ValueError(
            f"{expression!r}: expected 5 fields (minute, hour, day of month, month, day of week), "
            f"not {len(words)}{hint}"
        )
    fields = zip(_FIELDS, words, strict=True)
    minutes, hours, days, months, weekdays = [_parse(expression, field, word) for field, word in fields]
    common = {
        "minute": _spell(minutes, _FIELDS[0]),
        "hour": _spell(hours, _FIELDS[1]),
        "month": _spell(months, _FIELDS[3]),
        "timezone": zone,
    }
    day = {"day": _spell(days, _FIELDS[2])}
    day_of_week = {"day_of_week": _spell_weekdays(weekdays)}
    days_exist = any(min(days) <= _LONGEST[month] for month in months)
    if "*" in (words[2][0], words[4][0]):
        if not days_exist:
            raise ValueError(f"{expression!r} never fires: no such month has a day {min(days)}")
        return CronTrigger(**common, **day, **day_of_week)
    by_weekday = CronTrigger(**common, **day_of_week)
    # A trigger that never fires is searched for until the year 9999, at each firing.
    return _Or([CronTrigger(**common, **day), by_weekday]) if days_exist else by_weekday


def check(trigger: BaseTrigger) -> BaseTrigger:
    """Refuse a trigger that cannot be stored or would never fire.

    Returns:
        The trigger as the clock will read it.

    Raises:
        ValueError: The message says which part, and what to use instead.
    """
    stored = encode(trigger)
    _check_parts(trigger)
    checked = decode(stored)
    # A moment in the past is late work, which still runs.
    if first(checked, datetime.now(UTC)) is None:
        raise ValueError(f"this trigger never fires: {describe(checked)}")
    return checked


def _check_parts(trigger: BaseTrigger) -> None:
    if isinstance(trigger, IntervalTrigger) and trigger.interval <= timedelta(0):
        raise ValueError(_too_short(str(trigger.interval)))
    if isinstance(trigger, AndTrigger | OrTrigger):
        if not trigger.triggers:
            raise ValueError(f"{type(trigger).__name__} has no triggers")
        for part in trigger.triggers:
            _check_parts(part)


# Combining
#
# APScheduler's own And asks its parts again with a later `now`, which from the second firing on
# none of them looks at, and so never ends; its Or tells each part the last firing of any of them,
# so that the longer of two intervals never comes. These ask each part for its next moment.

# Steps in which the parts of an And must agree: daily triggers get decades.
_MOST_STEPS = 10_000


class _And(AndTrigger):  # type: ignore[misc]
    """Fires when all of its parts do."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next moment that all parts agree on; None when they do not come to one."""
        moment = _after(previous_fire_time, now)
        for _ in range(_MOST_STEPS):
            times = [_at_or_after(part, moment) for part in self.triggers]
            agreed = [time for time in times if time is not None]
            if len(agreed) < len(times):
                return None
            moment = max(agreed, key=_in_utc)
            if _in_utc(min(agreed, key=_in_utc)) == _in_utc(moment):
                fire_time: datetime | None = self._apply_jitter(agreed[0], self.jitter, now)
                return fire_time
        return None


class _Or(OrTrigger):  # type: ignore[misc]
    """Fires when any of its parts does."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next moment of the part that comes first; None when none comes."""
        moment = _after(previous_fire_time, now)
        times = [time for part in self.triggers if (time := _at_or_after(part, moment)) is not None]
        fire_time: datetime | None = None
        if times:
            fire_time = self._apply_jitter(min(times, key=_in_utc), self.jitter, now)
        return fire_time


def _after(previous: datetime | None, now: datetime) -> datetime:
    return now if previous is None else _in_utc(previous) + timedelta(microseconds=1)


def _at_or_after(trigger: BaseTrigger, moment: datetime) -> datetime | None:
    time = first(trigger, moment)
    return None if time is None or _in_utc(time) < _in_utc(moment) else time


def _in_utc(moment: datetime) -> datetime:
    # Two datetimes of one zone are compared by their wall clocks, whatever their fold.
    return moment.astimezone(UTC)


# Asking


def first(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """Return when a trigger fires first, from now on; None when it never does.

    A DateTrigger's moment may be in the past: late work still runs. A calendar interval's is not,
    though APScheduler would begin with its start, be it this morning.
    """
    time: datetime | None = trigger.get_next_fire_time(None, local(trigger, now))
    while time is not None and not is_once(trigger) and _in_utc(time) < _in_utc(now):
        time = trigger.get_next_fire_time(time, now)
    return time


def due(
    trigger: BaseTrigger, next_run_time: datetime, now: datetime, *, coalesce: bool
) -> tuple[list[datetime], datetime | None]:
    """Return the firings from a job's next one until now, and the first after now.

    Args:
        trigger: The job's.
        next_run_time: In the trigger's own zone.
        now: The time, aware.
        coalesce: Return the last of them alone, found without going through those before it, of
            which a year of minutes has half a million.
    """
    times: list[datetime] = []
    moment: datetime | None = _last_known(trigger, next_run_time, now) if coalesce else next_run_time
    while moment is not None and _in_utc(moment) <= _in_utc(now):
        times = [moment] if coalesce else [*times, moment]
        moment = trigger.get_next_fire_time(moment, now)
    return times, moment


def _last_known(trigger: BaseTrigger, next_run_time: datetime, now: datetime) -> datetime:
    """Return a firing not before `next_run_time`, and few firings before now."""
    if isinstance(trigger, IntervalTrigger) and not trigger.jitter:
        until = now if trigger.end_date is None else min(now, trigger.end_date)
        missed = (_in_utc(until) - _in_utc(next_run_time)) // trigger.interval
        # In UTC: an hour is not always an hour of the wall clock.
        last: datetime = _in_utc(next_run_time) + trigger.interval * max(0, missed - 1)
        return last.astimezone(next_run_time.tzinfo)
    if not _looks_only_at_the_clock(trigger):
        return next_run_time
    back = timedelta(seconds=1)
    while (moment := now - back) > next_run_time:
        found: datetime | None = trigger.get_next_fire_time(local(trigger, moment), now)
        if found is not None and _in_utc(found) <= _in_utc(now):
            return found
        back *= 4
    return next_run_time


def _looks_only_at_the_clock(trigger: BaseTrigger) -> bool:
    """Return whether its next firing after some moment is the same whatever fired before."""
    if isinstance(trigger, OrTrigger):
        return not trigger.jitter and all(map(_looks_only_at_the_clock, trigger.triggers))
    return isinstance(trigger, CronTrigger) and not trigger.jitter


def is_once(trigger: BaseTrigger) -> bool:
    """Return whether the trigger is for one moment."""
    return isinstance(trigger, DateTrigger)


def same(old: bytes | memoryview, new: bytes | memoryview) -> bool:
    """Return whether two stored triggers are the same but for when their intervals start.

    An interval that is declared at each start of a process says "from now on" each time.
    """
    try:
        return _without_start(encode(loads(old))) == _without_start(encode(loads(new)))
    except UnknownTrigger:
        return False


def _without_start(state: dict[str, Any]) -> dict[str, Any]:
    if "triggers" in state:
        return {**state, "triggers": [_without_start(part) for part in state["triggers"]]}
    if state["type"] in {"interval", "calendar"}:
        return {**state, "start": None}
    return state


def rule(trigger: BaseTrigger) -> dict[str, Any]:
    """Return a trigger as JSON-able values, without when its intervals start.

    Raises:
        UnknownTrigger: As for `encode`.
    """
    return _without_start(encode(trigger))


def by_rule(state: Any, now: datetime) -> BaseTrigger:
    """Return the trigger of a `rule`; an interval starts one interval from now.

    Raises:
        UnknownTrigger: As for `decode`.
    """
    if isinstance(state, dict) and state.get("type") == "interval" and state.get("start") is None:
        try:
            start = now + timedelta(seconds=state["seconds"])
        except (KeyError, TypeError, OverflowError) as error:
            raise UnknownTrigger(f"an interval's length cannot be read: {error!r}") from error
        state = {**state, "start": start.isoformat()}
    return decode(state)


def local(trigger: BaseTrigger, moment: datetime) -> datetime:
    """Return a moment in the trigger's own zone, as `get_next_fire_time` must be given it.

    A CalendarIntervalTrigger counts from the date that the previous firing shows. In UTC, as the
    database returns it, that can be the day before.
    """
    zone = getattr(trigger, "timezone", None)
    return moment if zone is None else moment.astimezone(zone)


# JSON


def dumps(trigger: BaseTrigger) -> bytes:
    """Encode a trigger as the JSON that a job's row keeps.

    Raises:
        UnknownTrigger: As for `encode`.
    """
    return json.dumps({"version": VERSION, **encode(trigger)}, separators=(",", ":")).encode()


def loads(raw: bytes | memoryview) -> BaseTrigger:
    """Decode what `dumps` wrote.

    Raises:
        UnknownTrigger: It is a pickle, damaged, or from a later version.
    """
    stored = bytes(raw)
    if stored.startswith(b"\x80"):
        raise UnknownTrigger(
            "the stored trigger is a pickle, which is never read: was this job added by django-apscheduler? "
            "Add it again through django_jobs"
        )
    try:
        state = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise UnknownTrigger(f"the stored trigger is not JSON: {error}") from error
    if isinstance(state, dict) and state.get("version") != VERSION:
        raise UnknownTrigger(
            f"the stored trigger has version {state.get('version')!r}, this process reads {VERSION}: "
            "is another version of django_jobs running?"
        )
    return decode(state)


def encode(trigger: BaseTrigger) -> dict[str, Any]:
    """Return a trigger as JSON-able values.

    Raises:
        UnknownTrigger: Its class is not exactly one of APScheduler's six, or its time zone has no name.
    """
    kind = _KINDS_BY_CLASS.get(type(trigger))
    if kind is None:
        allowed = ", ".join(known.trigger.__name__ for known in _KINDS.values())
        name = f"{type(trigger).__module__}.{type(trigger).__qualname__}"
        raise UnknownTrigger(f"a {name} cannot be stored as a trigger; use one of {allowed}")
    return {"type": kind, **_KINDS[kind].encode(trigger)}


def decode(state: Any) -> BaseTrigger:
    """Return the trigger that `encode` described; it fires when the original would.

    Raises:
        UnknownTrigger: The state is damaged, or of a type that is not known here.
    """
    kind = state.get("type") if isinstance(state, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UnknownTrigger(f"expected a trigger of type {', '.join(_KINDS)}, not {state!r:.100}")
    try:
        return _KINDS[kind].decode(state)
    except UnknownTrigger:
        raise
    except KeyError as error:
        raise UnknownTrigger(f"a stored {kind} trigger has no usable {error}") from error
    except (ValueError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
        raise UnknownTrigger(f"a stored {kind} trigger cannot be read: {error}") from error


def _encode_date(trigger: DateTrigger) -> dict[str, Any]:
    return {"at": _encode_moment(trigger.run_date)}


def _decode_date(state: dict[str, Any]) -> DateTrigger:
    return DateTrigger(_decode_moment(state["at"]), timezone=UTC)


def _encode_interval(trigger: IntervalTrigger) -> dict[str, Any]:
    return {
        "seconds": _number(trigger.interval),
        "start": _encode_moment(trigger.start_date),
        "end": _encode_moment(trigger.end_date),
        "timezone": _zone_name(trigger.timezone),
        "jitter": trigger.jitter,
    }


def _decode_interval(state: dict[str, Any]) -> IntervalTrigger:
    if timedelta(seconds=state["seconds"]) <= timedelta(0):
        # APScheduler would make one second of 0, and run back in time below it.
        raise UnknownTrigger(f"a stored interval trigger has a length of {state['seconds']} seconds")
    return IntervalTrigger(
        seconds=state["seconds"],
        start_date=_decode_moment(state["start"]),
        end_date=_decode_optional(state.get("end")),
        timezone=_named_zone(state["timezone"]),
        jitter=_decode_jitter(state),
    )


def _encode_cron(trigger: CronTrigger) -> dict[str, Any]:
    return {
        "fields": {field.name: str(field) for field in trigger.fields if not field.is_default},
        "start": _encode_moment(trigger.start_date),
        "end": _encode_moment(trigger.end_date),
        "timezone": _zone_name(trigger.timezone),
        "jitter": trigger.jitter,
    }


def _decode_cron(state: dict[str, Any]) -> CronTrigger:
    fields = state["fields"]
    if not fields.keys() <= set(CronTrigger.FIELD_NAMES):
        raise UnknownTrigger(f"a stored cron trigger has unknown fields: {', '.join(fields)}")
    return CronTrigger(
        **fields,
        start_date=_decode_optional(state.get("start")),
        end_date=_decode_optional(state.get("end")),
        timezone=_named_zone(state["timezone"]),
        jitter=_decode_jitter(state),
    )


_CALENDAR_UNITS = ("years", "months", "weeks", "days")
_CLOCK_UNITS = ("hour", "minute", "second")


def _encode_calendar(trigger: CalendarIntervalTrigger) -> dict[str, Any]:
    return {
        **{unit: getattr(trigger, unit) for unit in _CALENDAR_UNITS},
        **{unit: getattr(trigger._time, unit) for unit in _CLOCK_UNITS},
        "start": _encode_day(trigger.start_date),
        "end": _encode_day(trigger.end_date),
        "timezone": _zone_name(trigger.timezone),
        "jitter": trigger.jitter,
    }


def _decode_calendar(state: dict[str, Any]) -> CalendarIntervalTrigger:
    return CalendarIntervalTrigger(
        **{unit: _decode_count(state[unit]) for unit in (*_CALENDAR_UNITS, *_CLOCK_UNITS)},
        start_date=date.fromisoformat(state["start"]),
        end_date=None if state.get("end") is None else date.fromisoformat(state["end"]),
        timezone=_named_zone(state["timezone"]),
        jitter=_decode_jitter(state),
    )


def _encode_combined(trigger: AndTrigger | OrTrigger) -> dict[str, Any]:
    return {"triggers": [encode(part) for part in trigger.triggers], "jitter": trigger.jitter}


def _decode_combined(kind: type[BaseTrigger]) -> Callable[[dict[str, Any]], BaseTrigger]:
    return lambda state: kind([decode(part) for part in state["triggers"]], jitter=_decode_jitter(state))


class _Kind(NamedTuple):
    trigger: type[BaseTrigger]
    encode: Callable[[Any], dict[str, Any]]
    decode: Callable[[dict[str, Any]], BaseTrigger]


_KINDS = {
    "date": _Kind(DateTrigger, _encode_date, _decode_date),
    "interval": _Kind(IntervalTrigger, _encode_interval, _decode_interval),
    "cron": _Kind(CronTrigger, _encode_cron, _decode_cron),
    "calendar": _Kind(CalendarIntervalTrigger, _encode_calendar, _decode_calendar),
    "and": _Kind(AndTrigger, _encode_combined, _decode_combined(_And)),
    "or": _Kind(OrTrigger, _encode_combined, _decode_combined(_Or)),
}
_KINDS_BY_CLASS = {kind.trigger: name for name, kind in _KINDS.items()} | {_And: "and", _Or: "or"}


def _decode_jitter(state: dict[str, Any]) -> float | None:
    jitter = state.get("jitter")
    if jitter is None or (isinstance(jitter, int | float) and math.isfinite(jitter)):
        return jitter
    raise UnknownTrigger(f"a stored trigger has a jitter of {jitter!r:.50}")


def _decode_count(count: object) -> int:
    if isinstance(count, int) and count >= 0:
        return count
    raise UnknownTrigger(f"a stored calendar trigger has {count!r:.50} where a count belongs")


def _number(length: timedelta) -> int | float:
    seconds = length.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _too_short(length: str) -> str:
    return f"an interval of {length} is too short: it must be at least {MIN_INTERVAL.total_seconds()} seconds"


# Moments and zones


def _encode_moment(moment: datetime | None) -> str | None:
    """Write a moment as RFC 9557 does: `2026-11-24T03:30:00+01:00[Europe/Berlin]`."""
    if moment is None:
        return None
    key = zone_key(moment.tzinfo)
    return moment.isoformat() + (f"[{key}]" if key else "")


def _decode_moment(text: str) -> datetime:
    stamp, _, key = text.removesuffix("]").partition("[")
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        raise UnknownTrigger(f"a stored trigger has a naive datetime, {text}")
    if not key:
        return moment
    wall = moment.replace(tzinfo=ZoneInfo(key))
    # The second of two equal times when the clocks go back differs by its offset only.
    return wall if wall.utcoffset() == moment.utcoffset() else wall.replace(fold=1)


def _decode_optional(text: str | None) -> datetime | None:
    return None if text is None else _decode_moment(text)


def _encode_day(day: date | None) -> str | None:
    if isinstance(day, datetime):
        day = day.date()
    return None if day is None else day.isoformat()


def _zone_name(zone: tzinfo) -> str:
    key = zone_key(zone)
    if key is not None:
        return key
    if isinstance(zone, timezone):
        # "+00:00" would also be read, but every page shows this one.
        return "UTC" if zone == UTC else datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
    raise UnknownTrigger(
        f"the time zone {zone!r} has no name that can be stored; "
        "use zoneinfo.ZoneInfo('Area/City') or datetime.timezone.utc"
    )


def _named_zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    if name[:1] in {"+", "-"}:
        zone = datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo
        if zone is not None:
            return zone
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise UnknownTrigger(f"the time zone {name!r} is not known on this host") from error


def _zone(zone: str | tzinfo | None) -> tzinfo:
    if zone is None:
        return UTC
    return _named_zone(_zone_name(zone) if isinstance(zone, tzinfo) else zone)


# Crontab


class _Field(NamedTuple):
    title: str
    name: str  # APScheduler's
    low: int
    high: int
    names: tuple[str, ...] = ()


_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS = (
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


def _nickname(text: str) -> str:
    known = _NICKNAMES.get(text.lower())
    if known is not None:
        return known
    if text.lower() == "@reboot":
        raise ValueError(
            "'@reboot' is not supported: jobs are shared by many processes, and none of their starts "
            "is the reboot; call add_immediate_job from AppConfig.ready or a deployment script"
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
    step = _step(values, field.low, field.high)
    if step:
        return f"*/{step}"
    return ",".join(_runs(values, str))


def _spell_weekdays(values: Iterable[int]) -> str:
    # APScheduler's numbers count from Monday; its names say what they mean.
    from_monday = sorted((value - 1) % 7 for value in values)
    if len(from_monday) == 7:
        return "*"
    return ",".join(_runs(from_monday, lambda value: _WEEKDAYS[(value + 1) % 7]))


def _step(values: Sequence[int], low: int, high: int) -> int:
    """Return n if the values are every nth of the range; otherwise 0."""
    if len(values) < 2:
        return 0
    step = values[1] - values[0]
    return step if list(values) == list(range(low, high + 1, step)) else 0


def _dash(first: str, last: str) -> str:
    return f"{first}-{last}"


def _runs(
    values: Sequence[int], name: Callable[[int], str], to: Callable[[str, str], str] = _dash
) -> list[str]:
    """Name values, with three or more in a row as a range."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words: list[str] = []
    for run in runs:
        words += [to(name(run[0]), name(run[-1]))] if len(run) > 2 else [name(value) for value in run]
    return words


# Words


def describe(trigger: BaseTrigger) -> str:
    """Say when a trigger fires, in the active language: "at 03:30 on weekdays (Europe/Berlin)".

    Where no words would be honest it is the fields of the crontab expression.
    """
    match trigger:
        case DateTrigger():
            return gettext("once at %(moment)s") % {"moment": _describe_moment(trigger.run_date)}
        case IntervalTrigger():
            # The zone of an interval changes nothing.
            return _limited(_every(_interval_units(trigger.interval)), trigger)
        case CalendarIntervalTrigger():
            return _limited(_describe_calendar(trigger) + _describe_zone(trigger.timezone), trigger)
        case CronTrigger():
            return _limited(_describe_cron(trigger) + _describe_zone(trigger.timezone), trigger)
        case AndTrigger() | OrTrigger():
            is_and = isinstance(trigger, AndTrigger)
            joint = gettext("%(one)s and %(other)s") if is_and else gettext("%(one)s or %(other)s")
            parts = [describe(part) for part in trigger.triggers]
            return functools.reduce(lambda one, other: joint % {"one": one, "other": other}, parts)
    return str(trigger)


def _describe_moment(moment: datetime) -> str:
    text = f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"
    return text + (_describe_zone(moment.tzinfo) or " UTC")


def _describe_zone(zone: tzinfo | None) -> str:
    key = zone_key(zone)
    if key is None and zone is not None:
        key = datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
    return "" if key in {"UTC", "Etc/UTC", "+00:00"} else f" ({key})"


def _limited(words: str, trigger: Any) -> str:
    if end := trigger.end_date:
        until = _describe_moment(end) if isinstance(end, datetime) else end
        words = gettext("%(words)s, until %(moment)s") % {"words": words, "moment": until}
    if trigger.jitter:
        words = gettext("%(words)s, up to %(seconds)s seconds later") % {
            "words": words,
            "seconds": trigger.jitter,
        }
    return words


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


def _every(units: Iterable[tuple[float, str]]) -> str:
    given = [(count, unit) for count, unit in units if count]
    if len(given) == 1:
        return _counted(_EVERY, *given[0])
    return gettext("every %(length)s") % {"length": " ".join(_counted(_LENGTH, *part) for part in given)}


def _counted(words: Mapping[str, Any], count: float, unit: str) -> str:
    # Half a second takes the plural; gettext knows whole numbers only.
    if isinstance(count, int):
        return str(words[unit] % {"count": count, "number": count})
    return str(words[unit] % {"count": formats.number_format(count), "number": 2})


def _interval_units(length: timedelta) -> list[tuple[float, str]]:
    if length % timedelta(weeks=1) == timedelta(0):
        return [(length // timedelta(weeks=1), "week")]
    hours, minutes = divmod(length.seconds // 60, 60)
    seconds = _number(timedelta(seconds=length.seconds % 60, microseconds=length.microseconds))
    return [(length.days, "day"), (hours, "hour"), (minutes, "minute"), (seconds, "second")]


def _describe_calendar(trigger: CalendarIntervalTrigger) -> str:
    words = _every([(getattr(trigger, unit), unit.removesuffix("s")) for unit in _CALENDAR_UNITS])
    start = trigger.start_date
    if not trigger.days and not trigger.weeks:
        day = {"every": words, "day": start.day, "month": MONTHS[start.month]}
        words = (
            gettext("%(every)s on day %(day)d")
            if trigger.months
            else gettext("%(every)s on %(day)d %(month)s")
        ) % day
    elif trigger.weeks and not (trigger.days or trigger.months or trigger.years):
        words = gettext("%(every)s on %(weekday)s") % {"every": words, "weekday": WEEKDAYS[start.weekday()]}
    clock = trigger._time
    time = f"{clock:%H:%M:%S}" if clock.second else f"{clock:%H:%M}"
    return gettext("%(every)s at %(time)s") % {"every": words, "time": time}


def _describe_cron(trigger: CronTrigger) -> str:
    fields = {field.name: field for field in trigger.fields}
    if str(fields["second"]) != "0" or str(fields["year"]) != "*" or str(fields["week"]) != "*":
        return f"cron {str(trigger).removeprefix('cron')}"
    clock = _describe_times(_values(fields["minute"]), _values(fields["hour"]))
    days = _describe_days(fields)
    if clock is None or days is None:
        return "cron " + " ".join(str(fields[field.name]) for field in _FIELDS)
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


def _describe_times(minutes: list[int] | None, hours: list[int] | None) -> _Times | None:
    if not minutes or not hours:
        return None
    minute_step = _even_step(minutes, 60)
    hour_step = _even_step(hours, 24)
    if len(hours) == 24:
        if minute_step:
            return _Times(_every([(minute_step, "minute")]), False)
        if minutes == [0]:
            return _Times(_every([(1, "hour")]), False)
        if len(minutes) == 1:
            return _Times(gettext("at minute %(minute)d of every hour") % {"minute": minutes[0]}, False)
        return None
    if len(minutes) == 1 and len(hours) <= 4:
        times = _join([f"{hour:02}:{minutes[0]:02}" for hour in hours])
        return _Times(gettext("at %(times)s") % {"times": times}, True)
    if len(minutes) == 1 and hour_step:
        words = _every([(hour_step, "hour")])
        if minutes[0]:
            words = gettext("%(every)s at minute %(minute)d") % {"every": words, "minute": minutes[0]}
        return _Times(words, False)
    is_span = hours[-1] - hours[0] == len(hours) - 1
    if is_span and (minute_step or len(minutes) == 1):
        every = _every([(minute_step, "minute")]) if minute_step else _every([(1, "hour")])
        span = {
            "every": every,
            "first": f"{hours[0]:02}:{minutes[0]:02}",
            "last": f"{hours[-1]:02}:{minutes[-1]:02}",
        }
        return _Times(gettext("%(every)s from %(first)s to %(last)s") % span, True)
    return None


def _even_step(values: list[int], size: int) -> int:
    """Return n if the values are every nth of a clock's round, the last step included; otherwise 0."""
    step = _step(values, 0, size - 1)
    return step if step and size % step == 0 else 0


def _describe_days(fields: dict[str, BaseField]) -> str | None:
    days, months, weekdays = _values(fields["day"]), _values(fields["month"]), _values(fields["day_of_week"])
    if not days or not months or not weekdays:
        return None
    in_months = "" if len(months) == 12 else _join(_runs(months, lambda value: str(MONTHS[value]), _to))
    if len(days) < 31 and len(weekdays) < 7:
        return None
    if len(days) < 31:
        numbers = _join(_runs(days, str, _to))
        if in_months:
            text = ngettext("on day %(days)s of %(months)s", "on days %(days)s of %(months)s", len(days))
        else:
            text = ngettext("on day %(days)s of the month", "on days %(days)s of the month", len(days))
        return text % {"days": numbers, "months": in_months}
    words = []
    if weekdays == [0, 1, 2, 3, 4]:
        words.append(gettext("on weekdays"))
    elif len(weekdays) < 7:
        names = _join(_runs(weekdays, lambda day: str(WEEKDAYS[day]), _to))
        words.append(gettext("on %(weekdays)s") % {"weekdays": names})
    if in_months:
        words.append(gettext("in %(months)s") % {"months": in_months})
    return " ".join(words)


def _to(first: str, last: str) -> str:
    return gettext("%(first)s to %(last)s") % {"first": first, "last": last}


def _join(words: Sequence[str]) -> str:
    if len(words) < 2:
        return words[0]
    joint = gettext("%(words)s, %(next)s")
    listed = functools.reduce(lambda one, other: joint % {"words": one, "next": other}, words[:-1])
    return gettext("%(words)s and %(last)s") % {"words": listed, "last": words[-1]}
