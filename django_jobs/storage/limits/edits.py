"""What operators made of limits, over what the code says: read by each process every few seconds.

A run keeps the limit that the code gave it. Whoever goes by it asks `applied` for what holds now, which is in
memory. So an edit holds for runs that wait already, and a deploy does not change it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs.models import LimitEdit
from django_jobs.registry.limits import digest, seconds_between
from django_jobs.storage import notifications
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

# After which what was read counts as old.
SECONDS = 3.0


class _Known:
    """The edits as they were last read, by pattern, and when (monotonic)."""

    by_name: dict[str, dict[str, Any]] = {}
    read_at = float("-inf")


def refresh(using: str) -> None:
    """Read the edits, unless that was done a moment ago."""
    if time.monotonic() - _Known.read_at < SECONDS:
        return
    rows = LimitEdit.objects.using(using).values_list("name", "concurrency", "rate")
    _Known.by_name = {name: _changes(concurrency, rate) for name, concurrency, rate in rows}
    _Known.read_at = time.monotonic()


def forget() -> None:
    """Have the edits read again when they are asked for next."""
    _Known.by_name, _Known.read_at = {}, float("-inf")


def _changes(concurrency: int | None, rate: str | None) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if concurrency is not None:
        changes["concurrency"] = concurrency
    if rate:
        changes["every"] = seconds_between(rate)
    return changes


def applied(limit: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a run keeps of its limit, with what an operator made of it, as last read."""
    changes = _Known.by_name.get(limit["name"])
    if not changes:
        return limit
    found = {**limit, **changes}
    if limit.get("in_order"):
        # One at a time, or none.
        found["concurrency"] = min(1, found["concurrency"])
        found.pop("every", None)
    return found


def save(
    name: str, *, concurrency: int | None, rate: str | None, by: str = "", reason: str = "", using: str
) -> None:
    """Have other numbers hold for a limit, from now on and for the runs that wait already.

    Args:
        name: The pattern.
        concurrency: As of `Limit`, or 0 to keep all waiting; None for the code's.
        rate: As of `Limit`; None for the code's.
        by: Who does it.
        reason: Why.
        using: Alias of the database.
    """
    values = {
        "name": name, "concurrency": concurrency, "rate": rate, "edited_at": timezone.now(),
        "edited_by": by[:255], "reason": reason[:500],
    }  # fmt: skip
    LimitEdit.objects.using(using).update_or_create(key=digest(name), defaults=values)
    logger.info(
        "limit=%s edited concurrency=%s rate=%s by=%s: %s",
        printable(name), printable(concurrency), printable(rate), printable(by or "?"), printable(reason or "no reason given"),
    )  # fmt: skip
    _tell(using)


def delete(name: str, *, by: str = "", using: str) -> bool:
    """Have the code's numbers hold again; return whether others did."""
    count, _ = LimitEdit.objects.using(using).filter(pk=digest(name)).delete()
    if count:
        logger.info("limit=%s as in the code again by=%s", printable(name), printable(by or "?"))
        _tell(using)
    return bool(count)


def _tell(using: str) -> None:
    forget()
    notifications.notify(notifications.RUNS, using=using)
