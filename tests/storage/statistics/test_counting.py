import logging
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import Q, Sum

from django_jobs import Retry
from django_jobs.execution import recording
from django_jobs.models import BIN_ENDS, RAN_BINS, WAITED_BINS, MaintenanceTask, Rollup, Run
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.storage import claims, leases, statistics, transitions
from django_jobs.storage.backends.columns import ROLLUP_KEY, ROLLUP_SUMS
from django_jobs.storage.backends.values import read_time
from django_jobs.storage.records import Outcome
from django_jobs.storage.retention import rounds
from django_jobs.storage.statistics import counting
from tests.conftest import ROOT
from tests.storage.statistics.counted import NOW, attempt, count, last_hour

pytestmark = pytest.mark.django_db


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

    until(Rollup.objects.exists)

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

    record = partial(recording.record, using="default")
    completer = Completer(using="default", record=record, on_written=lambda batch: None)
    completer.put(run, attempt()[1])
    completer.stop()
    completer.run()

    assert statistics.seconds_until_due() is None


def test_a_claimed_run_says_when_it_was_due(make_run, make_worker):
    make_worker(id="w")
    made = make_run(run_after=NOW() - timedelta(seconds=40))
    (run,) = claims.claim("w", limit=1, using="default")

    assert abs(read_time(run.run_after) - made.run_after) < timedelta(milliseconds=1)
    count((run, Outcome("SUCCESSFUL", NOW(), NOW())))

    assert 40 <= last_hour().waited.seconds < 60


def test_a_run_that_is_held_has_not_ended(db):
    statistics.note_attempts([attempt("READY", retry_in=None)])

    assert statistics.seconds_until_due() is None


def test_counts_gather_and_are_written_with_one_statement(django_assert_num_queries, monkeypatch, counter):
    for number in range(50):
        statistics.note_attempts([attempt(func=f"m:f{number % 5}")])
    with django_assert_num_queries(0):
        statistics.flush_if_due("default")
    assert 0 < statistics.seconds_until_due() <= counting.GATHER_SECONDS

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

    rows = Rollup.objects.order_by("size_seconds")
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


def test_an_attempt_counts_as_started_in_the_minute_in_which_it_began(db):
    ended = datetime(2024, 2, 29, 12, 0, 30, tzinfo=UTC)

    count(attempt(ended=ended, ran=5), attempt("READY", ended=ended, ran=40, retry_in=3))
    count(attempt("FAILED", ended=ended, ran=150), attempt("CANCELLED", ended=ended, ran=100))
    # Cancelled before it began, and by a clock that was wrong.
    count(
        attempt("CANCELLED", ended=ended, ran=0),
        attempt(ended=ended, ran=-7200),
        attempt(ended=ended, ran=1e9),
    )

    hour = timedelta(hours=1)
    points = statistics.series(ended - timedelta(minutes=3, seconds=30), ended, step=timedelta(minutes=1))
    long_ago = statistics.totals(ended - 2 * hour, ended + 2 * hour)
    rows = Rollup.objects.filter(size_seconds=60, started__gt=0).order_by("begins_at", "outcome")
    assert [(row.begins_at.minute, row.outcome, row.runs, row.started) for row in rows] == [
        (58, "CANCELLED", 0, 1), (58, "FAILED", 0, 1), (59, "READY", 0, 1), (0, "SUCCESSFUL", 3, 3),
    ]  # fmt: skip
    # In the hour of the end, what ended there; what began before is in the hour before.
    assert long_ago.started == 6
    assert long_ago.outcomes == {"SUCCESSFUL": 3, "READY": 1, "FAILED": 1, "CANCELLED": 2}
    assert sum(point.summary.started for point in points) == 6


def test_what_began_in_another_minute_is_told_apart_no_further_than_the_rest(db, monkeypatch):
    monkeypatch.setattr(counting, "MOST_SEPARATE", 3)
    ended = datetime(2024, 2, 29, 12, 0, 30, tzinfo=UTC)

    count(*(attempt(func=f"m:f{number}", ended=ended, ran=60) for number in range(10)))

    began = Rollup.objects.filter(size_seconds=60, started__gt=0)
    assert sorted(began.values_list("func", "started")) == [("", 7), ("m:f0", 1), ("m:f1", 1), ("m:f2", 1)]


def test_there_is_a_bin_for_every_duration():
    assert len(BIN_ENDS) + 1 == len(RAN_BINS) == len(WAITED_BINS)
    assert BIN_ENDS[0] == 0.001
    assert BIN_ENDS[-1] == 20_000
    assert list(BIN_ENDS) == sorted(BIN_ENDS)


def test_many_functions_are_written_in_statements_of_some_hundred_rows(
    django_assert_max_num_queries, monkeypatch
):
    monkeypatch.setattr(counting, "BATCH", 50)
    statistics.note_attempts(attempt(func=f"m:f{number}") for number in range(100))

    with django_assert_max_num_queries(8):
        statistics.flush("default")

    assert last_hour().outcomes == {"SUCCESSFUL": 100}
    assert len(statistics.by_function(NOW() - timedelta(hours=1))) == 100


