"""Dates on which a trigger does not fire, whatever its expression says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

from django.utils.module_loading import import_string

from django_jobs.exceptions import UnknownTrigger
from django_jobs.triggers.firing import in_utc

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

#: Dates, or a function that is given a date and says whether it is one of them; also its "module:qualname".
NotOn: TypeAlias = Collection[date] | Callable[[date], bool] | str

MAX_DATES = 5_000
# Days in a row: more than ten years of them are a mistake, and the trigger ends.
_MOST_DAYS = 3_660
# What knows which functions may be called. It lies above this room.
_PATH_OF = "django_jobs.registry.functions.path_of"
_RESOLVE = "django_jobs.registry.functions.resolve"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The dates that one trigger leaves out, in its own time zone.

    Args:
        dates: Single dates.
        function: "module:qualname" of a function that knows more; "" for none.
    """

    dates: frozenset[date] = frozenset()
    function: str = ""

    def covers(self, day: date) -> bool:
        """Return whether a date is left out.

        Raises:
            FunctionNotFound: The function is not there.
            FunctionNotAllowed: Its module is not one that may be called.
        """
        if day in self.dates:
            return True
        return bool(self.function) and bool(import_string(_RESOLVE)(self.function)(day))

    def encode(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        days = sorted(day.isoformat() for day in self.dates)
        return {**({"dates": days} if days else {}), **({"function": self.function} if self.function else {})}

    @classmethod
    def decode(cls, state: Any) -> LeftOut:
        """Return what `encode` described.

        Raises:
            UnknownTrigger: The state is damaged.
        """
        try:
            function = state.get("function", "")
            if not isinstance(function, str):
                raise TypeError(f"{function!r:.50} is no function")  # noqa: TRY301 - as what the next line raises
            return cls(frozenset(map(date.fromisoformat, state.get("dates", ()))), function)
        except (AttributeError, TypeError, ValueError) as error:
            raise UnknownTrigger(
                f"the dates that a stored trigger leaves out cannot be read: {error}"
            ) from error


def leaving_out(trigger: BaseTrigger, not_on: NotOn) -> BaseTrigger:
    """Have a trigger not fire on some dates, and return it.

    Args:
        trigger: Of `crontab`, `interval`, `calendar` or `anchored`.
        not_on: Dates; or a module-level function that is given a date and returns whether to leave it out, or
            that function's "module:qualname". Dates are of the trigger's time zone, which is UTC for intervals.

    Raises:
        TypeError: `not_on` is neither, or the trigger is none of ours.
        ValueError: There are no dates, or too many; or no process could find the function.
        FunctionNotAllowed: The function is of a module that may not be called.
    """
    if not hasattr(type(trigger), "not_on"):
        raise TypeError(
            f"not_on is for triggers of django_jobs.triggers, and not for a {type(trigger).__name__}"
        )
    trigger.not_on = _left_out(not_on)
    return trigger


def _left_out(not_on: NotOn) -> LeftOut:
    if isinstance(not_on, str) or callable(not_on):
        path, _ = import_string(_PATH_OF)(not_on)
        return LeftOut(function=path)
    if not isinstance(not_on, Collection) or not all(
        isinstance(day, date) and not isinstance(day, datetime) for day in not_on
    ):
        raise TypeError(f"not_on must be dates, or a function that is given a date, not {not_on!r:.100}")
    if not 1 <= len(not_on) <= MAX_DATES:
        raise ValueError(f"not_on must be 1 to {MAX_DATES:,} dates, not {len(not_on):,}: pass a function")
    return LeftOut(frozenset(not_on))


Ask: TypeAlias = Callable[[Any, datetime | None, datetime], datetime | None]


def passing_over(ask: Ask) -> Ask:
    """Wrap a trigger's `get_next_fire_time`, so that it passes over the dates that are left out."""

    @wraps(ask)
    def get_next_fire_time(self: Any, previous: datetime | None, now: datetime) -> datetime | None:
        found = ask(self, previous, now)
        not_on: LeftOut | None = self.not_on
        if not_on is None:
            return found
        for _ in range(_MOST_DAYS):
            if found is None or not is_left_out(self, found):
                return found
            found = ask(self, None, _next_day(self, found))
        return None

    return get_next_fire_time


def is_left_out(trigger: Any, moment: datetime) -> bool:
    """Return whether a moment is on a date that a trigger leaves out."""
    not_on: LeftOut | None = getattr(trigger, "not_on", None)
    return not_on is not None and not_on.covers(_of_zone(trigger, moment).date())


def _of_zone(trigger: Any, moment: datetime) -> datetime:
    zone = getattr(trigger, "timezone", None)
    if zone is None:
        # Of several triggers together: the first one's.
        parts = getattr(trigger, "triggers", ())
        return _of_zone(parts[0], moment) if parts else in_utc(moment)
    return moment.astimezone(zone)


def _next_day(trigger: Any, moment: datetime) -> datetime:
    there = _of_zone(trigger, moment)
    return in_utc(datetime.combine(there.date() + timedelta(days=1), time(), there.tzinfo))
