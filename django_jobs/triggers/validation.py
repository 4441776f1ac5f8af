"""What a trigger that a caller made must be: storable, and due some time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.interval import IntervalTrigger

from django_jobs.triggers.builders import too_short
from django_jobs.triggers.description import describe
from django_jobs.triggers.firing import first
from django_jobs.triggers.limits import check_jitter
from django_jobs.triggers.moments import check_in_calendar, check_zone
from django_jobs.triggers.storage import decode, encode

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


def check(trigger: BaseTrigger) -> BaseTrigger:
    """Refuse a trigger that cannot be stored or would never fire.

    Returns:
        The trigger as the clock will read it.

    Raises:
        ValueError: The message says which part, and what to use instead.
    """
    checked = storable(trigger)
    # A moment in the past is late work, which still runs.
    if first(checked, datetime.now(UTC)) is None:
        raise ValueError(f"this trigger never fires: {describe(checked)}")
    return checked


def storable(trigger: BaseTrigger) -> BaseTrigger:
    """Refuse a trigger that cannot be stored; one whose end has come passes.

    Returns:
        The trigger as the clock will read it.

    Raises:
        ValueError: As for `check`.
    """
    stored = encode(trigger)
    _check_parts(trigger)
    return decode(stored)


def _check_parts(trigger: BaseTrigger) -> None:
    check_jitter(getattr(trigger, "jitter", None))
    for name in ("run_date", "start_date", "end_date"):
        moment = getattr(trigger, name, None)
        if isinstance(moment, datetime):
            check_in_calendar(moment)
    if (zone := getattr(trigger, "timezone", None)) is not None:
        check_zone(zone)
    if isinstance(trigger, IntervalTrigger) and trigger.interval <= timedelta(0):
        raise ValueError(too_short(str(trigger.interval)))
    if isinstance(trigger, AndTrigger | OrTrigger):
        if not trigger.triggers:
            raise ValueError(f"{type(trigger).__name__} has no triggers")
        for part in trigger.triggers:
            _check_parts(part)
