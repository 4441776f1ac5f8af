"""Which runs somebody means: filters that the list, exports and bulk actions share, and what bounds their cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.utils import timezone

from django_jobs.models import PAUSED, UNFINISHED, InStatus, Kind, Run, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django_jobs.models import RunQuerySet

# States of one index, which SQLite uses only when it is asked for all of them.
UNSUCCESSFUL = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)
# Row ids are given when a row is inserted, its time when its transaction begins: so far apart.
SLACK = timedelta(minutes=10)
# What READY runs wait for, as choices beside the statuses.
WAITING = ("due", "deferred", "retrying", "held", "broken")
# Ids whose times are asked for with one query, and the uncertainty that is left to the query that follows.
PROBES, NEAR = 1000, 5000
# Ids that one statement of a walk through the history looks at.
WINDOW = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters of runs; all of them must hold, and an empty one holds for every run.

    Args:
        status: One status, or one of `WAITING`: due (a worker), deferred (their time), retrying (of those,
            the ones that were tried), held (a person), broken (of those, the ones that are not only paused).
        kind: One kind.
        queue: Name of a queue.
        func: A function, as module:qualname.
        func_start: What the function begins with, as module:qualname or without its module.
        worker_id: Of the worker that has or had it.
        job_id: Of its job.
        named: Id of its job, or its own number.
        error: Text that its error contains, in whatever case.
        since: Enqueued at this time or later; aware.
        until: Enqueued before this time; aware.
    """

    status: str = ""
    kind: str = ""
    queue: str = ""
    func: str = ""
    func_start: str = ""
    worker_id: str = ""
    job_id: str = ""
    named: str = ""
    error: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Selection:
        """Return what `plain` wrote down.

        Raises:
            ValueError: It names a filter that does not exist: to leave it out would select more runs.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(plain) - known):
            raise ValueError(f"runs cannot be selected by {unknown[0]!r}; only by {', '.join(sorted(known))}")
        times = {name: datetime.fromisoformat(plain[name]) for name in ("since", "until") if name in plain}
        return cls(**{**plain, **times})

    def plain(self) -> dict[str, str]:
        """Return the filters that are set, as JSON has them."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value
        }

    def asked_for(self, text: str, *, using: str) -> Selection:
        """Return it with a word that somebody typed: a job's id, a run's number, or how a function begins."""
        term = text.strip()
        if not term:
            return self
        named = replace(self, named=term)
        is_there = Run.objects.using(using).filter(_is_named(term)).exists()
        return named if is_there else replace(self, func_start=term)

    @property
    def row_status(self) -> str:
        """The status that rows have; empty for any."""
        return Status.READY.value if self.status in WAITING else self.status

    @property
    def is_searched(self) -> bool:
        """Whether rows must be looked at one by one, for want of an index that narrows them."""
        if self.job_id or self.named or self.row_status in UNFINISHED:
            return False
        return self.status == Status.SUCCESSFUL or bool(
            self.kind or self.queue or self.func or self.func_start or self.worker_id or self.error
        )

    def apply(self, runs: RunQuerySet, bounds: Bounds | None = None, *, by_id: bool = False) -> RunQuerySet:
        """Return those of some runs that pass all filters.

        Args:
            runs: The runs.
            bounds: Between which ids those of its times lie, from `bounds_of`; without it only the times
                themselves are compared, which no index helps.
            by_id: They are walked through in the order of their ids, some at a time: the index of those
                that wait would have all of them sorted each time.
        """
        if by_id and self.row_status in UNFINISHED:
            # Wrapped, so that no index of it is thought of.
            runs = runs.filter(Exact(Coalesce("status", Value("")), self.row_status))
        elif self.status:
            status = Status(self.row_status)
            if status in UNSUCCESSFUL:
                runs = runs.filter(InStatus(*UNSUCCESSFUL))
            runs = runs.filter(InStatus(status))
        if self.status in WAITING:
            runs = runs.filter(_waits_for(self.status))
        if self.named:
            runs = runs.filter(_is_named(self.named))
        if self.func_start:
            is_name = Q(func__contains=f":{self.func_start}")
            runs = runs.filter(Q(func__startswith=self.func_start) | is_name)
        exact = {
            "kind": self.kind,
            "queue_name": self.queue,
            "func": self.func,
            "worker_id": "" if self.row_status in UNFINISHED else self.worker_id,
            "job_id": self.job_id,
            "error__icontains": self.error,
            "enqueued_at__gte": self.since,
            "enqueued_at__lt": self.until,
        }
        runs = runs.filter(**{name: value for name, value in exact.items() if value})
        if self.worker_id and self.row_status in UNFINISHED:
            # Wrapped: by its statistics PostgreSQL finds them soon along the ids, for most of the finished
            # runs are that worker's.
            runs = runs.filter(Exact(Coalesce("worker_id", Value("")), self.worker_id))
        return runs if bounds is None else bounds.apply(runs)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Ids between which some runs lie: `low` is the first, `high` is behind the last. None: no bound."""

    low: int | None = None
    high: int | None = None

    def apply(self, runs: RunQuerySet) -> RunQuerySet:
        """Return those of some runs that lie between."""
        if self.low is not None:
            runs = runs.filter(pk__gte=self.low)
        return runs if self.high is None else runs.filter(pk__lt=self.high)


def _waits_for(what: str) -> Q:
    # Each is a range of the index by status and `run_after`.
    now = timezone.now()
    match what:
        case "due":
            return Q(run_after__lte=now)
        case "deferred":
            return Q(run_after__gt=now)
        case "retrying":
            return Q(run_after__gt=now, attempt__gt=0)
        case "held":
            return Q(run_after__isnull=True)
        case _:
            return Q(run_after__isnull=True) & ~PAUSED


def _is_named(term: str) -> Q:
    # Nineteen digits are more than a row's number can have on some databases.
    is_number = term.isascii() and term.isdecimal() and len(term) < 19
    return Q(job_id=term) | Q(pk=int(term)) if is_number else Q(job_id=term)


def of_query(query: Mapping[str, str]) -> Selection:
    """Return the filters of a page's address; what no filter can be is ignored.

    Besides the names of `Selection` it may have `since` as "hour", "today" or "week", and `from` and
    `until` as times of the reader's zone without their offset.
    """
    status, kind = query.get("status", ""), query.get("kind", "")
    return Selection(
        status=status if status in {*Status.values, *WAITING} else "",
        kind=kind if kind in Kind.values else "",
        queue=query.get("queue", ""),
        func=query.get("func", ""),
        worker_id=query.get("worker_id", ""),
        job_id=query.get("job_id", ""),
        error=query.get("error", "").strip(),
        since=_latest(_young(query.get("since", "")), _local(query.get("from", ""))),
        until=_local(query.get("until", "")),
    )


def _young(word: str) -> datetime | None:
    now = timezone.localtime()
    moments = {
        "hour": now - timedelta(hours=1),
        "today": now.replace(hour=0, minute=0, second=0, microsecond=0),
        "week": now - timedelta(days=7),
    }
    return moments.get(word)


def _local(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at if timezone.is_aware(at) else timezone.make_aware(at)
    except (ValueError, OverflowError):
        return None


def _latest(*times: datetime | None) -> datetime | None:
    return max((at for at in times if at is not None), default=None)


def extent(*, using: str) -> tuple[int, int]:
    """Return the lowest id of all runs and the one behind the highest, with one query."""
    runs = Run.objects.using(using).order_by("pk")
    last = Run.objects.using(using).order_by("-pk").values("pk")[:1]
    # Not MIN and MAX: SQLite answers both together from every row.
    row = runs.annotate(last=Subquery(last)).values_list("pk", "last").first()
    return (0, 0) if row is None else (row[0], row[1] + 1)


def bounds_of(selection: Selection, *, using: str, among: tuple[int, int] | None = None) -> Bounds:
    """Return between which ids the runs of a selection's times lie.

    Times have no index; ids grow with them, and are searched, with a query or two for each end.

    Args:
        selection: The filters.
        using: Alias of the database.
        among: What `extent` returned, if the caller has it.
    """
    if selection.since is None and selection.until is None:
        return Bounds()
    low, high = among or extent(using=using)
    first, end = low, high
    if selection.since is not None:
        first, _ = _near(selection.since - SLACK, low, high, using)
    if selection.until is not None:
        _, end = _near(selection.until + SLACK, low, high, using)
    return Bounds(first, end)


def _near(moment: datetime, low: int, high: int, using: str) -> tuple[int, int]:
    """Return two ids that are near each other.

    Runs of that time or later have the first one or a higher one, and earlier runs have one below the second.
    """
    runs = Run.objects.using(using)
    while high - low > NEAR:
        step = (high - low) // (PROBES + 1) + 1
        points = range(low + step, high, step)
        times: dict[int, datetime | None] = dict(runs.filter(pk__in=points).values_list("pk", "enqueued_at"))
        if len(times) <= len(points) // 10:
            # Most of these are gone: ask for what follows some of them.
            times = _following(points[:: len(points) // 30 + 1], using)
        for point, enqueued_at in sorted(times.items()):
            if enqueued_at is None or enqueued_at >= moment:
                high = point
                break
            low = point + 1
    return low, high


def _following(points: range, using: str) -> dict[int, datetime | None]:
    """Return the times of the first runs with these ids or later; None where there is none."""
    runs = Run.objects.using(using).order_by("pk")
    probes = {
        f"after_{point}": Subquery(runs.filter(pk__gte=point).values("enqueued_at")[:1]) for point in points
    }
    return dict(zip(points, runs.annotate(**probes).values_list(*probes)[0], strict=True))


def walk(
    wanted: Selection,
    *,
    size: int,
    where: Q | None = None,
    up_to: int | None = None,
    newest_first: bool = False,
    using: str,
) -> Iterator[tuple[list[int], float]]:
    """Yield the ids of a selection's runs, some at a time, through all of the history.

    No statement looks at more than `WINDOW` rows, unless they are all of one job, so that none takes long.

    Args:
        wanted: The filters.
        size: Most ids at a time.
        where: What else must hold.
        up_to: The highest id to look at; None for that of the newest run.
        newest_first: Whether to go from high ids to low ones.
        using: Alias of the database.

    Yields:
        Ids in order, and how much of the way they are, up to 1; no ids where there are none for a while.
    """
    low, high = extent(using=using)
    bounds = bounds_of(wanted, using=using, among=(low, high))
    first = max(low, bounds.low or low)
    end = min(high, bounds.high or high, high if up_to is None else up_to + 1)
    runs = wanted.apply(Run.objects.using(using), by_id=True)
    if where is not None:
        runs = runs.filter(where)
    runs = runs.order_by("-pk" if newest_first else "pk")
    length = max(1, end - first)
    # One job's runs have an index of their own, in which there is little to look at.
    window = length if wanted.job_id or wanted.named else WINDOW
    for begin in range(0, length if end > first else 0, window):
        if newest_first:
            start, stop = max(first, end - begin - window), end - begin
        else:
            start, stop = first + begin, min(end, first + begin + window)
        while start < stop:
            ids = list(runs.filter(pk__gte=start, pk__lt=stop).values_list("pk", flat=True)[:size])
            if len(ids) < size:
                yield ids, min(1.0, (begin + window) / length)
                break
            if newest_first:
                stop = ids[-1]
                yield ids, (end - stop) / length
            else:
                start = ids[-1] + 1
                yield ids, (start - first) / length
