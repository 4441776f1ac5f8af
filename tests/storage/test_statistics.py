import itertools
import logging
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from django_jobs import Retry
from django_jobs.models import BIN_ENDS, RAN_BINS, WAITED_BINS, Chore, Run, Tally
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.storage import claims, leases, retention, sql, statistics, transitions
from django_jobs.storage.records import Outcome
from tests.conftest import ROOT

pytestmark = pytest.mark.django_db

NOW = timezone.now


@pytest.fixture(autouse=True)
def counter(monkeypatch):
    """A process that has counted nothing yet."""
    counter = statistics._Counter()
    monkeypatch.setattr(statistics, "_counter", counter)
    return counter


def attempt(
    status="SUCCESSFUL", *, func="m:f", queue_name="default", ran=0.0, waited=0.0, ended=None, retry_in=None
):
    ended = ended or NOW()
    started = ended - timedelta(seconds=ran)
    due = None if waited is None else started - timedelta(seconds=waited)
    run = SimpleNamespace(func=func, queue_name=queue_name, run_after=due)
    return run, Outcome(status, started, ended, retry_in=retry_in)


def count(*attempts):
    statistics.note_attempts(attempts)
    assert statistics.flush("default")


def last_hour(**more):
    return statistics.totals(NOW() - timedelta(hours=1), **more)


# Where runs end


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_executes_is_counted(serve, manager, probes):
    serve()
    for job_id in [manager.add_immediate_job(probes.nothing) for _ in range(3)]:
        manager.wait(job_id, 10)
    manager.wait(
        manager.using(retry=Retry(max_attempts=3, delay=0)).add_immediate_job(probes.fail_until, 3), 15
    )
    failing = manager.using(queue_name="letters").add_immediate_job(probes.fail)
    with pytest.raises(Exception, match="it went wrong"):
        manager.wait(failing, 10)

    # What gathered is written when the process ends.
    manager.shutdown()

    found = statistics.by_function(NOW() - timedelta(hours=1))
    outcomes = {func.partition(":")[2]: summary.outcomes for func, summary in found.items()}
    assert outcomes == {
        "nothing": {"SUCCESSFUL": 3},
        "fail_until": {"READY": 2, "SUCCESSFUL": 1},
        "fail": {"FAILED": 1},
    }
    total = last_hour()
    assert (total.ended, total.ran.count, total.waited.count) == (5, 7, 7)
    assert 0 < total.ran.seconds < 15
    assert statistics.by_queue(NOW() - timedelta(hours=1))["letters"].outcomes == {"FAILED": 1}


@pytest.mark.django_db(transaction=True)
def test_counts_are_written_while_the_process_goes_on(serve, manager, probes, until):
    serve()
    manager.wait(manager.add_immediate_job(probes.nothing), 10)

    until(Tally.objects.exists)

    assert last_hour().outcomes == {"SUCCESSFUL": 1}
    assert statistics.seconds_until_due() is None


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_run_is_counted_once_it_is_committed(make_run):
    make_run(job_id="a", queue_name="q")
    make_run(job_id="b")

    with transaction.atomic():
        assert transitions.cancel_waiting(Q(job_id="b"), using="default") == 1
        transaction.set_rollback(True)
    assert transitions.cancel(Q(job_id="a"), using="default") == (1, 0)
    assert transitions.cancel(Q(job_id="a"), using="default") == (0, 0)

    assert last_hour().outcomes == {"CANCELLED": 1}
    assert last_hour(queue_name="q").outcomes == {"CANCELLED": 1}


@pytest.mark.django_db(transaction=True)
def test_a_skipped_firing_is_counted(make_job, make_run):
    make_job(id="j", next_run_time=NOW() - timedelta(seconds=1), func="m:busy")
    make_run(job_id="j")

    fire_due("default")

    assert statistics.by_function(NOW() - timedelta(hours=1))["m:busy"].outcomes == {"SKIPPED": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("rescues", "outcomes"), [(0, {}), (3, {"FAILED": 1})])
