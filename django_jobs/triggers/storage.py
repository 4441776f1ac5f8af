"""Triggers to the JSON that a job's row keeps, and back."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from django_jobs.exceptions import UnknownTrigger
from django_jobs.triggers.combining import And, Or
from django_jobs.triggers.intervals import CalendarInterval, Interval, has_chosen_start
from django_jobs.triggers.left_out import LeftOut
from django_jobs.triggers.moments import (
    decode_moment,
    decode_optional,
    encode_day,
    encode_moment,
    in_seconds,
    named_zone,
    zone_name,
)
from django_jobs.triggers.wall_clock import Cron

if TYPE_CHECKING:
    from collections.abc import Callable

    from apscheduler.triggers.base import BaseTrigger

VERSION = 1


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
    not_on = getattr(trigger, "not_on", None)
    # Said only where there is one: versions that do not know it fire on those dates, too.
    more = {} if not_on is None else {"not_on": not_on.encode()}
    return {"type": kind, **_KINDS[kind].encode(trigger), **more}


def decode(state: Any) -> BaseTrigger:
    """Return the trigger that `encode` described; it fires when the original would.

    Raises:
        UnknownTrigger: The state is damaged, or of a type that is not known here.
    """
    kind = state.get("type") if isinstance(state, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UnknownTrigger(f"expected a trigger of type {', '.join(_KINDS)}, not {state!r:.100}")
    try:
        return _without_left_out(_KINDS[kind].decode(state), state.get("not_on"))
    except UnknownTrigger:
        raise
    except KeyError as error:
        raise UnknownTrigger(f"a stored {kind} trigger has no usable {error}") from error
    except (ValueError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
        raise UnknownTrigger(f"a stored {kind} trigger cannot be read: {error}") from error


def _without_left_out(trigger: BaseTrigger, not_on: Any) -> BaseTrigger:
    if not_on is not None:
        # Ours all have it but the one for a single moment.
        trigger.not_on = LeftOut.decode(not_on)
    return trigger


def _encode_date(trigger: DateTrigger) -> dict[str, Any]:
    return {"at": encode_moment(trigger.run_date)}


def _decode_date(state: dict[str, Any]) -> DateTrigger:
    return DateTrigger(decode_moment(state["at"]), timezone=UTC)


def _encode_interval(trigger: IntervalTrigger) -> dict[str, Any]:
    is_chosen = has_chosen_start(trigger)
    return {
        "seconds": in_seconds(trigger.interval),
        "start": encode_moment(trigger.start_date),
        # Said only where the start itself does not show it: earlier versions did not write it.
        **({} if is_chosen == _is_whole(trigger.start_date) else {"chosen": is_chosen}),
        "end": encode_moment(trigger.end_date),
        "timezone": zone_name(trigger.timezone),
        "jitter": trigger.jitter,
    }


def _decode_interval(state: dict[str, Any]) -> Interval:
    if timedelta(seconds=state["seconds"]) <= timedelta(0):
        # APScheduler would make one second of 0, and run back in time below it.
        raise UnknownTrigger(f"a stored interval trigger has a length of {state['seconds']} seconds")
    start = decode_moment(state["start"])
    return Interval(
        has_chosen_start=bool(state.get("chosen", _is_whole(start))),
        seconds=state["seconds"],
        start_date=start,
        end_date=decode_optional(state.get("end")),
        timezone=named_zone(state["timezone"]),
        jitter=_decode_jitter(state),
    )


def _is_whole(moment: datetime) -> bool:
    return moment.microsecond == 0


def _encode_cron(trigger: CronTrigger) -> dict[str, Any]:
    return {
        "fields": {field.name: str(field) for field in trigger.fields if not field.is_default},
        "start": encode_moment(trigger.start_date),
        "end": encode_moment(trigger.end_date),
        "timezone": zone_name(trigger.timezone),
        "jitter": trigger.jitter,
        # Said only where it is so: versions that do not know it read the others as they are.
        **({"repeats": True} if getattr(trigger, "repeats", False) else {}),
    }


def _decode_cron(state: dict[str, Any]) -> Cron:
    fields = state["fields"]
    if not fields.keys() <= set(CronTrigger.FIELD_NAMES):
        raise UnknownTrigger(f"a stored cron trigger has unknown fields: {', '.join(fields)}")
    return Cron(
        **fields,
        start_date=decode_optional(state.get("start")),
        end_date=decode_optional(state.get("end")),
        timezone=named_zone(state["timezone"]),
        jitter=_decode_jitter(state),
        repeats=state.get("repeats") is True,
    )


CALENDAR_UNITS = ("years", "months", "weeks", "days")
_CLOCK_UNITS = ("hour", "minute", "second")


def _encode_calendar(trigger: CalendarIntervalTrigger) -> dict[str, Any]:
    return {
        **{unit: getattr(trigger, unit) for unit in CALENDAR_UNITS},
        **{unit: getattr(trigger._time, unit) for unit in _CLOCK_UNITS},
        "start": encode_day(trigger.start_date),
        "end": encode_day(trigger.end_date),
        "timezone": zone_name(trigger.timezone),
        "jitter": trigger.jitter,
    }


def _decode_calendar(state: dict[str, Any]) -> CalendarInterval:
    return CalendarInterval(
        **{unit: _decode_count(state[unit]) for unit in (*CALENDAR_UNITS, *_CLOCK_UNITS)},
        start_date=date.fromisoformat(state["start"]),
        end_date=None if state.get("end") is None else date.fromisoformat(state["end"]),
        timezone=named_zone(state["timezone"]),
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
    "and": _Kind(AndTrigger, _encode_combined, _decode_combined(And)),
    "or": _Kind(OrTrigger, _encode_combined, _decode_combined(Or)),
}
_KINDS_BY_CLASS: dict[type[BaseTrigger], str] = {
    **{kind.trigger: name for name, kind in _KINDS.items()},
    Interval: "interval",
    CalendarInterval: "calendar",
    Cron: "cron",
    And: "and",
    Or: "or",
}


def _decode_jitter(state: dict[str, Any]) -> float | None:
    jitter = state.get("jitter")
    if jitter is None or (isinstance(jitter, int | float) and math.isfinite(jitter) and jitter >= 0):
        return jitter
    raise UnknownTrigger(f"a stored trigger has a jitter of {jitter!r:.50}")


def _decode_count(count: object) -> int:
    if isinstance(count, int) and count >= 0:
        return count
    raise UnknownTrigger(f"a stored calendar trigger has {count!r:.50} where a count belongs")
