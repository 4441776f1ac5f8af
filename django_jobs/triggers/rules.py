"""Triggers without the starts that nobody chose, which a declaration says again each time."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from django_jobs.exceptions import UnknownTrigger
from django_jobs.triggers.intervals import has_chosen_start
from django_jobs.triggers.moments import named_zone
from django_jobs.triggers.storage import decode, encode, loads

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger
    from apscheduler.triggers.interval import IntervalTrigger


def same(old: bytes | memoryview, new: bytes | memoryview) -> bool:
    """Return whether two stored triggers are the same but for starts that nobody chose.

    An interval that is declared at each start of a process says "from now on" each time. It goes on as it
    did. Another start that was chosen makes another trigger.
    """
    try:
        before, after = encode(loads(old)), encode(loads(new))
    except UnknownTrigger:
        return False
    wanted = _without_start(after)
    return _like(before, wanted) == wanted


def rule(trigger: BaseTrigger) -> dict[str, Any]:
    """Return a trigger as JSON-able values, without the starts that nobody chose.

    Raises:
        UnknownTrigger: As for `encode`.
    """
    return _without_start(encode(trigger))


def by_rule(state: Any, now: datetime) -> BaseTrigger:
    """Return the trigger of a `rule`; an interval without a start begins one interval from now.

    Raises:
        UnknownTrigger: As for `decode`.
    """
    if isinstance(state, dict) and state.get("type") == "interval" and state.get("start") is None:
        try:
            start = now + timedelta(seconds=state["seconds"])
        except (KeyError, TypeError, OverflowError) as error:
            raise UnknownTrigger(f"an interval's length cannot be read: {error!r}") from error
        state = {**state, "start": start.isoformat(), "chosen": False}
    return decode(state)


def _without_start(state: dict[str, Any]) -> dict[str, Any]:
    """Return an encoded trigger without the starts that nobody chose."""
    if "triggers" in state:
        return {**state, "triggers": [_without_start(part) for part in state["triggers"]]}
    if state["type"] == "interval":
        chosen = has_chosen_start(cast("IntervalTrigger", decode(state)))
        return _from(state, state["start"] if chosen else None)
    return state


def _like(state: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return an encoded trigger without the starts that a newer one leaves open."""
    parts, others = state.get("triggers"), new.get("triggers")
    if parts is not None and others is not None and len(parts) == len(others):
        return {**state, "triggers": [_like(*pair) for pair in zip(parts, others, strict=True)]}
    if "start" not in state or state["type"] != new["type"] or state["type"] == "cron":
        return state
    return _from(state, new["start"] if _leaves_start_open(new) else state["start"])


def _leaves_start_open(state: dict[str, Any]) -> bool:
    if state["type"] == "interval":
        return state["start"] is None
    # APScheduler does not say whether that was chosen. It takes the host's day, wherever the zone is.
    today = datetime.now(named_zone(state["timezone"])).date()
    return state["start"] in {day.isoformat() for day in (today, date.today())}  # noqa: DTZ011 - as APScheduler


def _from(state: dict[str, Any], start: str | None) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "chosen"} | {"start": start}