def test_a_rescue_is_counted_if_it_ends_the_run(make_run, make_worker, rescues, outcomes):
    make_worker(id="w")
    make_run(rescues=rescues)
    claims.claim("w", limit=1, using="default")

    rescued = leases.rescue(max_rescues=3, gone=["w"], using="default")
    leases.report_rescues(rescued, using="default")

    assert len(rescued) == 1
    assert last_hour().outcomes == outcomes


def test_a_result_that_was_refused_is_not_counted(make_run, make_worker):
    from django_jobs.worker.completer import Completer

    make_worker(id="w")
    make_run()
    (run,) = claims.claim("w", limit=1, using="default")
    Run.objects.update(attempt=7)

    Completer(using="default", on_written=lambda batch: None)._write([(run, attempt()[1])])

    assert statistics.seconds_until_due() is None


def test_a_claimed_run_says_when_it_was_due(make_run, make_worker):
    make_worker(id="w")
    made = make_run(run_after=NOW() - timedelta(seconds=40))
    (run,) = claims.claim("w", limit=1, using="default")

    assert abs(statistics._aware(run.run_after) - made.run_after) < timedelta(milliseconds=1)
    count((run, Outcome("SUCCESSFUL", NOW(), NOW())))

    assert 40 <= last_hour().waited.seconds < 60


def test_a_run_that_is_held_has_not_ended(db):
    statistics.note_attempts([attempt("READY", retry_in=None)])

    assert statistics.seconds_until_due() is None


# Writing


def test_counts_gather_and_are_written_with_one_statement(django_assert_num_queries, monkeypatch, counter):
    for number in range(50):
        statistics.note_attempts([attempt(func=f"m:f{number % 5}")])
    with django_assert_num_queries(0):
        statistics.flush_if_due("default")
    assert 0 < statistics.seconds_until_due() <= statistics.GATHER_SECONDS

    counter.due_at = 0
    with django_assert_num_queries(1):
        statistics.flush_if_due("default")

    assert last_hour().outcomes == {"SUCCESSFUL": 50}
    with django_assert_num_queries(0):
        statistics.flush("default")


def test_a_minute_an_hour_and_a_day_are_counted(db):
    ended = datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)

    count(attempt(ended=ended, ran=0.004, waited=3), attempt(ended=ended, ran=0.3, waited=None))
    count(attempt(ended=ended, ran=1e9, waited=-5))

    rows = Tally.objects.order_by("size_seconds")
    assert [(row.size_seconds, row.begins_at) for row in rows] == [
        (60, ended.replace(second=0, microsecond=0)),
        (3600, ended.replace(minute=0, second=0, microsecond=0)),
        (86400, ended.replace(hour=0, minute=0, second=0, microsecond=0)),
    ]
    for row in rows:
        assert (row.func, row.queue_name, row.outcome, row.runs) == ("m:f", "default", "SUCCESSFUL", 3)
        assert row.ran_seconds == pytest.approx(1e9 + 0.304)
        assert row.waited_seconds == pytest.approx(3)
        ran = {name: getattr(row, name) for name in RAN_BINS if getattr(row, name)}
        waited = {name: getattr(row, name) for name in WAITED_BINS if getattr(row, name)}
        # Up to 5 ms, up to 0.5 s, and longer than all; nothing, and up to 5 s.
        assert ran == {"ran_2": 1, "ran_8": 1, "ran_23": 1}
        assert waited == {"waited_0": 1, "waited_11": 1}


def test_there_is_a_bin_for_every_duration():
    assert len(BIN_ENDS) + 1 == len(RAN_BINS) == len(WAITED_BINS)
    assert BIN_ENDS[0] == 0.001
    assert BIN_ENDS[-1] == 20_000
    assert list(BIN_ENDS) == sorted(BIN_ENDS)


def test_many_functions_are_written_in_statements_of_some_hundred_rows(
    django_assert_max_num_queries, monkeypatch
):
    monkeypatch.setattr(statistics, "BATCH", 50)
    statistics.note_attempts(attempt(func=f"m:f{number}") for number in range(100))

    with django_assert_max_num_queries(8):
        statistics.flush("default")

    assert last_hour().outcomes == {"SUCCESSFUL": 100}
    assert len(statistics.by_function(NOW() - timedelta(hours=1))) == 100


