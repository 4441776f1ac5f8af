"""The lines of keys with a limit: who waits in one is let in when there is room."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models import Q

from django_jobs.models import Run, Wait
from django_jobs.registry.limits import MOST, digest, seen
from django_jobs.storage import notifications, waits
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.backends.limiting import BY_PRIORITY, BY_TURN
from django_jobs.storage.limits import edits, following, pace
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from django_jobs.storage.endings import Ended

# Keys of one statement, and of one sweep: more than a worker's claim has, as a rule.
BATCH = 300
# Nobody counts further than this to say how many wait before a run.
MOST_AHEAD = 10_000
# The last key that a sweep looked at, by database: with very many lines each sweep goes on after the last.
_swept: dict[str, str] = {}


def when_ended(runs: Sequence[Ended], *, using: str) -> None:
    """Let in who waits behind runs that ended or wait again, in the transaction that ends them."""
    limits: dict[str, Mapping[str, Any]] = {}
    ended: Counter[str] = Counter()
    for run in runs:
        key = digest(run.options["limit"]["key"])
        limits[key] = edits.applied(run.options["limit"])
        ended[key] += 1
    pace.give_back([(digest(run.options["limit"]["key"]), run) for run in runs if run.unstarted], using)
    begun = following.follow(limits, ended, using=using)
    limits = {key: limit for key, limit in limits.items() if begun.get(key, 0) < ended[key]}
    if not limits:
        return
    let_in = Counter(begun) + Counter(advance(limits, using=using))
    # Who enters a line now sees these runs as running, and is not seen here. Where others took all the room
    # they are followed in their turn.
    left = {key: limit for key, limit in limits.items() if let_in[key] < ended[key]}
    if left:
        advance_on_commit(left, using=using)


def advance_on_commit(limits: Mapping[str, Mapping[str, Any]], *, using: str) -> None:
    """Do what `advance` does when the transaction under way commits; now if there is none."""
    # Robust: the sweep does it where this could not.
    transaction.on_commit(lambda: advance(limits, using=using), using=using, robust=True)


def advance(limits: Mapping[str, Mapping[str, Any]], *, using: str) -> dict[str, int]:
    """Let runs in that are first in their lines, as many as there is room for.

    Args:
        limits: Keys, each with what a run of it keeps of its limit.
        using: Alias of the database.

    Returns:
        How many of each key; keys without are left out. Workers hear of them on commit.
    """
    backend = backend_of(connections[using])
    limits = {key: limit for key, limit in limits.items() if limit["concurrency"]}
    in_order = sorted(key for key, limit in limits.items() if limit.get("in_order"))
    let_in = _take_turns(in_order, using)
    if rated := {key: limit for key, limit in limits.items() if "every" in limit}:
        running = backend.count_running(sorted(rated))
        let_in |= pace.set_heads(rated, running, using)
    keys = sorted(limits.keys() - set(in_order) - rated.keys())
    for order in (BY_PRIORITY, BY_TURN):
        same = [key for key in keys if bool(limits[key].get("by_turns")) == (order == BY_TURN)]
        for start in range(0, len(same), BATCH):
            some = {key: limits[key]["concurrency"] for key in same[start : start + BATCH]}
            let_in |= backend.let_in(some, order=order)
    if let_in:
        notifications.notify(notifications.RUNS, using=using)
    return let_in


def advance_as_edited(limits: Mapping[str, Mapping[str, Any]], *, using: str) -> dict[str, int]:
    """Do what `advance` does, with limits as runs keep them."""
    edits.refresh(using)
    return advance({key: edits.applied(limit) for key, limit in limits.items()}, using=using)


def _take_turns(keys: Sequence[str], using: str) -> dict[str, int]:
    """Let the oldest run of each key in, if it waits for its turn; as where it runs, or waits for its retry, nothing."""
    let_in: dict[str, int] = {}
    for start in range(0, len(keys), BATCH):
        oldest = backend_of(connections[using]).oldest(keys[start : start + BATCH])
        waiting = Run.objects.using(using).ready().filter(pk__in=oldest.values(), waits_for=Wait.ORDER)
        ids = dict(waiting.values_list("limit_key", "pk"))
        if ids:
            waits.end_waits(Q(pk__in=ids.values(), waits_for=Wait.ORDER), using=using)
            let_in |= dict.fromkeys(map(str, ids), 1)
    return let_in


def sweep(*, using: str) -> int:
    """Let in what some lines have room for, whoever should have done it; return how many.

    Each looks at a few hundred lines, and goes on where the one before stopped.
    """
    backend = backend_of(connections[using])
    pace.delete_old(using)
    edits.refresh(using)
    keys = backend.first_lines(_swept.get(using, ""), BATCH)
    _swept[using] = keys[-1] if len(keys) == BATCH else ""
    return sum(advance(_limits_of(keys, using), using=using).values()) if keys else 0


def _limits_of(keys: Sequence[str], using: str) -> dict[str, Mapping[str, Any]]:
    """Return the limits of keys with a line, as the first in it says."""
    first = backend_of(connections[using]).first_in_lines(keys)
    rows = Run.objects.using(using).filter(pk__in=first).values_list("limit_key", "options")
    return {key: edits.applied(options["limit"]) for key, options in rows if key and options}


def advance_all(name: str, *, using: str) -> None:
    """Let in what there is room for in the lines of all keys of a pattern, after an edit."""
    backend = backend_of(connections[using])
    after = ""
    while keys := backend.first_lines(after, BATCH):
        limits = {key: limit for key, limit in _limits_of(keys, using).items() if limit["name"] == name}
        if limits:
            advance(limits, using=using)
        after = keys[-1]


def may_be_used(*, using: str) -> bool:
    """Return whether this process has seen a limit, or has not looked yet whether there are lines."""
    return seen.any or using not in _swept


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands that waits for its limit, or for its turn.

    Args:
        key: Of the limit, or the fair key, as made of the call's arguments.
        concurrency: How many runs of the key may run at the same time.
        running: How many run.
        ahead: How many wait before it, or are due; at most `MOST_AHEAD`.
        in_order: Whether it waits for its turn, in the order in which they were added.
        is_fair: Whether it waits for its turn behind the others of its fair key.
    """

    key: str
    concurrency: int
    running: int
    ahead: int
    in_order: bool = False
    is_fair: bool = False

    def __str__(self) -> str:
        """Say it in words."""
        many = f"more than {MOST_AHEAD:,}" if self.ahead >= MOST_AHEAD else f"{self.ahead:,}"
        if self.is_fair:
            return f"its turn: {many} of {self.key!r} {'is' if self.ahead == 1 else 'are'} before it"
        if self.concurrency == MOST:
            return f"the rate of {self.key!r}: {many} {'waits' if self.ahead == 1 else 'wait'} before it"
        if self.in_order:
            return f"its turn in {self.key!r}: {many} {'is' if self.ahead == 1 else 'are'} before it"
        return (
            f"the limit {self.key!r}: {self.running:,} of {self.concurrency:,} run, and {many} "
            f"{'waits' if self.ahead == 1 else 'wait'} before it"
        )


