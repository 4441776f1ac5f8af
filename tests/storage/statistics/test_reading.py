import itertools
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import connection

from django_jobs.models import BIN_ENDS, Rollup
from django_jobs.storage import statistics
from django_jobs.storage.statistics import reading
from django_jobs.storage.statistics.rows import outdated
from tests.storage.statistics.counted import NOW, attempt, count, last_hour

pytestmark = pytest.mark.django_db


def test_percentiles_come_from_the_bins(db):
    count(*(attempt(ran=seconds) for seconds in [0.015] * 90 + [0.9] * 10))

    ran = last_hour().ran

    assert ran.count == 100
    assert ran.mean == pytest.approx((0.015 * 90 + 0.9 * 10) / 100)
    assert 0.01 < ran.percentile(50) <= 0.02
    assert ran.percentile(90) == 0.02
    assert 0.5 < ran.percentile(95) <= 1
    assert ran.percentile(100) == 1


def test_percentiles_of_extremes(db):
    assert statistics.Durations().percentile(50) is None
    assert statistics.Durations().mean is None
    count(attempt(ran=1e6))
    assert last_hour().ran.percentile(50) == 20_000
    assert 0 <= last_hour().waited.percentile(50) <= 0.001


def test_a_time_without_runs_is_all_zeros(db):
    assert last_hour() == statistics.NOTHING
    assert last_hour().ended == 0


@pytest.fixture
def long_ago(db):
    """One run for each of some ages, of which minutes and hours are deleted as in time they are."""
    now = NOW()
    for hours in (0.5, 5, 30, 47, 24 * 5, 24 * 59, 24 * 100, 24 * 1000):
        count(attempt(ended=now - timedelta(hours=hours)))
    for old in outdated(now, using="default"):
        old.filter(pk__gt=0).delete()
    return now


@pytest.mark.parametrize(
    ("hours", "runs"),
    [
        (1, 1),
        (6, 2),
        (24, 2),
        (31, 3),
        (47.9, 4),
        (24 * 6, 5),
        (24 * 59.9, 6),
        (24 * 90, 6),
        (24 * 101, 7),
        (24 * 2000, 8),
    ],
)
def test_totals_reach_as_far_back_as_days_are_kept(long_ago, hours, runs):
    assert statistics.totals(long_ago - timedelta(hours=hours)).outcomes == {"SUCCESSFUL": runs}


def test_times_that_follow_each_other_add_up(long_ago):
    order = random.Random(7)
    hour = long_ago.replace(minute=0, second=0, microsecond=0)
    for _ in range(20):
        cut = hour - timedelta(hours=order.randrange(1, 24 * 50))
        begin = cut.replace(hour=0) - timedelta(days=2000)

        before = statistics.totals(begin, cut).outcomes.get("SUCCESSFUL", 0)
        after = statistics.totals(cut, long_ago).outcomes.get("SUCCESSFUL", 0)

        assert before + after == 8


def test_the_parts_of_a_time_are_whole_and_of_sizes_that_are_kept():
    order = random.Random(11)
    now = datetime(2026, 3, 10, 15, 42, 7, tzinfo=UTC)
    for _ in range(500):
        until = now - timedelta(minutes=order.randrange(60 * 24 * 100))
        since = until - timedelta(minutes=order.choice([1, 30, 100, 2000, 50_000, 500_000]))

        parts = list(reading._parts(since, until, now))

        assert parts[0][1] <= since.timestamp()
        assert parts[-1][2] >= until.timestamp()
        assert len(parts) <= 5
        for size, begin, end in parts:
            assert begin % size == end % size == 0
            assert begin >= (now - reading.KEPT[size]).timestamp() - size
        assert all(one[2] == other[1] for one, other in itertools.pairwise(parts))


def test_a_series_has_every_step_and_its_sum_is_the_total(db):
    now = NOW().replace(second=30)
    for minutes in (1, 2, 2, 14, 55):
        count(
            attempt(ended=now - timedelta(minutes=minutes), ran=0.3),
            attempt("FAILED", ended=now - timedelta(minutes=minutes)),
        )

    points = statistics.series(now - timedelta(hours=1), now, step=timedelta(minutes=5))

    assert len(points) in {12, 13}
    assert all((b.begins_at - a.begins_at) == timedelta(minutes=5) for a, b in itertools.pairwise(points))
    assert all(point.begins_at.minute % 5 == 0 for point in points)
    assert sum(point.summary.outcomes.get("FAILED", 0) for point in points) == 5
    assert sum(point.summary.ran.count for point in points) == 10
    assert sum(point.summary.ran.seconds for point in points) == pytest.approx(1.5)
    assert {point.summary.ran.percentile(50) for point in points} == {None}


def test_a_series_has_percentiles_when_asked(db):
    count(attempt(ran=3, waited=0.3))

    *_, point = statistics.series(NOW() - timedelta(hours=1), step=timedelta(hours=1), percentiles=True)
    points = statistics.series(NOW() - timedelta(hours=2), step=timedelta(hours=1), percentiles=True)

    assert points[-1] == point
    assert 2 < point.summary.ran.percentile(50) <= 5
    assert 0.2 < point.summary.waited.percentile(50) <= 0.5


