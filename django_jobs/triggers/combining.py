"""And and Or of triggers, in place of APScheduler's own.

APScheduler's And asks its parts again with a later `now`, which from the second firing on
none of them looks at, and so never ends; its Or tells each part the last firing of any of them,
so that the longer of two intervals never comes. These ask each part for its next moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.combining import AndTrigger, OrTrigger

from django_jobs.triggers.firing import first, in_utc
from django_jobs.triggers.left_out import LeftOut, passing_over

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

# Steps in which the parts of an And must agree: daily triggers get decades.
_MOST_STEPS = 10_000


class And(AndTrigger):  # type: ignore[misc]
    """Fires when all of its parts do."""

    __slots__ = ("not_on",)

    def __init__(self, triggers: list[BaseTrigger], jitter: float | None = None) -> None:
        super().__init__(triggers, jitter)
        self.not_on: LeftOut | None = None

    @passing_over
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next moment that all parts agree on; None when they do not come to one."""
        moment = _after(previous_fire_time, now)
        for _ in range(_MOST_STEPS):
            times = [_at_or_after(part, moment) for part in self.triggers]
            agreed = [time for time in times if time is not None]
            if len(agreed) < len(times):
                return None
            moment = max(agreed, key=in_utc)
            if in_utc(min(agreed, key=in_utc)) == in_utc(moment):
                fire_time: datetime | None = self._apply_jitter(agreed[0], self.jitter, now)
                return fire_time
        return None


class Or(OrTrigger):  # type: ignore[misc]
    """Fires when any of its parts does."""

    __slots__ = ("not_on",)

    def __init__(self, triggers: list[BaseTrigger], jitter: float | None = None) -> None:
        super().__init__(triggers, jitter)
        self.not_on: LeftOut | None = None

    @passing_over
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next moment of the part that comes first; None when none comes."""
        moment = _after(previous_fire_time, now)
        times = [time for part in self.triggers if (time := _at_or_after(part, moment)) is not None]
        fire_time: datetime | None = None
        if times:
            fire_time = self._apply_jitter(min(times, key=in_utc), self.jitter, now)
        return fire_time


def _after(previous: datetime | None, now: datetime) -> datetime:
    return now if previous is None else in_utc(previous) + timedelta(microseconds=1)


def _at_or_after(trigger: BaseTrigger, moment: datetime) -> datetime | None:
    time = first(trigger, moment)
    return None if time is None or in_utc(time) < in_utc(moment) else time
