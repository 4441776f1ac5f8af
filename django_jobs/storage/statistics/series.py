"""Read the counts step by step."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django_jobs.storage.statistics import steps
from django_jobs.storage.statistics.reading import Point, selected, summary_of, summed
from django_jobs.storage.statistics.rows import DAY, KEPT, MINUTE, from_epoch, sum_up

MOST_POINTS = 2000


def series(
    since: datetime,
    until: datetime | None = None,
    *,
    step: timedelta,
    zone: tzinfo = UTC,
    func: str | None = None,
    queue_name: str | None = None,
    percentiles: bool = False,
    using: str | None = None,
) -> list[Point]:
    """Return what runs came to step by step, with one query; also the steps in which nothing ended.

    Args:
        since: As for `totals`; rounded down to a step.
        until: As for `totals`.
        step: Whole minutes. One of less than an hour is an hour where `since` is more than two days ago, and
            less than a day a day before 60 days ago.
        zone: Steps begin at multiples of `step` in its days, and those of days at its midnights. Older than 60
            days are days in UTC. In zones that are not whole hours from UTC, the hour in which a day begins
            counts to the one before where `since` is more than two days ago.
        func: As for `totals`.
        queue_name: As for `totals`.
        percentiles: Whether the summaries have bins, and times of waiting, which cost more to read.
        using: As for `totals`.

    Raises:
        ValueError: `step` is not of whole minutes, or makes more than 2,000 points.
    """
    begins, sums = _series(since, until, step, zone, (), func, queue_name, using, with_bins=percentiles)
    return [Point(from_epoch(at), summary_of(sums.get((index,), {}))) for index, at in enumerate(begins)]


def series_by(
    column: str,
    since: datetime,
    until: datetime | None = None,
    *,
    step: timedelta,
    zone: tzinfo = UTC,
    queue_name: str | None = None,
    using: str | None = None,
) -> dict[str, list[Point]]:
    """Return `series`, with bins, for each queue or function in which something ended, with one query.

    Args:
        column: "queue_name" or "func".
        since: As for `series`, and so are the others.
        until: As for `series`.
        step: As for `series`.
        zone: As for `series`.
        queue_name: As for `series`.
        using: As for `series`.
    """
    begins, sums = _series(since, until, step, zone, (column,), None, queue_name, using, with_bins=True)
    return {
        name: [
            Point(from_epoch(at), summary_of(sums.get((index, name), {}))) for index, at in enumerate(begins)
        ]
        for name in sorted({key[1] for key in sums})
    }


def step_times(
    since: datetime, until: datetime | None = None, *, step: timedelta, zone: tzinfo = UTC
) -> list[datetime]:
    """Return when each step of `series` begins, without a query; arguments as there."""
    _, begins = _steps(since, (until or datetime.now(UTC)).timestamp(), step, zone)
    return [from_epoch(at) for at in begins]


def _series(
    since: datetime,
    until: datetime | None,
    step: timedelta,
    zone: tzinfo,
    groups: tuple[str, ...],
    func: str | None,
    queue_name: str | None,
    using: str | None,
    *,
    with_bins: bool,
) -> tuple[list[int], dict[tuple[Any, ...], dict[str, list[Any]]]]:
    """Return when each step begins, and the sums of each outcome by the step's index and the groups."""
    end = (until or datetime.now(UTC)).timestamp()
    size, begins = _steps(since, end, step, zone)
    rows = selected([(size, begins[0], end)], func, queue_name, using)
    sums: dict[tuple[Any, ...], dict[str, list[Any]]] = defaultdict(dict)
    for begins_at, *row in summed(rows, ("begins_at", *groups), with_bins=with_bins):
        index = max(0, bisect_right(begins, begins_at.timestamp()) - 1)
        of_step = sums[index, *row[: len(groups)]]
        outcome, values = row[len(groups)], list(row[len(groups) + 1 :])
        if outcome in of_step:
            sum_up(of_step[outcome], values)
        else:
            of_step[outcome] = values
    return begins, sums


def _steps(since: datetime, end: float, step: timedelta, zone: tzinfo) -> tuple[int, list[int]]:
    """Return which size of counts the steps are read from, and when each begins."""
    if step.total_seconds() < MINUTE or step.total_seconds() % MINUTE:
        raise ValueError(f"step must be whole minutes, not {step}")
    now, begin = datetime.now(UTC), since.timestamp()
    # The first size that is kept of all the time, and what the step then is in that size.
    finest = next(
        (size for size, kept in KEPT.items() if begin - begin % size >= (now - kept).timestamp()), DAY
    )
    seconds = -(-int(step.total_seconds()) // finest) * finest
    begins = steps.begins(begin, end, seconds, UTC if finest == DAY else zone, most=MOST_POINTS)
    fitting = [size for size in KEPT if size >= finest and not any(at % size for at in (*begins, seconds))]
    return max(fitting, default=finest), begins