def test_counts_outlast_a_database_that_does_not_take_them(db, monkeypatch, caplog, counter):
    def away(*args):
        raise OperationalError("gone")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "django_jobs"):
        patched.setattr(counting, "_add", away)
        for _ in range(3):
            statistics.note_attempts([attempt()])
            assert not statistics.flush("default")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert counting.GATHER_SECONDS < statistics.seconds_until_due() <= counting.RETRY_SECONDS
    statistics.note_attempts([attempt()])

    assert statistics.flush("default")

    assert last_hour().outcomes == {"SUCCESSFUL": 4}


@pytest.mark.django_db(transaction=True)
def test_of_a_flush_that_fails_in_the_middle_nothing_is_written(monkeypatch, counter):
    monkeypatch.setattr(counting, "BATCH", 2)
    statistics.note_attempts(attempt(func=f"m:f{number}") for number in range(4))
    calls = []

    def fail_later(execute, *args):
        calls.append(args)
        if len([call for call in calls if "django_jobs_tally" in call[0]]) == 3:
            raise OperationalError("cut")
        return execute(*args)

    with connection.execute_wrapper(fail_later):
        assert not statistics.flush("default")
    assert not Rollup.objects.exists()

    assert statistics.flush("default")
    assert last_hour().outcomes == {"SUCCESSFUL": 4}


def test_a_mistake_in_counting_does_not_end_the_thread_that_counts(db, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(counting, "_add", lambda *args: 1 / 0)
        statistics.note_attempts([attempt()])
        assert statistics.flush("default")

    assert "counts of runs were dropped" in caplog.text
    count(attempt())
    assert last_hour().outcomes == {"SUCCESSFUL": 1}


def test_functions_without_end_are_counted_together(db, monkeypatch):
    monkeypatch.setattr(counting, "MOST_SEPARATE", 3)
    count(*(attempt(func=f"m:f{number}") for number in range(10)))

    found = statistics.by_function(NOW() - timedelta(hours=1))

    assert {func: summary.outcomes["SUCCESSFUL"] for func, summary in found.items()} == {
        "m:f0": 1, "m:f1": 1, "m:f2": 1, "": 7,
    }  # fmt: skip


def test_what_cannot_be_written_does_not_grow_without_end(db, monkeypatch, counter):
    monkeypatch.setattr(counting, "MOST_COUNTS", 5)
    begin = NOW() - timedelta(minutes=30)
    statistics.note_attempts(attempt(ended=begin + timedelta(minutes=number)) for number in range(20))

    assert len(counter._counts) == 6
    statistics.flush("default")
    assert last_hour().outcomes == {"SUCCESSFUL": 20}


def test_a_forked_child_leaves_its_parents_counts_to_the_parent(db):
    statistics.note_attempts([attempt()])

    counting._leave_counts()

    assert statistics.seconds_until_due() is None


@pytest.mark.django_db(transaction=True)
def test_what_many_threads_count_adds_up():
    count_of_threads, rounds, functions = 4, 15, 3
    barrier = threading.Barrier(count_of_threads)
    # Begun in the minute in which it ended.
    ended = NOW().replace(second=30) - timedelta(minutes=1)

    def work(seed):
        order = random.Random(seed)
        counter = counting._Counter()
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
    found = statistics.by_function(NOW() - timedelta(hours=1))
    for func in (f"m:f{number}" for number in range(functions)):
        assert found[func].outcomes == {"SUCCESSFUL": expected}
        assert found[func].ran.seconds == expected / 4
        # A minute, an hour and a day.
        assert Rollup.objects.filter(func=func).count() == 3


SCRIPT = """
import sys
import django
django.setup()
from django.utils import timezone
from django_jobs.storage import statistics
from tests.storage.statistics.counted import attempt
for _ in range(20):
    statistics.note_attempts([attempt(func=f"m:f{number}") for number in range(3)])
    statistics.flush("default")
while not statistics.flush("default"):
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


def test_old_rollups_are_deleted_in_rounds(db):
    now = NOW()
    for days in (0, 3, 61, 2000):
        count(attempt(ended=now - timedelta(days=days)))

    pruned = rounds.prune_in_turn("default", threading.Event())

    # Three minutes, two hours and a day.
    assert pruned.rollups == 6
    kept = Rollup.objects.values("size_seconds").annotate(runs=Sum("runs")).order_by("size_seconds")
    assert [(row["size_seconds"], row["runs"]) for row in kept] == [(60, 1), (3600, 2), (86400, 3)]
    assert MaintenanceTask.objects.exists()


def test_the_columns_that_are_added_up_are_those_of_the_table():
    names = [name for name, _ in (*ROLLUP_KEY, *ROLLUP_SUMS)]

    assert names == [field.attname for field in Rollup._meta.concrete_fields][1:]


def test_only_what_ran_has_times(db):
    count(attempt("CANCELLED", ran=9), attempt("SKIPPED", ran=9), attempt("FAILED", ran=2))

    found = last_hour()

    assert (found.ended, found.ran.count, found.ran.seconds) == (3, 1, pytest.approx(2))
