"""Limits as operators see and edit them: each pattern, its numbers, what runs and what waits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Count, Min

from django_jobs.models import LimitEdit, Run, Wait
from django_jobs.registry import decorators
from django_jobs.registry.limits import MOST, digest, seconds_between
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.limits import edits, line

if TYPE_CHECKING:
    from collections.abc import Collection

# Lines, and waiting runs, that are looked at: what there is more of is not counted.
MOST_LINES, MOST_COUNTED = 200, 20_000
# Keys of a pattern that are shown.
BUSIEST = 10


@dataclass(slots=True)
class BusyKey:
    """A key, how many of its runs run, and how many wait for it."""

    key: str
    running: int
    waiting: int


@dataclass(slots=True)
class LimitPattern:
    """A limit as it is written in the code, and what becomes of its keys.

    Attributes:
        name: The pattern, such as "shop:{shop.pk}".
        concurrency: What holds; None for any number.
        rate: What holds; empty for any.
        functions: Of the code, whose `@job` has it.
        coded: What the code says: concurrency and rate.
        edit: What an operator made of it.
        running: Runs of all its keys.
        waiting: Likewise, of those that were looked at.
        busiest: Its keys of which most wait, then of which most run.
    """

    name: str
    concurrency: int | None = None
    rate: str = ""
    functions: list[str] = field(default_factory=list)
    coded: tuple[int | None, str] | None = None
    edit: LimitEdit | None = None
    running: int = 0
    waiting: int = 0
    busiest: list[BusyKey] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What tells it from others in an address."""
        return digest(self.name)


def patterns(*, using: str) -> list[LimitPattern]:
    """Return the limits that the code, runs or operators know of, those first of which most waits.

    With seven queries, whatever the history, and however many wait.
    """
    found: dict[str, LimitPattern] = {}
    for path, func in decorators.decorated().items():
        limit = decorators.options_of(func).limit
        if limit is not None:
            one = found.setdefault(limit.key, LimitPattern(limit.key))
            one.functions.append(path)
            one.coded = limit.concurrency, limit.rate or ""
    _add_keys(found, using)
    for edit in LimitEdit.objects.using(using):
        found.setdefault(edit.name, LimitPattern(edit.name)).edit = edit
    for one in found.values():
        concurrency, rate = one.coded or (None, "")
        edit_ = one.edit
        one.concurrency = edit_.concurrency if edit_ and edit_.concurrency is not None else concurrency
        one.rate = (edit_.rate if edit_ else None) or rate
        one.busiest.sort(key=lambda key: (-key.waiting, -key.running, key.key))
    return sorted(found.values(), key=lambda one: (-one.waiting, -one.running, one.name))


def _add_keys(found: dict[str, LimitPattern], using: str) -> None:
    """Count the runs of the keys in use."""
    open_runs = Run.objects.using(using).unfinished()
    by_key = open_runs.running().filter(limit_key__isnull=False).order_by().values_list("limit_key")
    running = {key: (count, first) for key, count, first in by_key.annotate(Count("pk"), Min("pk"))}
    backend = backend_of(connections[using])
    lines = backend.first_lines("", MOST_LINES)
    waiting = _waiting({*lines, *running}, using)
    samples = [first for _, first in running.values()]
    if idle := [key for key in lines if key not in running]:
        samples += backend.first_in_lines(idle)
    rows = Run.objects.using(using).filter(pk__in=samples).values_list("limit_key", "options")
    for key, options in rows:
        limit = (options or {}).get("limit")
        if not isinstance(limit, dict) or key is None:
            continue
        one = found.setdefault(limit["name"], LimitPattern(limit["name"]))
        if one.coded is None:
            one.coded = _coded(limit)
        busy = BusyKey(limit["key"], running.get(key, (0, 0))[0], waiting[key])
        one.running += busy.running
        one.waiting += busy.waiting
        one.busiest.append(busy)


@dataclass(frozen=True, slots=True)
class KeyInQueue:
    """A key of a limit that runs of one queue wait for.

    Attributes:
        name: The limit's pattern.
        key: The key.
        waiting: Runs of the queue that wait for it, of those that were looked at.
        running: Runs of it in all queues.
        concurrency: What holds; None for any number.
        rate: What holds; empty for any.
    """

    name: str
    key: str
    waiting: int
    running: int
    concurrency: int | None
    rate: str

    @property
    def is_full(self) -> bool:
        """Whether as many run as may."""
        return self.concurrency is not None and self.running >= self.concurrency