@pytest.mark.parametrize(
    ("days", "step", "comes_to"),
    [
        (1, timedelta(minutes=15), timedelta(minutes=15)),
        (5, timedelta(minutes=15), timedelta(hours=1)),
        (5, timedelta(hours=6), timedelta(hours=6)),
        (200, timedelta(hours=6), timedelta(days=1)),
        (200, timedelta(days=7), timedelta(days=7)),
    ],
)
def test_the_steps_of_a_series_are_as_long_as_what_is_kept(long_ago, days, step, comes_to):
    points = statistics.series(long_ago - timedelta(days=days), long_ago, step=step)

    assert points[1].begins_at - points[0].begins_at == comes_to
    total = statistics.totals(points[0].begins_at, long_ago)
    assert sum(point.summary.ended for point in points) == total.ended


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (timedelta(seconds=90), "whole minutes"),
        (timedelta(0), "whole minutes"),
        (timedelta(minutes=1), "too many"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(db, step, words):
    with pytest.raises(ValueError, match=words):
        statistics.series(NOW() - timedelta(hours=47), step=step)


def test_readings_can_be_narrowed(db):
    count(
        attempt(func="a:a", queue_name="x"),
        attempt(func="b:b", queue_name="x"),
        attempt(func="a:a", queue_name="y"),
    )
    since = NOW() - timedelta(minutes=30)

    assert statistics.totals(since, func="a:a").ended == 2
    assert statistics.totals(since, func="a:a", queue_name="y").ended == 1
    assert sorted(statistics.by_function(since, queue_name="y")) == ["a:a"]
    assert sorted(statistics.by_queue(since, func="b:b")) == ["x"]
    points = statistics.series(since, step=timedelta(hours=1), queue_name="x")
    assert sum(point.summary.ended for point in points) == 2


def test_every_reading_is_one_query(long_ago, django_assert_num_queries):
    since = long_ago - timedelta(days=300)
    for read in (
        lambda: statistics.totals(since),
        lambda: statistics.by_function(since),
        lambda: statistics.by_queue(since),
        lambda: statistics.series(since, step=timedelta(days=1)),
        lambda: statistics.series(since, step=timedelta(days=1), percentiles=True),
    ):
        with django_assert_num_queries(1):
            read()


def test_readings_walk_the_index_of_times(transactional_db):
    now = NOW()
    Rollup.objects.bulk_create(
        Rollup(
            size_seconds=60, begins_at=now - timedelta(minutes=minute), func=f"m:f{number}", queue_name="q",
            outcome="SUCCESSFUL", runs=1,
        )
        for minute in range(2000)
        for number in range(5)
    )  # fmt: skip
    with connection.cursor() as cursor:
        is_mysql = connection.vendor == "mysql"
        cursor.execute("ANALYZE TABLE django_jobs_tally" if is_mysql else "ANALYZE")
        if is_mysql:
            cursor.fetchall()
    selected = reading.selected(
        list(reading._parts(now - timedelta(hours=1), now, now)), None, None, "default"
    ).values_list("runs", flat=True)
    statement, params = selected.query.sql_with_params()

    with connection.cursor() as cursor:
        cursor.execute(
            ("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + statement, params
        )
        text = "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())

    # SQLite names the index of a constraint itself.
    assert "django_jobs_tally_one" in text or "autoindex_django_jobs_tally_1 (size_seconds=?" in text, text
    assert "SCAN" not in text, text
    assert "Seq Scan" not in text, text


def test_summaries_merge_to_what_one_of_all_would_be():
    rest = (0,) * (len(BIN_ENDS) - 1)
    one = statistics.Summary(
        {"SUCCESSFUL": 1, "FAILED": 2}, statistics.Durations(3, 1.5, (1, 2, *rest)), statistics.Durations()
    )
    other = statistics.Summary(
        {"FAILED": 1}, statistics.Durations(1, 0.5, (0, 1, *rest)), statistics.Durations()
    )

    whole = statistics.merge([one, other])

    assert whole.outcomes == {"SUCCESSFUL": 1, "FAILED": 3}
    assert whole.ran == statistics.Durations(4, 2.0, (1, 3, *rest))
    assert whole.waited == statistics.Durations()
    assert statistics.merge([]) == statistics.NOTHING


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2030-06-10", 24),
        ("Europe/Berlin", "2030-03-31", 23),
        ("Europe/Berlin", "2030-10-27", 25),
        ("Asia/Tokyo", "2030-06-10", 24),
    ],
)  # fmt: skip
def test_days_are_cut_at_midnight_of_the_zone(db, zone, day, hours):
    begins_at = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    first, next_day = (moment.astimezone(UTC) for moment in (begins_at, begins_at + timedelta(days=1)))
    for moment, runs in (
        (first - timedelta(hours=1), 1),
        (first, 10),
        (next_day - timedelta(hours=1), 100),
        (next_day, 1000),
    ):
        Rollup.objects.create(
            size_seconds=3600, begins_at=moment, func="f", queue_name="q", outcome="SUCCESSFUL", runs=runs
        )

    with time_machine.travel(next_day + timedelta(hours=5), tick=False):
        points = statistics.series(first, step=timedelta(days=1), zone=ZoneInfo(zone))

    assert [point.begins_at for point in points] == [first, next_day]
    assert next_day - first == timedelta(hours=hours)
    assert [point.summary.outcomes["SUCCESSFUL"] for point in points] == [110, 1000]


def test_series_are_told_apart_by_queue_with_one_query(db, django_assert_num_queries):
    now = NOW()
    minute = now.replace(second=0, microsecond=0) - timedelta(minutes=5)
    for name, runs in (("mail", 2), ("slow", 3)):
        Rollup.objects.create(
            size_seconds=60,
            begins_at=minute,
            func="f",
            queue_name=name,
            outcome="FAILED",
            runs=runs,
            ran_3=runs,
        )

    with django_assert_num_queries(1):
        found = statistics.series_by("queue_name", now - timedelta(minutes=10), step=timedelta(minutes=1))

    assert {name: sum(one.summary.ended for one in points) for name, points in found.items()} == {
        "mail": 2,
        "slow": 3,
    }
    assert len({len(points) for points in found.values()}) == 1
