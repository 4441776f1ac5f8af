"""Read the counts: what runs came to, in some time or step by step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Min, Q, Sum

from django_jobs.models import BIN_ENDS, RAN_BINS, Rollup, Status, jobs_database
from django_jobs.storage.backends.columns import ROLLUP_SUMS
from django_jobs.storage.statistics.rows import (
    DAY,
    HOUR,
    KEPT,
    MINUTE,
    RAN,
    STARTED,
    TIMED,
    WAITED,
    ZEROS,
    from_epoch,
    sum_up,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.db.models import QuerySet

# What counted in so long before a month is there with zeros when it begins: also what comes once a month.
REMEMBERED = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long runs took, or waited.

    Attributes:
        count: How many there were.
        seconds: The sum.
        bins: How many took up to 1 ms, 2 ms, 5 ms, 10 ms and so on (`models.BIN_ENDS`), and longer.
    """

    count: int = 0
    seconds: float = 0.0
    bins: tuple[int, ...] = ()

    @property
    def mean(self) -> float | None:
        """Seconds; None where there were none."""
        return self.seconds / self.count if self.count else None

    def percentile(self, percent: float) -> float | None:
        """Return the seconds that `percent` of 100 did not exceed; None where there were none, or no bins.

        Durations count as spread evenly within each bin: the bin is exact, the place within it an
        estimate. What took longer than all bins counts as 20,000 seconds.
        """
        left = sum(self.bins) * percent / 100
        for index, count in enumerate(self.bins):
            if count and left <= count:
                begins = BIN_ENDS[index - 1] if index else 0.0
                ends = BIN_ENDS[index] if index < len(BIN_ENDS) else begins
                return begins + (ends - begins) * max(0.0, left / count)
            left -= count
        return None


@dataclass(frozen=True, slots=True)
class Summary:
    """What runs came to within some time.

    Attributes:
        outcomes: How many, by `Run.status`. READY counts attempts that were to be tried again, the
            others runs that ended.
        ran: From start to end of each attempt that succeeded or failed.
        waited: From when each of those was due to its start, as far as that is known.
        started: Attempts that began then, of those that have ended since.
    """

    outcomes: dict[str, int]
    ran: Durations
    waited: Durations
    started: int = 0

    @property
    def ended(self) -> int:
        """Runs that ended, in whatever way."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != Status.READY)


NOTHING = Summary({}, Durations(), Durations())


def merge(summaries: Iterable[Summary]) -> Summary:
    """Return what several summaries come to."""
    outcomes: dict[str, int] = defaultdict(int)
    parts = list(summaries)
    for one in parts:
        for outcome, count in one.outcomes.items():
            outcomes[outcome] += count
    return Summary(
        dict(outcomes),
        _durations(one.ran for one in parts),
        _durations(one.waited for one in parts),
        sum(one.started for one in parts),
    )


def _durations(several: Iterable[Durations]) -> Durations:
    count, seconds, bins = 0, 0.0, [0] * len(RAN_BINS)
    for one in several:
        count += one.count
        seconds += one.seconds
        for index, value in enumerate(one.bins):
            bins[index] += value
    return Durations(count, seconds, tuple(bins) if any(bins) else ())


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series: when it begins, and what ended in it."""

    begins_at: datetime
    summary: Summary


def totals(
    since: datetime,
    until: datetime | None = None,
    *,
    func: str | None = None,
    queue_name: str | None = None,
    using: str | None = None,
) -> Summary:
    """Return what runs came to from one time to another, with one query.

    Both times are rounded outwards: to minutes within the last two days, to hours within the last 60
    days, before that to days, in UTC. The last second or so is not counted yet.

    Args:
        since: Aware. Counts are kept for five years.
        until: Aware; None for now.
        func: Of this function only, `module:qualname`. "" has what was too various to be told apart.
        queue_name: Of this queue only.
        using: Alias of the database; None for that of the jobs.
    """
    return _by((), since, until, func, queue_name, using).get((), NOTHING)


def by_function(
    since: datetime,
    until: datetime | None = None,
    *,
    queue_name: str | None = None,
    using: str | None = None,
) -> dict[str, Summary]:
    """Return what the runs of each function came to, with one query; arguments as for `totals`."""
    found = _by(("func",), since, until, None, queue_name, using)
    return {func: summary for (func,), summary in found.items()}


def by_queue(
    since: datetime, until: datetime | None = None, *, func: str | None = None, using: str | None = None
) -> dict[str, Summary]:
    """Return what the runs of each queue came to, with one query; arguments as for `totals`."""
    found = _by(("queue_name",), since, until, func, None, using)
    return {queue_name: summary for (queue_name,), summary in found.items()}


def by_function_and_queue(
    since: datetime, until: datetime | None = None, *, using: str | None = None
) -> dict[tuple[str, str], Summary]:
    """Return what the runs of each function in each queue came to, with one query; arguments as for `totals`."""
    found = _by(("func", "queue_name"), since, until, None, None, using)
    return {(func, queue_name): summary for (func, queue_name), summary in found.items()}


def _by(
    groups: tuple[str, ...],
    since: datetime,
    until: datetime | None,
    func: str | None,
    queue_name: str | None,
    using: str | None,
) -> dict[tuple[Any, ...], Summary]:
    now = datetime.now(UTC)
    rows = selected(list(_parts(since, until or now, now)), func, queue_name, using)
    sums: dict[tuple[Any, ...], dict[str, list[Any]]] = defaultdict(dict)
    for row in summed(rows, groups):
        sums[row[: len(groups)]][row[len(groups)]] = list(row[len(groups) + 1 :])
    return {group: summary_of(outcomes) for group, outcomes in sums.items()}


