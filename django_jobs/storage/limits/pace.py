"""Rates: when the next run of a key may begin, and which runs may begin now.

One time a key (GCRA): a start is granted when that time is past, and moves it on by the time between two
starts. It is written under the key's lock, in a short transaction of the gate's own. Who is next in the line
is due at that time already, so that workers wake for it as for any deferred run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import F, Min, Q
from django.db.models.functions import Coalesce

from django_jobs.models import Pace, Run, Wait
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from django_jobs.storage.endings import Ended
    from django_jobs.storage.records import ClaimedRun

# Rows of keys that were not used for so long are deleted, so many at a time.
KEPT = timedelta(minutes=1)
MOST_DELETED = 1000
_IN_LINE = Q(run_after__isnull=True, waits_for=Wait.LIMIT, held_run_after__isnull=True)


def granted(by_key: Mapping[str, Sequence[ClaimedRun]], every: Mapping[str, float], using: str) -> set[int]:
    """Return which claimed runs may begin now by their rates, whose keys are locked.

    Args:
        by_key: The runs of each key, by their turns.
        every: Seconds between two starts of each key.
        using: Alias of the database.
    """
    paces = {pace.key: pace for pace in Pace.objects.using(using).filter(pk__in=by_key)}
    now = database_now(using)
    begin: set[int] = set()
    for key, runs in by_key.items():
        pace = paces.get(key)
        if runs and (pace is None or pace.next_at <= now):
            first, next_at = runs[0], now + timedelta(seconds=every[key])
            before = now if pace is None else pace.next_at
            values = {"next_at": next_at, "run_id": first.id, "attempt": first.attempt, "before": before}
            Pace.objects.using(using).update_or_create(key=key, defaults=values)
            begin.add(first.id)
    return begin


def give_back(runs: Sequence[tuple[str, Ended]], using: str) -> None:
    """Give back the shares of runs that were handed back unstarted, where no other has begun since."""
    for key, run in runs:
        share = Pace.objects.using(using).filter(pk=key, run_id=run.run_id, attempt=run.unstarted)
        share.update(next_at=F("before"))


def times(keys: Collection[str], using: str) -> dict[str, datetime]:
    """Return when the next run of each key may begin; keys without are left out: now."""
    return dict(Pace.objects.using(using).filter(pk__in=keys).values_list("key", "next_at"))


def without_head(keys: Collection[str], using: str) -> dict[str, datetime]:
    """Return the keys of which no run is due by the time their rates let one begin, each with that time."""
    now, next_at = database_now(using), times(keys, using)
    heads = Run.objects.using(using).unfinished().ready().filter(limit_key__in=keys, run_after__isnull=False)
    first = dict(heads.order_by().values_list("limit_key").annotate(first=Min("run_after")))
    begin = {key: max(now, next_at.get(key, now)) for key in keys}
    return {key: at for key, at in begin.items() if key not in first or first[key] > at}


def set_heads(
    limits: Mapping[str, Mapping[str, Any]], running: Mapping[str, int], using: str
) -> dict[str, int]:
    """Make the first in the line of each key due when its rate lets it begin; return the keys that have one now."""
    free = [key for key, limit in limits.items() if running.get(key, 0) < limit["concurrency"]]
    set_now: dict[str, int] = {}
    for key, at in (without_head(free, using) if free else {}).items():
        waiting = Run.objects.using(using).unfinished().ready().filter(_IN_LINE, limit_key=key)
        turn = [Coalesce("turn_at", "enqueued_at")] if limits[key].get("by_turns") else []
        first = waiting.order_by("-priority", *turn, "pk").values_list("pk", flat=True).first()
        if first is not None:
            one = Run.objects.using(using).ready().filter(_IN_LINE, pk=first)
            if one.update(run_after=at, waits_for=None, **NOT_DISPATCHED):
                set_now[key] = 1
    return set_now


def delete_old(using: str) -> int:
    """Delete the rows of keys that were not used lately; return how many."""
    old = Pace.objects.using(using).filter(next_at__lt=database_now(using) - KEPT)
    keys = list(old.values_list("pk", flat=True)[:MOST_DELETED])
    if not keys:
        return 0
    # Again with the time: one may have been used since.
    return old.filter(pk__in=keys).delete()[0]
