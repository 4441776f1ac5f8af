"""When a trigger fires: first, next, and how often until now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


def first(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """Return when a trigger fires first, from now on; None when it never does.

    A DateTrigger's moment may be in the past: late work still runs. A calendar interval's is not,
    though APScheduler would begin with its start, be it this morning.
    """
    time: datetime | None = trigger.get_next_fire_time(None, local(trigger, now))
    while time is not None and not is_once(trigger) and in_utc(time) < in_utc(now):
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
    while moment is not None and in_utc(moment) <= in_utc(now):
        times = [moment] if coalesce else [*times, moment]
        moment = trigger.get_next_fire_time(moment, now)
    return times, moment


def _last_known(trigger: BaseTrigger, next_run_time: datetime, now: datetime) -> datetime:
    """Return a firing not before `next_run_time`, and few firings before now."""
    if isinstance(trigger, IntervalTrigger) and not trigger.jitter:
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
