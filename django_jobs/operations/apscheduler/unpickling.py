"""Read what APScheduler pickled, without a look at what the pickle wants called.

A pickle is a program. This one has a handful of words: plain values, moments, time zones and decimals.
APScheduler's own classes become records that do nothing, and all other names are refused.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import io
import pickle
import uuid
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django_jobs.exceptions import BadPayload

if TYPE_CHECKING:
    from collections.abc import Callable

# They change nothing when they are called, and cannot be changed themselves.
_VALUES = {
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "collections.OrderedDict": collections.OrderedDict,
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
    "decimal.Decimal": decimal.Decimal,
}
_RECORDS = {
    f"apscheduler.triggers.{name}"
    for name in (
        "calendarinterval.CalendarIntervalTrigger",
        "combining.AndTrigger",
        "combining.OrTrigger",
        "cron.CronTrigger",
        "cron.expressions.AllExpression",
        "cron.expressions.LastDayOfMonthExpression",
        "cron.expressions.MonthRangeExpression",
        "cron.expressions.RangeExpression",
        "cron.expressions.WeekdayPositionExpression",
        "cron.expressions.WeekdayRangeExpression",
        "cron.fields.BaseField",
        "cron.fields.DayOfMonthField",
        "cron.fields.DayOfWeekField",
        "cron.fields.MonthField",
        "cron.fields.WeekField",
        "date.DateTrigger",
        "interval.IntervalTrigger",
    )
}


class Record:
    """What stands for an object of one of APScheduler's classes: its name, and the state it was saved with."""

    class_name: str = ""
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        # Of classes with slots, and of APScheduler 3.0, it is a pair.
        self.state = state[1] if isinstance(state, tuple) and len(state) == 2 else state


def read(pickled: bytes) -> Any:
    """Return the plain values and records of a pickle.

    Raises:
        BadPayload: It names something else, which the message names, or it is damaged.
    """
    try:
        return _Reader(io.BytesIO(pickled)).load()
    except _Refused as refused:
        raise BadPayload(
            f"its pickle names {refused}, which is not read: only plain values, moments, time zones and "
            "APScheduler's own triggers are"
        ) from None
    except Exception as error:  # damaged bytes raise whatever they happen to lead to
        raise BadPayload(f"its pickle cannot be read: {type(error).__name__}: {error}") from error


class _Refused(Exception):
    """Raised with the name of what a pickle may not have."""


class _Reader(pickle.Unpickler):
    """Gives a pickle the few words that it may have; made for each one, so that none can prepare another."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._words: dict[str, Any] = {
            **_VALUES,
            **_zones(),
            "_codecs.encode": _encode(),
            # Its own class can be changed by who has it. The codec stores a subclass as what it extends.
            "uuid.UUID": type("UUID", (uuid.UUID,), {}),
        }

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what a name stands for here."""
        # Before protocol 3, builtins are named as in Python 2.
        path = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if path not in self._words and path in _RECORDS:
            self._words[path] = type(name, (Record,), {"class_name": name, "__module__": module})
        try:
            return self._words[path]
        except KeyError:
            raise _Refused(path) from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: there is nothing outside."""
        raise _Refused(f"a persistent object, {pid!r:.50}")


def _encode() -> Callable[..., bytes]:
    def encode(text: str, encoding: str) -> bytes:
        # How bytes are pickled before protocol 3.
        if encoding != "latin1":
            raise _Refused(f"_codecs.encode to {encoding!r:.50}")
        return text.encode("latin1")

    return encode


def _zones() -> dict[str, Callable[..., Any]]:
    """Return the words that time zones are pickled with, by zoneinfo and by pytz, new functions each time."""

    def zone(key: str, *_: Any) -> ZoneInfo:
        return ZoneInfo(key)

    def zone_class(key: str) -> ZoneInfo:
        return ZoneInfo(key)

    def attribute(owner: Any, name: str) -> Any:
        # How a class method is pickled.
        if owner is zone_class and name == "_unpickle":
            return zone
        raise _Refused(f"builtins.getattr({owner!r:.50}, {name!r:.50})")

    def offset(minutes: int) -> datetime.timezone:
        return datetime.timezone(datetime.timedelta(minutes=minutes))

    return {
        "builtins.getattr": attribute,
        "zoneinfo.ZoneInfo": zone_class,
        "pytz._p": zone,
        "pytz._UTC": lambda: datetime.UTC,
        "pytz.FixedOffset": offset,
    }
