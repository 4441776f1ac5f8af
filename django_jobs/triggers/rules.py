"""Triggers without when their intervals start, which a declaration says anew each time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.exceptions import UnknownTrigger
from django_jobs.triggers.storage import decode, encode, loads

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


def same(old: bytes | memoryview, new: bytes | memoryview) -> bool:
    """Return whether two stored triggers are the same but for when their intervals start.

    An interval that is declared at each start of a process says "from now on" each time.
    """
    try:
        return _without_start(encode(loads(old))) == _without_start(encode(loads(new)))
    except UnknownTrigger:
        return False


def rule(trigger: BaseTrigger) -> dict[str, Any]:
    """Return a trigger as JSON-able values, without when its intervals start.

    Raises:
        UnknownTrigger: As for `encode`.
    """
    return _without_start(encode(trigger))


def by_rule(state: Any, now: datetime) -> BaseTrigger:
    """Return the trigger of a `rule`; an interval starts one interval from now.

    Raises:
        UnknownTrigger: As for `decode`.
    """
    if isinstance(state, dict) and state.get("type") == "interval" and state.get("start") is None:
        try:
            start = now + timedelta(seconds=state["seconds"])
        except (KeyError, TypeError, OverflowError) as error:
            raise UnknownTrigger(f"an interval's length cannot be read: {error!r}") from error
        state = {**state, "start": start.isoformat()}
    return decode(state)


def _without_start(state: dict[str, Any]) -> dict[str, Any]:
    if "triggers" in state:
        return {**state, "triggers": [_without_start(part) for part in state["triggers"]]}
    if state["type"] in {"interval", "calendar"}:
        return {**state, "start": None}
    return state
