"""When a trigger fires, in words: "every 5 minutes, until 2026-11-24 03:30 UTC"."""

from __future__ import annotations

import functools
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.timezone import get_current_timezone_name, localtime, now
from django.utils.translation import gettext

from django_jobs.codec.zones import zone_key
from django_jobs.triggers.cron_description import describe_cron
from django_jobs.triggers.intervals import has_chosen_start
from django_jobs.triggers.lengths import every, units_of
from django_jobs.triggers.storage import CALENDAR_UNITS

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

# Dates that are named of those that a trigger leaves out.
_MOST_DATES = 3


def describe(trigger: BaseTrigger) -> str:
    """Say when a trigger fires, in the active language: "at 03:30 on weekdays (Europe/Berlin)".

    Where no words would be honest it is the fields of the crontab expression.
    """
    match trigger:
        case DateTrigger():
            return gettext("once at %(moment)s") % {"moment": _describe_moment(trigger.run_date)}
        case IntervalTrigger():
            # The zone of an interval changes nothing.
            return _limited(every(units_of(trigger.interval)), trigger)
        case CalendarIntervalTrigger():
            return _limited(_describe_calendar(trigger) + _describe_zone(trigger.timezone), trigger)
        case CronTrigger():
            words = describe_cron(trigger) + _describe_zone(trigger.timezone)
            return _limited(_with_repeats(words, trigger), trigger)
        case AndTrigger() | OrTrigger():
            is_and = isinstance(trigger, AndTrigger)
            joint = gettext("%(one)s and %(other)s") if is_and else gettext("%(one)s or %(other)s")
            parts = [describe(part) for part in trigger.triggers]
            words = functools.reduce(lambda one, other: joint % {"one": one, "other": other}, parts)
            return _with_jitter(_with_left_out(words, trigger), trigger)
    return str(trigger)


def _describe_moment(moment: datetime) -> str:
    if not moment.utcoffset() and _is_utc(zone_key(moment.tzinfo)):
        # Nobody chose that zone: it is how moments are kept. The reader's says more.
        moment = localtime(moment)
        seconds = ":%S" if moment.second else ""
        return f"{moment.strftime(f'%Y-%m-%d %H:%M{seconds}')} {moment.tzname()}"
    text = f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"
    return text + _describe_zone(moment.tzinfo)


def _describe_zone(zone: tzinfo | None) -> str:
    key = zone_key(zone)
    if key is None and zone is not None:
        key = datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
    # To a reader in UTC it goes without saying; to any other it does not.
    if _is_utc(key):
        return "" if _is_utc(get_current_timezone_name()) else " (UTC)"
    return f" ({key})"


def _is_utc(key: str | None) -> bool:
    return key in {None, "UTC", "Etc/UTC", "+00:00"}


def _limited(words: str, trigger: Any) -> str:
    if start := _start_to_tell(trigger):
        since = _describe_moment(start) if isinstance(start, datetime) else start
        words = gettext("%(words)s, from %(moment)s") % {"words": words, "moment": since}
    if end := trigger.end_date:
        until = _describe_moment(end) if isinstance(end, datetime) else end
        words = gettext("%(words)s, until %(moment)s") % {"words": words, "moment": until}
    return _with_jitter(_with_left_out(words, trigger), trigger)


def _with_repeats(words: str, trigger: CronTrigger) -> str:
    if not getattr(trigger, "repeats", False) or _is_utc(zone_key(trigger.timezone)):
        return words
    return gettext("%(words)s, twice where the clocks repeat a time") % {"words": words}


def _with_left_out(words: str, trigger: Any) -> str:
    not_on = getattr(trigger, "not_on", None)
    if not_on is None:
        return words
    if not_on.function:
        return gettext("%(words)s, but not on dates of %(function)s") % {
            "words": words,
            "function": not_on.function,
        }
    days = sorted(day.isoformat() for day in not_on.dates)
    listed = ", ".join(days[:_MOST_DATES]) + (", ..." if len(days) > _MOST_DATES else "")
    return gettext("%(words)s, but not on %(dates)s") % {"words": words, "dates": listed}


def _with_jitter(words: str, trigger: BaseTrigger) -> str:
    if trigger.jitter:
        words = gettext("%(words)s, up to %(seconds)s seconds later") % {
            "words": words,
            "seconds": trigger.jitter,
        }
    return words


def _start_to_tell(trigger: Any) -> date | None:
    """Return a trigger's start where it is to come, or decides when the trigger fires after it."""
    start: date | None = trigger.start_date
    if start is None:
        return None
    if isinstance(trigger, IntervalTrigger):
        return start if has_chosen_start(trigger) else None
    if isinstance(trigger, CalendarIntervalTrigger):
        units = [count for unit in CALENDAR_UNITS if (count := getattr(trigger, unit))]
        return start if units != [1] or start > now().astimezone(trigger.timezone).date() else None
    return start if start > now() else None


def _describe_calendar(trigger: CalendarIntervalTrigger) -> str:
    words = every([(getattr(trigger, unit), unit.removesuffix("s")) for unit in CALENDAR_UNITS])
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
