"""A trigger back to the crontab expression that it was made of, where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django_jobs import triggers

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

_FIELDS = ("minute", "hour", "day", "month", "day_of_week")


class Crontab(NamedTuple):
    """An expression, and whose clock it speaks of."""

    expression: str
    zone: str


def of(trigger: BaseTrigger) -> Crontab | None:
    """Return what `triggers.crontab` makes this very trigger of; None when nothing does."""
    state = triggers.rule(trigger)
    written = _written(state)
    if written is None:
        return None
    try:
        same = triggers.rule(triggers.crontab(*written)) == state
    except ValueError:
        # Fields that only APScheduler knows, such as the last day of the month.
        return None
    return written if same else None


def _written(state: dict[str, Any]) -> Crontab | None:
    parts = state.get("triggers", [state])
    if any(part["type"] != "cron" for part in parts) or len(parts) > 2:
        return None
    fields = dict(parts[0]["fields"])
    if len(parts) == 2:
        # The day of the month or the day of the week: crontab has both in one expression.
        fields["day_of_week"] = parts[1]["fields"].get("day_of_week", "*")
    return Crontab(" ".join(fields.get(name, "*") for name in _FIELDS), parts[0]["timezone"])