def _parts(since: datetime, until: datetime, now: datetime) -> Iterator[tuple[int, float, float]]:
    """Cut some time into days, and at its ends hours and minutes, as far as these are kept."""

    def finest(moment: datetime) -> int:
        return next((size for size, kept in KEPT.items() if moment >= now - kept), DAY)

    at = int(since.timestamp()) // finest(since) * finest(since)
    end = -int(-until.timestamp() // finest(until)) * finest(until)
    for size, larger in ((MINUTE, HOUR), (HOUR, DAY)):
        stop = min(-(-at // larger) * larger, end // size * size)
        if stop > at:
            yield size, at, stop
            at = stop
    for size in (DAY, HOUR, MINUTE):
        stop = end // size * size
        if stop > at:
            yield size, at, stop
            at = stop


def selected(
    parts: Sequence[tuple[int, float, float]], func: str | None, queue_name: str | None, using: str | None
) -> QuerySet[Rollup]:
    """Return the counts of some sizes and times: of each a size, and from when to when in seconds since 1970."""
    times = Q(pk__in=[])
    for size, begin, end in parts:
        times |= Q(size_seconds=size, begins_at__gte=from_epoch(begin), begins_at__lt=from_epoch(end))
    rows = Rollup.objects.using(using or jobs_database()).filter(times)
    if func is not None:
        rows = rows.filter(func=func)
    return rows if queue_name is None else rows.filter(queue_name=queue_name)


def summed(
    rows: QuerySet[Rollup], groups: tuple[str, ...], *, with_bins: bool = True
) -> Iterable[tuple[Any, ...]]:
    """Yield sums by group and outcome, as rows of `ROLLUP_SUMS`; without bins as far as `RAN`."""
    names = [name for name, _ in ROLLUP_SUMS][: None if with_bins else RAN]
    sums = {f"sum_{name}": Sum(name) for name in names}
    grouped = rows.values(*groups, "outcome").annotate(**sums).order_by()
    summed: Iterable[tuple[Any, ...]] = grouped.values_list(*groups, "outcome", *sums)
    return summed


def summary_of(outcomes: dict[str, list[Any]]) -> Summary:
    """Return what the sums of each outcome come to."""
    total = list(ZEROS)
    for row in outcomes.values():
        sum_up(total, row)
    ran = sum(row[0] for outcome, row in outcomes.items() if outcome in TIMED)
    # A row may only say that attempts began which ended later.
    counts = {outcome: row[0] for outcome, row in outcomes.items() if row[0]}
    if not any(len(row) > RAN for row in outcomes.values()):
        return Summary(counts, Durations(ran, total[1]), Durations(), total[STARTED])
    waited = total[WAITED:]
    return Summary(
        counts,
        Durations(ran, total[1], tuple(total[RAN:WAITED])),
        Durations(sum(waited), total[2], tuple(waited)),
        total[STARTED],
    )


@dataclass(frozen=True, slots=True)
class MonthTotals:
    """What the runs of one function, or of all, in one queue came to.

    Attributes:
        func: Function, where they were asked for apart; else empty.
        queue_name: Queue; empty for what was too various to be told apart.
        first: Grows with when it was first counted, the same for whoever asks.
        summary: What they came to.
    """

    func: str
    queue_name: str
    first: int
    summary: Summary


def month_so_far(now: datetime, *, by_function: bool = False, using: str | None = None) -> list[MonthTotals]:
    """Return what was counted since the month began in UTC, by queue, with two queries.

    For counters that others read again and again: until the month ends these never fall. What was counted
    in the 62 days before the month alone is there too, with zeros and at the end, so that nobody misses where
    it begins to count.

    Args:
        now: Aware; by the database's clock, or processes would not begin the month together.
        by_function: Whether functions are told apart.
        using: Alias of the database; None for that of the jobs.
    """
    begins_at = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = Rollup.objects.using(using or jobs_database()).filter(size_seconds=DAY).order_by()
    groups = ("func", "queue_name") if by_function else ("queue_name",)
    found: dict[tuple[str, ...], tuple[int, dict[str, list[Any]]]] = {}
    sums = {f"sum_{name}": Sum(name) for name, _ in ROLLUP_SUMS}
    month = rows.filter(begins_at__gte=begins_at).values(*groups, "outcome").annotate(**sums, first=Min("pk"))
    for row in month.values_list(*groups, "outcome", "first", *sums):
        key, outcome, first = row[: len(groups)], row[len(groups)], row[len(groups) + 1]
        before, outcomes = found.get(key, (first, {}))
        outcomes[outcome] = list(row[len(groups) + 2 :])
        found[key] = (min(before, first), outcomes)
    earlier = rows.filter(begins_at__gte=begins_at - REMEMBERED, begins_at__lt=begins_at)
    for *names, first in earlier.values(*groups).annotate(first=Min("pk")).values_list(*groups, "first"):
        found.setdefault(tuple(names), (first, {}))
    counted = [
        MonthTotals(key[0] if by_function else "", key[-1], first, summary_of(outcomes))
        for key, (first, outcomes) in found.items()
    ]
    return sorted(counted, key=lambda one: (not one.summary.outcomes, one.first))
