import re
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from django_jobs.models import MaintenanceTask, Run, Status, Worker
from django_jobs.storage import transactions
from django_jobs.storage.retention import rounds, walks
from tests.many_rows import analyze, copy_row, numbered
from tests.storage.retention.rows import be_due, ids, prune, prune_in_turn

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", [Status.READY, Status.RUNNING])
def test_a_run_that_has_not_finished_is_kept_however_old(make_old, status):
    make_old(1000, status=status)

    prune(keep_days=0, keep_runs_per_job=1)
    prune_in_turn()

    assert Run.objects.count() == 1


def test_without_limits_nothing_is_deleted(make_old, settings):
    settings.DJANGO_JOBS = {"KEEP_DAYS": None, "KEEP_RUNS_PER_JOB": None}
    make_old(5000)

    assert prune().runs == 0
    assert prune_in_turn().runs == 0


def test_a_round_deletes_by_the_settings(make_old, settings):
    settings.DJANGO_JOBS = {"KEEP_DAYS": 10, "KEEP_RUNS_PER_JOB": 2}
    make_old(11)
    make_old(1, job_id="a")
    kept = [make_old(9).pk, make_old(1, job_id="a").pk, make_old(1, job_id="a").pk]

    assert prune_in_turn().runs == 2

    assert ids() == sorted(kept)


def test_a_round_goes_on_where_the_last_one_ended(make_old, monkeypatch, settings):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": None}
    make_old(100, status=Status.READY)
    last = make_old(100)
    make_old(1)
    prune_in_turn()
    be_due()
    asked = []
    walk = rounds.by_age
    monkeypatch.setattr(rounds, "by_age", lambda *args: asked.append(args[-1]) or walk(*args))

    prune_in_turn()

    assert asked == [last.pk]


def test_what_finished_late_is_met_by_the_next_days_walk(make_old):
    late = make_old(100, status=Status.RUNNING)
    make_old(99)
    prune_in_turn()
    Run.objects.filter(pk=late.pk).update(
        status="SUCCESSFUL", finished_at=timezone.now() - timedelta(days=91)
    )
    be_due()
    assert prune_in_turn().runs == 0

    chore = MaintenanceTask.objects.get()
    chore.state["walk_began"] -= 86400
    chore.save()
    be_due()

    assert prune_in_turn().runs == 1


def test_a_run_that_took_an_hour_is_not_passed_by(make_old):
    just_under = timezone.now() - timedelta(days=90, minutes=-5)
    run = make_old(90.02)
    Run.objects.filter(pk=run.pk).update(finished_at=just_under)
    prune_in_turn()

    assert MaintenanceTask.objects.get().state["walked_to"] == 0


def test_a_round_finds_a_job_with_too_many_among_all(make_old, settings, monkeypatch):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 10}
    monkeypatch.setattr(rounds, "NEW_SAMPLE", 0)
    monkeypatch.setattr(rounds, "SAMPLE", 40)
    for number in range(60):
        make_old(1, job_id="busy" if number % 2 else f"once-{number}")

    assert prune_in_turn().runs == 20
    assert Run.objects.filter(job_id="busy").count() == 10


def test_a_round_finds_a_job_with_too_many_among_those_added_since(make_old, settings, monkeypatch):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 2}
    monkeypatch.setattr(rounds, "SAMPLE", 0)
    for _ in range(3):
        make_old(1, job_id="a")
    assert prune_in_turn().runs == 1

    be_due()
    assert prune_in_turn().runs == 0
    make_old(1, job_id="a")
    be_due()

    assert prune_in_turn().runs == 1


def test_workers_that_ended_long_ago_are_deleted(make_worker, settings):
    now = timezone.now()
    make_worker(stopped_at=now - timedelta(days=31))
    ended = make_worker(stopped_at=now - timedelta(days=29))
    lives = make_worker(started_at=now - timedelta(days=300))

    assert prune_in_turn().workers == 1
    assert set(Worker.objects.all()) == {ended, lives}

    settings.DJANGO_JOBS = {"KEEP_DAYS": 7}
    be_due()
    assert prune_in_turn().workers == 1
    assert Worker.objects.get() == lives


def test_a_round_that_ran_out_of_time_is_due_again_at_once(make_old, monkeypatch):
    monkeypatch.setattr(walks, "BATCH", 2)
    monkeypatch.setattr(rounds, "ROUND_SECONDS", -1)
    for _ in range(3):
        make_old(100)

    assert not prune_in_turn().is_complete
    assert Run.objects.exists()
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 60)
    assert prune_in_turn().is_complete
    assert Run.objects.count() == 0