def place_of(run: Run, *, using: str) -> Place | None:
    """Return where a run stands, with four queries; None when it waits neither for a limit nor for its turn."""
    if run.waits_for == Wait.FAIR:
        waiting = Run.objects.using(using).ready().filter(fair_key=run.fair_key)
        due = waiting.filter(waits_for__isnull=True, run_after__lte=database_now(using)).count()
        others = waiting.filter(waits_for__in=[Wait.FAIR, Wait.LIMIT, Wait.ORDER], pk__lt=run.pk)
        ahead = due + others[:MOST_AHEAD].count()
        return Place(run.fair_name or "", MOST, 0, min(ahead, MOST_AHEAD), is_fair=True)
    limit = (run.options or {}).get("limit")
    if run.waits_for not in {Wait.LIMIT, Wait.ORDER} or not limit or run.limit_key is None:
        return None
    edits.refresh(using)
    limit = edits.applied(limit)
    same = Run.objects.using(using).unfinished().filter(limit_key=run.limit_key)
    if run.waits_for == Wait.ORDER:
        ahead = same.filter(pk__lt=run.pk)[:MOST_AHEAD].count()
        return Place(limit["key"], 1, same.running().count(), ahead, in_order=True)
    before = Q(priority__gt=run.priority) | Q(priority=run.priority, pk__lt=run.pk)
    waiting = same.ready().filter(run_after__isnull=True, waits_for=Wait.LIMIT, held_run_after__isnull=True)
    due = same.ready().filter(run_after__lte=database_now(using)).count()
    ahead = waiting.filter(before)[: MOST_AHEAD - due].count() if due < MOST_AHEAD else 0
    return Place(limit["key"], limit["concurrency"], same.running().count(), due + ahead)