def keys_in_queue(queue_name: str, *, most: int, using: str) -> tuple[list[KeyInQueue], int]:
    """Return the keys that most runs of a queue wait for, and how many others there are, with four queries."""
    waiting = Run.objects.using(using).ready().filter(queue_name=queue_name, run_after__isnull=True)
    waiting = waiting.filter(waits_for__in=[Wait.LIMIT, Wait.ORDER], limit_key__isnull=False).order_by()
    counts: Counter[str] = Counter()
    samples: dict[str, int] = {}
    for key, pk in waiting.values_list("limit_key", "pk")[:MOST_COUNTED]:
        counts[str(key)] += 1
        samples.setdefault(str(key), pk)
    chosen = [key for key, _count in counts.most_common(most)]
    if not chosen:
        return [], 0
    running = Run.objects.using(using).running().filter(limit_key__in=chosen).order_by()
    busy = dict(running.values_list("limit_key").annotate(Count("pk")))
    rows = Run.objects.using(using).filter(pk__in=[samples[key] for key in chosen])
    limits = {key: (options or {}).get("limit") for key, options in rows.values_list("limit_key", "options")}
    edited = {edit.name: edit for edit in LimitEdit.objects.using(using)}
    found = []
    for key in chosen:
        limit = limits.get(key)
        if not isinstance(limit, dict):
            continue
        edit_ = edited.get(limit["name"])
        concurrency, rate = _coded(limit)
        if edit_ is not None:
            concurrency = concurrency if edit_.concurrency is None else edit_.concurrency
            rate = edit_.rate or rate
        found.append(
            KeyInQueue(limit["name"], limit["key"], counts[key], busy.get(key, 0), concurrency, rate)
        )
    return found, len(counts) - len(chosen)


def _coded(limit: dict[str, Any]) -> tuple[int | None, str]:
    concurrency = None if limit["concurrency"] == MOST else limit["concurrency"]
    return concurrency, _rate(limit["every"]) if "every" in limit else ""


def _rate(every: float) -> str:
    """Return a rate as `Limit` has it, from the seconds between two starts."""
    for unit, seconds in (("s", 1), ("m", 60), ("h", 3600), ("d", 86400)):
        count = seconds / every
        if count >= 1 and abs(count - round(count)) < 1e-6 * count:
            return f"{round(count)}/{unit}"
    return f"1/{every:g}s"


def _waiting(keys: Collection[str], using: str) -> Counter[str]:
    if not keys:
        return Counter()
    runs = Run.objects.using(using).unfinished().ready().filter(limit_key__in=keys, run_after__isnull=True)
    runs = runs.filter(waits_for__in=[Wait.LIMIT, Wait.ORDER]).order_by()
    return Counter(str(key) for key in runs.values_list("limit_key", flat=True)[:MOST_COUNTED])


def edit(
    name: str,
    *,
    concurrency: int | None = None,
    rate: str | None = None,
    by: str = "",
    reason: str = "",
    using: str,
) -> None:
    """Have other numbers hold for a limit than the code's, until `clear`; runs that wait go by them, too.

    Other processes go by it within a few seconds.

    Args:
        name: The pattern, as it is written in the code.
        concurrency: At least 0, which lets none begin; None for the code's.
        rate: As of `Limit`; None for the code's.
        by: Who does it.
        reason: Why.
        using: Alias of the database.

    Raises:
        ValueError: A number is out of range, or neither is given.
    """
    if concurrency is None and rate is None:
        raise ValueError("say a concurrency, a rate, or both")
    if concurrency is not None and not 0 <= concurrency <= MOST:
        raise ValueError(f"concurrency must be at least 0 and at most {MOST}, not {concurrency}")
    if rate is not None:
        seconds_between(rate)
    edits.save(name, concurrency=concurrency, rate=rate, by=by, reason=reason, using=using)
    _let_in(name, using)


def clear(name: str, *, by: str = "", using: str) -> bool:
    """Have the code's numbers hold for a limit again; return whether others did."""
    is_cleared = edits.delete(name, by=by, using=using)
    if is_cleared:
        _let_in(name, using)
    return is_cleared


def _let_in(name: str, using: str) -> None:
    edits.refresh(using)
    line.advance_all(name, using=using)
