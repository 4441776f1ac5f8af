"""When a trigger fires: first, next, and how often until now."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


_MOST_MOVED = timedelta(hours=3)
_LONGEST_LOOK = timedelta(days=3653)
_INSTANT = timedelta(microseconds=1)


def first(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """Return when a trigger fires first, from now on; None when it never does.

    A DateTrigger's moment may be in the past: late work still runs. A calendar interval's is not,
    though APScheduler would begin with its start, be it this morning.
    """
    time: datetime | None = trigger.get_next_fire_time(None, local(trigger, now))
    while time is not None and not is_once(trigger) and in_utc(time) < in_utc(now):
        time = trigger.get_next_fire_time(time, now)
    return time


def following(trigger: BaseTrigger, moment: datetime) -> datetime | None:
    """Return the firing after a moment at which a trigger fires; None when there is none."""
    here = local(trigger, moment)
    after: datetime | None = trigger.get_next_fire_time(here, here)
    return after if after is None or in_utc(after) > in_utc(moment) else None


def due(
    trigger: BaseTrigger, next_run_time: datetime, now: datetime, *, coalesce: bool, limit: int = 1000
) -> tuple[list[datetime], datetime | None]:
    """Return the firings from a job's next one until now, and the one after them.

    Args:
        trigger: The job's.
        next_run_time: In the trigger's own zone.
        now: The time, aware.
        coalesce: Return the last of them alone, found without going through those before it, of
            which a year of minutes has half a million.
        limit: How many at most without `coalesce`; the one after them may be due already, then.
    """
    times: list[datetime] = []
    moment: datetime | None = _last_known(trigger, next_run_time, now) if coalesce else next_run_time
    if moment is not None and getattr(trigger, "not_on", None) is not None:
        # It may have been stored before its date was left out.
        moment = first(trigger, moment)
    while moment is not None and in_utc(moment) <= in_utc(now) and len(times) < limit:
        if coalesce:
            times.clear()
        times.append(moment)
        moment = trigger.get_next_fire_time(moment, now)
    return times, moment


def _last_known(trigger: BaseTrigger, next_run_time: datetime, now: datetime) -> datetime:
    """Return a firing not before `next_run_time`, and few firings before now."""
    has_not_on = getattr(trigger, "not_on", None) is not None
    if isinstance(trigger, IntervalTrigger) and not trigger.jitter and not has_not_on:
        until = now if trigger.end_date is None else min(now, trigger.end_date)
        missed = (in_utc(until) - in_utc(next_run_time)) // trigger.interval
        # In UTC: an hour is not always an hour of the wall clock.
        last: datetime = in_utc(next_run_time) + trigger.interval * max(0, missed - 1)
        return last.astimezone(next_run_time.tzinfo)
    if not _looks_only_at_the_clock(trigger):
        return next_run_time
    back = timedelta(seconds=1)
    while (moment := now - back) > next_run_time:
        found: datetime | None = trigger.get_next_fire_time(local(trigger, moment), now)
        if found is not None and in_utc(found) <= in_utc(now):
            return found
        back *= 4
    return next_run_time


def _looks_only_at_the_clock(trigger: BaseTrigger) -> bool:
    """Return whether its next firing after some moment is the same whatever fired before."""
    if isinstance(trigger, OrTrigger):
        return not trigger.jitter and all(map(_looks_only_at_the_clock, trigger.triggers))
    return isinstance(trigger, CronTrigger) and not trigger.jitter


def previous(trigger: BaseTrigger, moment: datetime) -> datetime | None:
    """Return the firing before a moment; None when there was none within ten years.

    Args:
        trigger: Its jitter is left out of account: with one, the firing that the moment may stand for is not
            counted either.
        moment: Aware; a firing of the trigger's, or any other time.
    """
    if is_once(trigger):
        return None
    if getattr(trigger, "jitter", None):
        trigger = copy.copy(trigger)
        trigger.jitter = None
        stands_for = _before(trigger, in_utc(moment) + _INSTANT)
        return stands_for and _before(trigger, stands_for)
    return _before(trigger, moment)


def _before(trigger: BaseTrigger, moment: datetime) -> datetime | None:
    end = in_utc(moment)
    if isinstance(trigger, IntervalTrigger) and getattr(trigger, "not_on", None) is None:
        count = -((in_utc(trigger.start_date) - end) // trigger.interval) - 1
        last: datetime = in_utc(trigger.start_date) + trigger.interval * count
        return local(trigger, last) if count >= 0 else None
    back = timedelta(minutes=1)
    while back < _LONGEST_LOOK:
        found = first(trigger, end - back)
        if found is not None and in_utc(found) < end:
            while (following := trigger.get_next_fire_time(found, found)) is not None and in_utc(
                following
            ) < end:
                found = following
            return found
        back *= 4
    return None


def strays(trigger: BaseTrigger, next_run_time: datetime, now: datetime) -> bool:
    """Return whether a next run that is to come is later than the trigger would give it now.

    A database's clock that ran ahead leaves such, and so do rules of a time zone that changed. What jitter
    and the unknown phase of an interval may come to is allowed for.
    """
    if is_once(trigger) or in_utc(next_run_time) <= in_utc(now):
        return False
    expected = first(trigger, now)
    return expected is not None and in_utc(next_run_time) - in_utc(expected) > _leeway(trigger)


def _leeway(trigger: BaseTrigger) -> timedelta:
    leeway = timedelta(seconds=getattr(trigger, "jitter", None) or 0)
    if isinstance(trigger, IntervalTrigger):
        leeway += trigger.interval
    return leeway + max(map(_leeway, getattr(trigger, "triggers", ())), default=timedelta(0))


def moved_from(trigger: BaseTrigger, next_run_time: datetime, now: datetime) -> datetime | None:
    """Return the time that a next run stands for, if the rules of its zone put it earlier since it was stored.

    None where it stands for itself, or for a later time.
    """
    if not _has_zone_with_rules(trigger) or not strays(trigger, next_run_time, now):
        return None
    right = first(trigger, now)
    return right if right is not None and in_utc(next_run_time) - in_utc(right) <= _MOST_MOVED else None


def moved_to(trigger: BaseTrigger, next_run_time: datetime) -> datetime | None:
    """Return the time that a next run stands for, if the rules of its zone put it later since it was stored.

    None where it stands for itself, or for an earlier time. Zones were never moved by more than some hours.
    """
    if not _has_zone_with_rules(trigger):
        return None
    right = first(trigger, next_run_time)
    if right is None:
        return None
    distance = in_utc(right) - in_utc(next_run_time)
    if not timedelta(0) < distance <= _MOST_MOVED:
        return None
    # An earlier time as near as this one is the one that it stands for.
    before = first(trigger, in_utc(next_run_time) - distance)
    return right if before is not None and in_utc(before) == in_utc(right) else None


def _has_zone_with_rules(trigger: BaseTrigger) -> bool:
    if getattr(trigger, "jitter", None):
        return False
    if isinstance(trigger, OrTrigger):
        return any(map(_has_zone_with_rules, trigger.triggers))
    return isinstance(trigger, CronTrigger | CalendarIntervalTrigger) and isinstance(
        trigger.timezone, ZoneInfo
    )


def is_once(trigger: BaseTrigger) -> bool:
    """Return whether the trigger is for one moment."""
    return isinstance(trigger, DateTrigger)


def local(trigger: BaseTrigger, moment: datetime) -> datetime:
    """Return a moment in the trigger's own zone, as `get_next_fire_time` must be given it.

    A CalendarIntervalTrigger counts from the date that the previous firing shows. In UTC, as the
    database returns it, that can be the day before.
    """
    zone = getattr(trigger, "timezone", None)
    return moment if zone is None else moment.astimezone(zone)


def in_utc(moment: datetime) -> datetime:
    """Return the moment as what can be compared with any other."""
    # Two datetimes of one zone are compared by their wall clocks, whatever their fold.
    return moment.astimezone(UTC)
