"""What fails, grouped by exception and place, at a cost that does not grow with the history.

Runs that FAILED keep the key of both (`Run.error_key`). How many there are of each is counted among the newest
failed runs; which keys there are at all, and the first run of each, is read from the index of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import TextField
from django.db.models.functions import Cast, Left, Right

from django_jobs.models import InStatus, Run, Status, Worker
from django_jobs.operations.run_query import UNSUCCESSFUL
from django_jobs.storage import error_keys
from django_jobs.texts.failures import exception_of, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django_jobs.models import RunQuerySet

# Failed runs that are counted, newest first, and kinds of failures that are told apart. Without `is_full` fewer are
# counted, because what they say is read with them.
NEWEST, NEWEST_IN_BRIEF, KINDS = 2000, 1000, 500
# Of an error's beginning, and of the end of what is kept of a run's attempts: there the last frames are.
MESSAGE, TAIL = 300, 2000


@dataclass(slots=True, kw_only=True)
class Failure:
    """Runs that failed with one exception at one place.

    Attributes:
        key: What they share, as `Run.error_key`.
        run_id: The newest run.
        last_at: When that ended.
        count: How many were found.
        is_least: Whether there may be more, which were not counted.
        functions: Of those that were counted, the most frequent first.
        points: How many ended in each step of the time.
        first_at: When the first ended of those that are still there; None where that is not known.
        exception: Its class; the error's first line where it begins with none.
        place: File, line and function that raised it; only the job's function where that is not known.
        message: The newest run's error, up to `MESSAGE` characters.
        version: Of django_jobs, in the worker that had the newest run; "" where its row is gone.
    """

    key: str
    run_id: int
    last_at: datetime
    count: int = 0
    is_least: bool = False
    functions: Counter[str] = field(default_factory=Counter)
    points: list[int] = field(default_factory=list)
    first_at: datetime | None = None
    exception: str = ""
    place: str = ""
    message: str = ""
    version: str = ""

    @property
    def func(self) -> str:
        """The function that failed so most often."""
        return self.functions.most_common(1)[0][0]

    def say(self, func: str, message: str, tail: str | None) -> None:
        """Take the texts of the newest run: its function, error, and the end of its attempts."""
        self.message = message
        self.exception, self.place = exception_of(message), _place_in(tail) or func


@dataclass(frozen=True, slots=True)
class Failures:
    """What was found, the most frequent first.

    Attributes:
        groups: At most as many as asked for.
        more: How many other groups there are.
        count: Runs that were counted.
        unkeyed: Those of them that failed under a version that kept no key: they are in no group.
        is_cut: Whether older runs of the time were not counted.
    """

    groups: list[Failure]
    more: int
    count: int
    unkeyed: int
    is_cut: bool


def since(
    moment: datetime,
    *,
    most: int,
    until: datetime | None = None,
    steps: Sequence[datetime] = (),
    is_full: bool = True,
    using: str,
) -> Failures:
    """Group the runs that failed since a time, and before another, with at most five queries; without `is_full` with one.

    Args:
        moment: Aware.
        most: Groups to return.
        until: Aware; None for now. Only without `is_full`.
        steps: When the steps of `Failure.points` begin, in order.
        is_full: Whether to read `first_at` and `version`, and to find what failed before those that are counted.
        using: Alias of the database.
    """
    groups: dict[str, Failure] = {}
    count, unkeyed, is_cut = 0, 0, False
    limit = NEWEST if is_full else NEWEST_IN_BRIEF
    for looked_at, (pk, key, func, ended_at, *texts) in enumerate(
        _newest(limit, using, with_texts=not is_full)
    ):
        if ended_at is None or ended_at < moment or (until is not None and ended_at >= until):
            continue
        if looked_at == limit:
            is_cut = True
            break
        count += 1
        if key is None:
            unkeyed += 1
            continue
        group = groups.setdefault(
            key, Failure(key=key, run_id=pk, last_at=ended_at, points=[0] * len(steps), is_least=False)
        )
        _count(group, pk, func, ended_at, steps)
        if texts and group.run_id == pk:
            group.say(func, *texts)
    extents: dict[str, error_keys.KeyExtent] = {}
    if groups and is_full:
        extents = {one.error_key: one for one in error_keys.extents(KINDS, using=using)[0]}
    if is_cut:
        for group in groups.values():
            group.is_least = True
        _add_rare(groups, extents.values(), moment, steps, using)
    ordered = sorted(groups.values(), key=lambda one: (-one.count, -one.run_id))
    shown = ordered[:most]
    if shown and is_full:
        _describe(shown, {one.key: extents[one.key].first_id for one in shown if one.key in extents}, using)
    return Failures(shown, len(ordered) - len(shown), count, unkeyed, is_cut)


def describe(key: str, *, using: str) -> str:
    """Return the exception and the place of a key, with one query; "" where no failed run has it."""
    runs = _with_texts(failed_with(key, using)).order_by("-pk")
    row = runs.values_list("func", "message", "tail").first()
    if row is None:
        return ""
    func, message, tail = row
    return f"{exception_of(message)}, {_place_in(tail) or func}"


def failed_with(key: str, using: str) -> RunQuerySet:
    """Select the FAILED runs that have a key."""
    return Run.objects.using(using).filter(InStatus(Status.FAILED), error_key=key)


def failed(using: str) -> RunQuerySet:
    """Select the FAILED runs, to be read in the order of their ids through the index of them."""
    runs = Run.objects.using(using).filter(InStatus(Status.FAILED))
    if connections[using].vendor == "sqlite":
        # PostgreSQL would multiply the two conditions, expect few rows, and read and sort all that failed.
        runs = runs.filter(InStatus(*UNSUCCESSFUL))
    return runs


def _newest(limit: int, using: str, *, with_texts: bool) -> Iterable[Any]:
    runs = failed(using)
    columns = ["pk", "error_key", "func", "finished_at", *(("message", "tail") if with_texts else ())]
    runs = _with_texts(runs) if with_texts else runs
    return runs.order_by("-pk").values_list(*columns)[: limit + 1]


def _count(group: Failure, pk: int, func: str, ended_at: datetime, steps: Sequence[datetime]) -> None:
    group.count += 1
    group.functions[func] += 1
    if steps:
        group.points[max(0, bisect_right(steps, ended_at) - 1)] += 1
    if ended_at > group.last_at:
        group.last_at, group.run_id = ended_at, pk


def _add_rare(
    groups: dict[str, Failure],
    extents: Iterable[error_keys.KeyExtent],
    moment: datetime,
    steps: Sequence[datetime],
    using: str,
) -> None:
    """Add groups none of whose runs were counted, because others failed so much more often."""
    ids = [one.last_id for one in extents if one.error_key not in groups]
    rows = Run.objects.using(using).filter(pk__in=ids, finished_at__gte=moment)
    columns: Iterable[Any] = rows.values_list("pk", "error_key", "func", "finished_at")
    for pk, key, func, ended_at in columns:
        groups[key] = Failure(key=key, run_id=pk, last_at=ended_at, points=[0] * len(steps), is_least=True)
        _count(groups[key], pk, func, ended_at, steps)


def _describe(groups: Sequence[Failure], first_ids: dict[str, int], using: str) -> None:
    """Read what the newest and the first run of each group say."""
    ids = {one.run_id for one in groups} | {*first_ids.values()}
    rows = _with_texts(Run.objects.using(using).filter(pk__in=ids))
    runs: dict[int, Any] = {
        row[0]: row for row in rows.values_list("pk", "func", "message", "tail", "finished_at", "worker_id")
    }
    workers = Worker.objects.using(using).filter(pk__in={row[5] for row in runs.values()})
    versions = dict(workers.values_list("pk", "version"))
    for group in groups:
        if first := runs.get(first_ids.get(group.key, 0)):
            group.first_at = first[4]
        if newest := runs.get(group.run_id):
            _pk, func, message, tail, _ended_at, worker_id = newest
            group.say(func, message, tail)
            group.version = versions.get(worker_id, "")


def _with_texts(runs: RunQuerySet) -> Any:
    # An annotated queryset of the same class.
    return runs.annotate(message=Left("error", MESSAGE), tail=Right(Cast("errors", TextField()), TAIL))


def _place_in(tail: str | None) -> str:
    """Return where the last frame of a traceback is, from the end of the JSON that it is kept in."""
    text = (tail or "").replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "/")
    return place_of(text)
