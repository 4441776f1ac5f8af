"""Count runs as they end, so that nothing ever has to count the history.

Each process counts in memory, and about once a second adds what it has to the tallies of the minute,
the hour and the day, all three: tallies of old minutes and hours are deleted, never summed up again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import Min, Q, Sum

from django_jobs.models import BIN_ENDS, RAN_BINS, WAITED_BINS, Status, Tally, jobs_database
from django_jobs.storage import forks, sql
from django_jobs.storage.connections import discard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.db.models import QuerySet

    from django_jobs.storage.records import ClaimedRun, Outcome

logger = logging.getLogger(__name__)

MINUTE, HOUR, DAY = 60, 3600, 86_400
# What counted in so long before a month is there with zeros when it begins: also what comes once a month.
REMEMBERED = timedelta(days=62)
# How long tallies of each size are kept.
KEPT = {MINUTE: timedelta(days=2), HOUR: timedelta(days=60), DAY: timedelta(days=5 * 365)}

# Seconds for which counts gather, and until the next try where they could not be written.
GATHER_SECONDS = 1.0
RETRY_SECONDS = 5.0
# Rows of one statement.
BATCH = 200
# Functions in queues that one process tells apart within an hour; further ones are counted together,
# under empty names. Names of queues may be anything.
MOST_APART = 1000
# Counts in memory, which are more only when they cannot be written.
MOST_COUNTS = 10_000
MOST_POINTS = 2000

# What has times: others ended without having run, or were stopped in the middle.
_TIMED = frozenset({"SUCCESSFUL", "FAILED", "READY"})
_READY = Status.READY.value
_EPOCH = datetime.fromtimestamp(0, UTC)
_RAN = 3
_WAITED = _RAN + len(RAN_BINS)
_ZEROS = [0] * (_WAITED + len(WAITED_BINS))

# Minutes since the epoch, function, queue, outcome.
_Key = tuple[int, str, str, str]


# Counting


class _Counter:
    """What one process has counted and not yet written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[_Key, list[Any]] = {}
        self._apart: set[tuple[str, str]] = set()
        self._apart_hour = 0
        # Monotonic; infinite while there is nothing to write.
        self.due_at = math.inf
        self._failures = 0

    def note(self, func: str, queue_name: str, outcome: str, ended_at: float) -> None:
        with self._lock:
            self._row((int(ended_at) // MINUTE, func, queue_name, str(outcome)))[0] += 1

    def note_attempts(self, attempts: Iterable[tuple[ClaimedRun, Outcome]]) -> None:
        # For every run there is, so: the minute is only looked up when another begins.
        minute, begins, ends = 0, _EPOCH, _EPOCH
        with self._lock:
            for run, outcome in attempts:
                status = outcome.status
                if status == _READY and outcome.retry_in is None:
                    # Held, which is no end.
                    continue
                ended_at = outcome.finished_at
                if not begins <= ended_at < ends:
                    minute = int(ended_at.timestamp()) // MINUTE
                    begins = _moment(minute * MINUTE)
                    ends = begins + timedelta(seconds=MINUTE)
                key = (minute, run.func, run.queue_name, status)
                row = self._counts.get(key) or self._row(key)
                row[0] += 1
                if status in _TIMED:
                    began_at = outcome.started_at
                    seconds = (ended_at - began_at).total_seconds()
                    if seconds > 0:
                        row[1] += seconds
                    row[_RAN + bisect_left(BIN_ENDS, seconds)] += 1
                    due_at = run.run_after
                    if due_at is not None:
                        seconds = (began_at - _aware(due_at)).total_seconds()
                        if seconds > 0:
                            row[2] += seconds
                        row[_WAITED + bisect_left(BIN_ENDS, seconds)] += 1

    def _row(self, key: _Key) -> list[Any]:
        minute, func, queue_name, outcome = key
        if minute // 60 != self._apart_hour:
            self._apart.clear()
            self._apart_hour = minute // 60
        if (func, queue_name) not in self._apart:
            if len(self._apart) < MOST_APART:
                self._apart.add((func, queue_name))
            else:
                func = queue_name = ""
        if len(self._counts) >= MOST_COUNTS:
            minute, func, queue_name = next(iter(self._counts))[0], "", ""
        if not self._counts:
            self.due_at = time.monotonic() + GATHER_SECONDS
        return self._counts.setdefault((minute, func, queue_name, str(outcome)), list(_ZEROS))

    def write(self, using: str) -> bool:
        with self._lock:
            counts, self._counts, self.due_at = self._counts, {}, math.inf
        if not counts:
            return True
        try:
            _add(counts, using)
        except (DatabaseError, InterfaceError) as error:
            self._take_back(counts)
            if self._failures == 2:
                logger.warning("runs were counted, but the counts not written yet: %s", error)
            if not connections[using].in_atomic_block:
                # Perhaps it broke, and whoever uses it next should not find that out anew.
                discard(connections[using])
            return False
        except Exception:  # the thread that writes all outcomes must not end for the sake of counts
            logger.exception("counts of runs were dropped")
        self._failures = 0
        return True

    def _take_back(self, counts: dict[_Key, list[Any]]) -> None:
        with self._lock:
            for key, row in counts.items():
                _sum_up(self._counts.setdefault(key, list(_ZEROS)), row)
            self._failures += 1
            # Once it may be a deadlock with another process that counts.
            seconds = GATHER_SECONDS if self._failures == 1 else RETRY_SECONDS
            self.due_at = time.monotonic() + seconds


def _aware(moment: datetime | str) -> datetime:
    """Return a time as a raw cursor has it: text on SQLite, without a zone on SQLite and MariaDB."""
    if isinstance(moment, str):
        # All in one call, which is faster than `replace`; what came from a child process has a zone.
        return datetime.fromisoformat(moment if moment[-6:-5] == "+" else f"{moment}+00:00")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _sum_up(row: list[Any], more: Sequence[Any]) -> None:
    for index, value in enumerate(more):
        row[index] += value


def _add(counts: dict[_Key, list[Any]], using: str) -> None:
    sums: dict[tuple[int, int, str, str, str], list[Any]] = defaultdict(lambda: list(_ZEROS))
    for (minute, func, queue_name, outcome), row in counts.items():
        for size in KEPT:
            _sum_up(sums[size, minute * MINUTE // size * size, func, queue_name, outcome], row)
    connection = connections[using]
    dialect = sql.dialect(connection)
    # In one order everywhere: processes that lock the same rows wait for each other, not both for both.
    rows = [
        (size, dialect.time(_moment(begins)), *names, *row)
        for (size, begins, *names), row in sorted(sums.items())
    ]
    # Together or not at all: what fails is added again.
    whole = transaction.atomic(using=using) if len(rows) > BATCH else nullcontext()
    with whole, connection.cursor() as cursor:
        for start in range(0, len(rows), BATCH):
            cursor.execute(*dialect.add_tallies(rows[start : start + BATCH]))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_counter = _Counter()


@forks.on_fork_reset
def _leave_counts() -> None:
    """Leave what a forked child's parent has counted to the parent."""
    global _counter
    _counter = _Counter()


def note_attempts(attempts: Iterable[tuple[ClaimedRun, Outcome]]) -> None:
    """Count attempts whose outcomes are written; `flush_if_due` has to be called within some time."""
    _counter.note_attempts(attempts)


def note_ended(runs: Iterable[tuple[str, str, str]], *, using: str) -> None:
    """Count runs that ended without an attempt: function, queue and outcome of each. Writes at once.

    Call it after the commit. Where that fails the counts are kept, and written with the next ones.
    """
    now = time.time()
    for func, queue_name, outcome in runs:
        _counter.note(func, queue_name, outcome, now)
    _counter.write(using)


def seconds_until_due() -> float | None:
    """Return how long until counts should be written; None while there are none."""
    due_at = _counter.due_at
    return None if due_at == math.inf else max(0.0, due_at - time.monotonic())


def flush_if_due(using: str) -> None:
    """Write what was counted, if it has gathered for long enough."""
    if time.monotonic() >= _counter.due_at:
        _counter.write(using)


def flush(using: str) -> bool:
    """Write what was counted, now.

    Returns:
        False when the database did not take it; then it is kept.
    """
    return _counter.write(using)


def outdated(now: datetime, *, using: str) -> Iterator[QuerySet[Tally]]:
    """Yield the tallies that are older than they are kept, the oldest first."""
    for size, kept in KEPT.items():
        # Those that a time which is still kept begins in are whole.
        cutoff = now - kept - timedelta(seconds=size)
        tallies = Tally.objects.using(using).filter(size_seconds=size, begins_at__lt=cutoff)
        yield tallies.order_by("begins_at")


# Reading


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

        Taken as spread evenly within each bin: the bin is right, what is said within it a guess. Of
        what took longer than all bins, 20,000 seconds are said.
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
    """

    outcomes: dict[str, int]
    ran: Durations
    waited: Durations

    @property
    def ended(self) -> int:
        """Runs that ended, in whatever way."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != Status.READY)


NOTHING = Summary({}, Durations(), Durations())


def together(summaries: Iterable[Summary]) -> Summary:
    """Return what several summaries come to."""
    outcomes: dict[str, int] = defaultdict(int)
    parts = list(summaries)
    for one in parts:
        for outcome, count in one.outcomes.items():
            outcomes[outcome] += count
    return Summary(
        dict(outcomes), _durations(one.ran for one in parts), _durations(one.waited for one in parts)
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


def series(
    since: datetime,
    until: datetime | None = None,
    *,
    step: timedelta,
    func: str | None = None,
    queue_name: str | None = None,
    percentiles: bool = False,
    using: str | None = None,
) -> list[Point]:
    """Return what runs came to step by step, with one query; also the steps in which nothing ended.

    Args:
        since: As for `totals`; rounded down to a step.
        until: As for `totals`.
        step: Whole minutes. Steps begin at multiples of it in UTC. One of less than an hour is an hour
            where `since` is more than two days ago, and less than a day a day before 60 days ago.
        func: As for `totals`.
        queue_name: As for `totals`.
        percentiles: Whether the summaries have bins, and times of waiting, which cost more to read.
        using: As for `totals`.

    Raises:
        ValueError: `step` is not of whole minutes, or makes more than 2,000 points.
    """
    now = datetime.now(UTC)
    seconds = int(step.total_seconds())
    if seconds < MINUTE or step.total_seconds() % MINUTE:
        raise ValueError(f"step must be whole minutes, not {step}")
    begin, end = since.timestamp(), (until or now).timestamp()
    # The first size that is kept of all the time, and what the step then is in that size.
    finest = next(
        (size for size, kept in KEPT.items() if begin - begin % size >= (now - kept).timestamp()), DAY
    )
    seconds = -(-seconds // finest) * finest
    size = max(size for size in KEPT if seconds % size == 0)
    begin -= begin % seconds
    begins = range(int(begin), math.ceil(end), seconds)
    if len(begins) > MOST_POINTS:
        raise ValueError(f"{len(begins)} points are too many, at most {MOST_POINTS}: take a longer step")
    rows = _selected([(size, begin, end)], func, queue_name, using)
    sums: dict[tuple[Any, ...], dict[str, list[Any]]] = defaultdict(dict)
    for begins_at, outcome, *row in _summed(rows, ("begins_at",), with_bins=percentiles):
        at = int(begins_at.timestamp())
        of_step = sums[at - at % seconds,]
        if outcome in of_step:
            _sum_up(of_step[outcome], row)
        else:
            of_step[outcome] = row
    return [Point(_moment(at), _summary(sums.get((at,), {}))) for at in begins]


def _by(
    groups: tuple[str, ...],
    since: datetime,
    until: datetime | None,
    func: str | None,
    queue_name: str | None,
    using: str | None,
) -> dict[tuple[Any, ...], Summary]:
    now = datetime.now(UTC)
    rows = _selected(list(_parts(since, until or now, now)), func, queue_name, using)
    sums: dict[tuple[Any, ...], dict[str, list[Any]]] = defaultdict(dict)
    for row in _summed(rows, groups):
        sums[row[: len(groups)]][row[len(groups)]] = list(row[len(groups) + 1 :])
    return {group: _summary(outcomes) for group, outcomes in sums.items()}


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


def _selected(
    parts: Sequence[tuple[int, float, float]], func: str | None, queue_name: str | None, using: str | None
) -> QuerySet[Tally]:
    times = Q(pk__in=[])
    for size, begin, end in parts:
        times |= Q(size_seconds=size, begins_at__gte=_moment(begin), begins_at__lt=_moment(end))
    rows = Tally.objects.using(using or jobs_database()).filter(times)
    if func is not None:
        rows = rows.filter(func=func)
    return rows if queue_name is None else rows.filter(queue_name=queue_name)


def _summed(
    rows: QuerySet[Tally], groups: tuple[str, ...], *, with_bins: bool = True
) -> Iterable[tuple[Any, ...]]:
    names = [name for name, _ in sql.TALLY_SUMS][: None if with_bins else _RAN]
    sums = {f"sum_{name}": Sum(name) for name in names}
    grouped = rows.values(*groups, "outcome").annotate(**sums).order_by()
    summed: Iterable[tuple[Any, ...]] = grouped.values_list(*groups, "outcome", *sums)
    return summed


def _summary(outcomes: dict[str, list[Any]]) -> Summary:
    total = list(_ZEROS)
    for row in outcomes.values():
        _sum_up(total, row)
    ran = sum(row[0] for outcome, row in outcomes.items() if outcome in _TIMED)
    counts = {outcome: row[0] for outcome, row in outcomes.items()}
    if not any(len(row) > _RAN for row in outcomes.values()):
        return Summary(counts, Durations(ran, total[1]), Durations())
    waited = total[_WAITED:]
    return Summary(
        counts,
        Durations(ran, total[1], tuple(total[_RAN:_WAITED])),
        Durations(sum(waited), total[2], tuple(waited)),
    )


@dataclass(frozen=True, slots=True)
class Counted:
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


def month_so_far(now: datetime, *, by_function: bool = False, using: str | None = None) -> list[Counted]:
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
    rows = Tally.objects.using(using or jobs_database()).filter(size_seconds=DAY).order_by()
    groups = ("func", "queue_name") if by_function else ("queue_name",)
    found: dict[tuple[str, ...], tuple[int, dict[str, list[Any]]]] = {}
    sums = {f"sum_{name}": Sum(name) for name, _ in sql.TALLY_SUMS}
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
        Counted(key[0] if by_function else "", key[-1], first, _summary(outcomes))
        for key, (first, outcomes) in found.items()
    ]
    return sorted(counted, key=lambda one: (not one.summary.outcomes, one.first))