def test_a_round_is_not_due_again_for_some_minutes(db):
    assert prune_in_turn() is not None
    assert prune_in_turn() is None

    MaintenanceTask.objects.update(due_at=timezone.now())
    assert prune_in_turn() is not None


def test_a_round_with_nothing_to_do_puts_the_next_one_off_for_longer(db, make_old):
    def minutes_until_due():
        return (MaintenanceTask.objects.get().due_at - timezone.now()).total_seconds() / 60

    make_old(1)
    prune_in_turn()
    assert 4 < minutes_until_due() < 6

    be_due()
    prune_in_turn()
    assert 59 < minutes_until_due() < 61

    make_old(1)
    be_due()
    prune_in_turn()
    assert 4 < minutes_until_due() < 6


def test_a_clock_that_was_set_back_does_not_put_rounds_off_for_long(db):
    prune_in_turn()
    MaintenanceTask.objects.update(due_at=timezone.now() + timedelta(days=400))

    assert prune_in_turn() is not None


def test_asking_whether_a_round_is_due_is_two_reads(db, django_assert_num_queries):
    prune_in_turn()

    with django_assert_num_queries(2) as asked:
        prune_in_turn()

    assert all(query["sql"].startswith("SELECT") for query in asked.captured_queries)


@pytest.mark.django_db(transaction=True)
def test_of_many_that_ask_at_once_one_has_the_turn(monkeypatch):
    count = 6
    prune_in_turn()
    be_due()
    barrier = threading.Barrier(count)
    now = transactions.database_now

    def all_at_once(using):
        barrier.wait(10)
        return now(using)

    monkeypatch.setattr(rounds, "database_now", all_at_once)
    turns = []

    def ask():
        try:
            turns.append(rounds.take_turn(rounds.PRUNING, "default"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(turns) == count
    assert sum(turn is not None for turn in turns) == 1


@pytest.fixture
def long_history(transactional_db, make_old, make_worker):
    """Some thousands of old and young runs, of one busy job and of many others."""
    # The oldest of each have the lowest numbers.
    for days, first, count in ((100, 0, 100), (1, 100, 11_900)):
        is_busy, name = f"(n + {first}) % 10 = 0", numbered(f"once-{days}-")
        job_id = f"CASE WHEN {is_busy} THEN 'busy' ELSE {name} END"
        copy_row(make_old(days, job_id="busy", worker_id="w", attempt=1), count, job_id=job_id)
    now = timezone.now()
    for days, count in ((100, 9), (1, 2989)):
        stopped = make_worker(
            id=f"w{days}", started_at=now, lease_expires_at=now, stopped_at=now - timedelta(days=days)
        )
        copy_row(stopped, count, id=numbered(f"w{days}-"))
    analyze("django_jobs_run", "django_jobs_worker")


@pytest.fixture
def statements():
    """The statements that are sent, with their parameters."""
    sent = []

    def note(execute, sql, params, many, context):
        sent.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield sent


def scans(sql, params):
    """The lines of a statement's plan that read a table of ours, or an index of it, as a whole."""
    with connection.cursor() as cursor:
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + sql, params)
        rows = cursor.fetchall()
    match connection.vendor:
        case "sqlite":
            return [row[3] for row in rows if re.match(r"SCAN .*django_jobs_(run|worker)|SCAN U?\d", row[3])]
        case "postgresql":
            # The first rows of an index are no scan of it; a whole table is.
            return [row[0] for row in rows if "Seq Scan on django_jobs_" in row[0]]
        case _:
            # type, and how many rows it expects to read.
            return [row for row in rows if row[3] in {"ALL", "index"} and row[2] and int(row[8] or 0) > 500]


def test_a_round_reads_no_table_as_a_whole(long_history, statements, settings, monkeypatch):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 1000}
    monkeypatch.setattr(walks, "BATCH", 50)

    pruned = prune_in_turn()

    assert pruned.runs >= 101 + 100
    assert pruned.workers == 10
    sent = {
        sql: params
        for sql, params in statements
        # Logs of runs that go on or were killed are few, and read as a whole for what belongs to no run.
        if ("django_jobs_run" in sql or "django_jobs_worker" in sql) and "django_jobs_log" not in sql
    }
    assert len(sent) >= 8
    assert {sql: found for sql, params in sent.items() if (found := scans(sql, params))} == {}


def test_a_round_costs_the_same_few_statements_with_a_long_history(long_history, statements, settings):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 10_000}
    prune_in_turn()
    be_due()
    statements.clear()

    prune_in_turn()

    assert len(statements) <= 20