def test_counts_outlast_a_database_that_does_not_take_them(db, monkeypatch, caplog, counter):
    def away(*args):
        raise OperationalError("gone")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "django_jobs"):
        patched.setattr(statistics, "_add", away)
        for _ in range(3):
            statistics.note_attempts([attempt()])
            assert not statistics.flush("default")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert statistics.GATHER_SECONDS < statistics.seconds_until_due() <= statistics.RETRY_SECONDS
    statistics.note_attempts([attempt()])

    assert statistics.flush("default")

    assert last_hour().outcomes == {"SUCCESSFUL": 4}


@pytest.mark.django_db(transaction=True)
def test_of_a_flush_that_fails_in_the_middle_nothing_is_written(monkeypatch, counter):
    monkeypatch.setattr(statistics, "BATCH", 2)
    statistics.note_attempts(attempt(func=f"m:f{number}") for number in range(4))
    calls = []

    def fail_later(execute, *args):
        calls.append(args)
        if len([call for call in calls if "django_jobs_tally" in call[0]]) == 3:
            raise OperationalError("cut")
        return execute(*args)

    with connection.execute_wrapper(fail_later):
        assert not statistics.flush("default")
    assert not Tally.objects.exists()

    assert statistics.flush("default")
    assert last_hour().outcomes == {"SUCCESSFUL": 4}


