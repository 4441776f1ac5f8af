"""A trigger back to the crontab expression that it was made of, where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django_jobs import triggers
from django_jobs.triggers.special_days import as_crontab

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

_FIELDS = ("minute", "hour", "day", "month", "day_of_week")


class Crontab(NamedTuple):
    """An expression, and whose clock it speaks of."""

    expression: str
    zone: str


def of(trigger: BaseTrigger) -> Crontab | None:
    """Return what `triggers.crontab` makes this very trigger of, with its limits; None when nothing does."""
    state = triggers.rule(trigger)
    written = _written(state)
    if written is None:
        return None
    try:
        part = getattr(trigger, "triggers", [trigger])[0]
        made = triggers.crontab(
            *written, repeats=getattr(part, "repeats", False), start=part.start_date, end=part.end_date,
            jitter=trigger.jitter,
        )  # fmt: skip
        same = triggers.rule(made) == state
    except ValueError:
        # Fields that only APScheduler knows, such as weeks.
        return None
    return written if same else None


def _written(state: dict[str, Any]) -> Crontab | None:
    parts = state.get("triggers", [state])
    if any(part["type"] != "cron" for part in parts) or len(parts) > 3:
        return None
    # The day of the month or that of the week: crontab has all of them in one expression.
    days: list[str] = []
    weekdays: list[str] = []
    for part in parts:
        pairs = [as_crontab(day) for day in part["fields"].get("day", "*").split(",")]
        days += [day for day, _ in pairs if day not in {"", "*"}]
        weekdays += [weekday for _, weekday in pairs if weekday]
        if (weekday := part["fields"].get("day_of_week", "*")) != "*":
            weekdays.append(weekday)
    fields = {**parts[0]["fields"], "day": ",".join(days) or "*", "day_of_week": ",".join(weekdays) or "*"}
    return Crontab(" ".join(fields.get(name, "*") for name in _FIELDS), parts[0]["timezone"])
