"""Fair turns: among the waiting runs of one queue and priority, the key that was served longest ago comes first.

Claims do not know about turns. Of each key a few runs at most are due; the others wait (`Wait.FAIR`) where claims do
not see them. Whoever claims runs of a key makes the next of them due, behind those of other keys: due times are
the times at which the keys were served. See docs/decisions/015-fair-turns.md.

- `place`, before an insert: a run of a key of which none waits is due; all others wait.
- `placed`, after the insert's commit, `claimed`, after the claim's, and `left`, after runs were cancelled, look for
  keys of which too few are due. Each has written before it looks, so of two at the same time one sees the other.
- Runs that become due in another way (deferred ones, retries, dependents) are due beside those. Where that are
  many, a claim that takes one of the key has the others wait.
- `sweep` at the heartbeats is the second guard, after processes that were killed in between.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import Min
from django.utils.module_loading import import_string

from django_jobs.conf import queues_of
from django_jobs.models import Run, Wait
from django_jobs.registry.limits import digest, seen, turns_key
from django_jobs.storage import notifications
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.transactions import BATCH, skips_locked, write_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from django_jobs.storage.backends.base import Backend
    from django_jobs.storage.records import ClaimedRun, NewRun

MARK = "fair_key"
# Runs of one key that may be due, however they came to be: more of them wait.
MOST_DUE = 64
# Keys of one statement, and of one sweep.
_MOST_KEYS = 300
_BEFORE = timedelta(microseconds=1)
# The last key that a sweep looked at, by database: with very many keys each sweep goes on after the last.
_swept: dict[str, str] = {}


def has_turns(options: Mapping[str, Any] | None) -> bool:
    """Return whether a run with these options has a fair key."""
    return options is not None and MARK in options


def place(runs: Iterable[NewRun], *, using: str) -> None:
    """Have new runs wait for their turn where others of their keys wait; a guess, which no lock holds.

    Called before they are inserted, in the transaction that does; `placed` follows.
    """
    by_key: dict[str, list[NewRun]] = defaultdict(list)
    at_once = queues_of("inline")
    for run in runs:
        if run.run_after == "now" and run.status == "READY" and run.queue_name not in at_once:
            by_key[str(run.fair_key)].append(run)
    backend = backend_of(connections[using])
    firsts: dict[tuple[str, int], tuple[datetime | None, datetime]] = {}
    keys = sorted(by_key)
    for start in range(0, len(keys), _MOST_KEYS):
        some = keys[start : start + _MOST_KEYS]
        free = backend.places(some)
        for key in some:
            waiting = by_key[key]
            if key in free:
                _set_due(waiting[0], free[key], firsts, backend)
                waiting = waiting[1:]
            for run in waiting:
                run.run_after, run.waits_for = "held", Wait.FAIR.value


def _set_due(
    run: NewRun,
    served_at: datetime | None,
    firsts: dict[tuple[str, int], tuple[datetime | None, datetime]],
    backend: Backend,
) -> None:
    """Give the first run of a key its place among those of other keys.

    Args:
        run: The run.
        served_at: When the key was served last, if ever.
        firsts: What was found of each queue and priority so far.
        backend: To look there with.
    """
    if "limit" in (run.options or {}):
        # It may go into the line of that, which is by turns, too.
        return
    group = run.queue_name, run.priority
    if group not in firsts:
        firsts[group] = backend.first_due(*group)
    first, now = firsts[group]
    if first is not None:
        # Before the first, not when it was served: nobody shall take it for late.
        before = first - _BEFORE
        run.run_after = before if served_at is None else min(max(served_at, before), now)


def placed(runs: Iterable[NewRun], *, using: str) -> None:
    """Have looked again, after the commit, for keys whose runs were all claimed meanwhile."""
    limits = {
        str(run.fair_key): (run.options or {}).get("limit") for run in runs if run.waits_for == Wait.FAIR
    }
    if limits:
        # Robust: the sweep does it where this could not.
        transaction.on_commit(lambda: take_turns(limits, using=using), using=using, robust=True)


def claimed(runs: Iterable[ClaimedRun], limit: int, *, using: str) -> None:
    """Make the next runs of keys due of which runs were claimed, after the claim's commit.

    Args:
        runs: Those that begin.
        limit: How many the claim asked for. Its keys share that: with few of them several runs of each are due, so
            that the next claim finds as many.
        using: Alias of the database.
    """
    limits = {_key_of(run): run.options.get("limit") for run in runs if MARK in run.options}
    if limits:
        seen.any = True
        take_turns(limits, most=max(1, limit // len(limits)), using=using)


def _key_of(run: ClaimedRun) -> str:
    return turns_key(run.queue_name, run.priority, run.options)


def left(keys: Collection[str], *, using: str) -> None:
    """Make the next runs of keys due whose runs were cancelled, after the commit."""
    if keys:
        transaction.on_commit(
            lambda: take_turns(_limits_of(keys, using), using=using), using=using, robust=True
        )


def _limits_of(keys: Collection[str], using: str) -> dict[str, Any]:
    """Return those of some keys of which runs wait for their turn, each with what they keep of their limit, if any."""
    waiting = Run.objects.using(using).ready().filter(fair_key__in=list(keys), waits_for=Wait.FAIR)
    firsts = waiting.order_by().values("fair_key").annotate(first=Min("pk")).values_list("first", flat=True)
    rows = Run.objects.using(using).filter(pk__in=list(firsts)).values_list("fair_key", "options")
    return {key: (options or {}).get("limit") for key, options in rows if key}


def take_turns(limits: Mapping[str, Any], *, most: int = 1, using: str) -> int:
    """Give those runs their turn that are the first to wait for it; return how many.

    They are due then, or enter the line of their limit, which goes by turns.

    Args:
        limits: Keys, each with what its runs keep of their limit, if any.
        most: How many of each may be due.
        using: Alias of the database.
    """
    count = 0
    for line in ("", Wait.LIMIT.value, Wait.ORDER.value):
        keys = sorted(key for key, limit in limits.items() if _line_of(limit) == line)
        for start in range(0, len(keys), _MOST_KEYS):
            count += _take_turns(keys[start : start + _MOST_KEYS], most, line, using)
    if limited := {digest(limit["key"]): limit for limit in limits.values() if limit}:
        # By its path: limits are above this.
        import_string("django_jobs.storage.limits.line.advance_as_edited")(limited, using=using)
    if count:
        notifications.notify(notifications.RUNS, using=using)
    return count


def _line_of(limit: Mapping[str, Any] | None) -> str:
    if not limit:
        return ""
    return Wait.ORDER.value if limit.get("in_order") else Wait.LIMIT.value


def _take_turns(keys: Sequence[str], most: int, line: str, using: str) -> int:
    backend = backend_of(connections[using])
    turns = backend.take_turns(keys, most, line)
    for key, (held, _) in turns.items():
        if held > max(most, MOST_DUE):
            _have_wait(key, most, backend, using)
    return sum(made for _, made in turns.values())


def _have_wait(key: str, most: int, backend: Backend, using: str) -> None:
    """Have the runs of a key wait for their turn that are due beyond the first ones."""
    ids = backend.due_of(key)[most:]
    for start in range(0, len(ids), BATCH):
        with write_transaction(using):
            due = Run.objects.using(using).ready().filter(run_after__isnull=False, waits_for__isnull=True)
            due = due.filter(pk__in=ids[start : start + BATCH])
            free = list(due.select_for_update(skip_locked=skips_locked(using)).values_list("pk", flat=True))
            due.filter(pk__in=free).update(
                run_after=None, waits_for=Wait.FAIR, dispatched_at=None, redispatch_at=None
            )


def sweep(*, using: str) -> int:
    """Make runs due whose turn it is, whoever should have done it; return how many.

    Each looks at a few hundred keys, and goes on where the one before stopped.
    """
    keys = backend_of(connections[using]).fair_lines(_swept.get(using, ""), _MOST_KEYS)
    _swept[using] = keys[-1] if len(keys) == _MOST_KEYS else ""
    return take_turns(_limits_of(keys, using), using=using) if keys else 0