def test_a_mistake_in_counting_does_not_end_the_thread_that_counts(db, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(statistics, "_add", lambda *args: 1 / 0)
        statistics.note_attempts([attempt()])
        assert statistics.flush("default")

    assert "counts of runs were dropped" in caplog.text
    count(attempt())
    assert last_hour().outcomes == {"SUCCESSFUL": 1}


def test_functions_without_end_are_counted_together(db, monkeypatch):
    monkeypatch.setattr(statistics, "MOST_APART", 3)
    count(*(attempt(func=f"m:f{number}") for number in range(10)))

    found = statistics.by_function(NOW() - timedelta(hours=1))

    assert {func: summary.outcomes["SUCCESSFUL"] for func, summary in found.items()} == {
        "m:f0": 1, "m:f1": 1, "m:f2": 1, "": 7,
    }  # fmt: skip


def test_what_cannot_be_written_does_not_grow_without_end(db, monkeypatch, counter):
    monkeypatch.setattr(statistics, "MOST_COUNTS", 5)
    begin = NOW() - timedelta(minutes=30)
    statistics.note_attempts(attempt(ended=begin + timedelta(minutes=number)) for number in range(20))

    assert len(counter._counts) == 6
    statistics.flush("default")
    assert last_hour().outcomes == {"SUCCESSFUL": 20}


def test_a_forked_child_leaves_its_parents_counts_to_the_parent(db):
    statistics.note_attempts([attempt()])

    statistics._forget_parent()

    assert statistics.seconds_until_due() is None


@pytest.mark.django_db(transaction=True)
def test_what_many_threads_count_adds_up():
    count_of_threads, rounds, functions = 4, 15, 3
    barrier = threading.Barrier(count_of_threads)
    ended = NOW() - timedelta(minutes=1)

    def work(seed):
        order = random.Random(seed)
        counter = statistics._Counter()
        try:
            barrier.wait(10)
            for _ in range(rounds):
                names = [f"m:f{number}" for number in range(functions)]
                order.shuffle(names)
                counter.note_attempts([attempt(func=name, ran=0.25, ended=ended) for name in names])
                counter.write("default")
            while not counter.write("default"):
                continue
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(count_of_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    expected = count_of_threads * rounds
    for func, summary in statistics.by_function(NOW() - timedelta(hours=1)).items():
        assert (func, summary.outcomes, summary.ran.seconds) == (func, {"SUCCESSFUL": expected}, expected / 4)
    # Each function in a minute, an hour and a day.
    assert Tally.objects.count() == functions * 3


SCRIPT = """
import sys
import django
django.setup()
from django.utils import timezone
from django_jobs import tallies
from tests.test_tallies import attempt
for _ in range(20):
    tallies.note_attempts([attempt(func=f"m:f{number}") for number in range(3)])
    tallies.flush("default")
while not tallies.flush("default"):
    pass
"""


@pytest.mark.django_db(transaction=True)
def test_what_many_processes_count_adds_up(child_env):
    children = [subprocess.Popen([sys.executable, "-c", SCRIPT], env=child_env, cwd=ROOT) for _ in range(3)]

    assert [child.wait(60) for child in children] == [0, 0, 0]

    found = statistics.by_function(NOW() - timedelta(hours=1))
    assert {func: summary.outcomes for func, summary in found.items()} == {
        f"m:f{number}": {"SUCCESSFUL": 60} for number in range(3)
    }


# Reading


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


def test_only_what_ran_has_times(db):
    count(attempt("CANCELLED", ran=9), attempt("SKIPPED", ran=9), attempt("FAILED", ran=2))

    found = last_hour()

    assert (found.ended, found.ran.count, found.ran.seconds) == (3, 1, pytest.approx(2))


def test_a_time_without_runs_is_all_zeros(db):
    assert last_hour() == statistics.NOTHING
    assert last_hour().ended == 0


@pytest.fixture
def long_ago(db):
    """One run for each of some ages, of which minutes and hours are deleted as in time they are."""
    now = NOW()
    for hours in (0.5, 5, 30, 47, 24 * 5, 24 * 59, 24 * 100, 24 * 1000):
        count(attempt(ended=now - timedelta(hours=hours)))
    for outdated in statistics.outdated(now, using="default"):
        outdated.filter(pk__gt=0).delete()
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

        parts = list(statistics._parts(since, until, now))

        assert parts[0][1] <= since.timestamp()
        assert parts[-1][2] >= until.timestamp()
        assert len(parts) <= 5
        for size, begin, end in parts:
            assert begin % size == end % size == 0
            assert begin >= (now - statistics.KEPT[size]).timestamp() - size
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


# Old tallies


def test_old_tallies_are_deleted_in_rounds(db):
    now = NOW()
    for days in (0, 3, 61, 2000):
        count(attempt(ended=now - timedelta(days=days)))

    pruned = retention.prune_in_turn("default", threading.Event())

    # Three minutes, two hours and a day.
    assert pruned.tallies == 6
    kept = Tally.objects.values("size_seconds").annotate(runs=Sum("runs")).order_by("size_seconds")
    assert [(row["size_seconds"], row["runs"]) for row in kept] == [(60, 1), (3600, 2), (86400, 3)]
    assert Chore.objects.exists()


# Plans


def test_readings_walk_the_index_of_times(transactional_db):
    now = NOW()
    Tally.objects.bulk_create(
        Tally(
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
    selected = statistics._selected(
        list(statistics._parts(now - timedelta(hours=1), now, now)), None, None, "default"
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


def test_the_columns_that_are_added_up_are_those_of_the_table():
    names = [name for name, _ in (*sql.TALLY_KEY, *sql.TALLY_SUMS)]

    assert names == [field.attname for field in Tally._meta.concrete_fields][1:]


def test_summaries_come_together_to_what_one_of_all_would_be():
    rest = (0,) * (len(BIN_ENDS) - 1)
    one = statistics.Summary(
        {"SUCCESSFUL": 1, "FAILED": 2}, statistics.Durations(3, 1.5, (1, 2, *rest)), statistics.Durations()
    )
    other = statistics.Summary(
        {"FAILED": 1}, statistics.Durations(1, 0.5, (0, 1, *rest)), statistics.Durations()
    )

    whole = statistics.together([one, other])

    assert whole.outcomes == {"SUCCESSFUL": 1, "FAILED": 3}
    assert whole.ran == statistics.Durations(4, 2.0, (1, 3, *rest))
    assert whole.waited == statistics.Durations()
    assert statistics.together([]) == statistics.NOTHING
