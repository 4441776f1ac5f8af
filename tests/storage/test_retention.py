import re
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone

from django_jobs.api import job_info
from django_jobs.models import FINISHED, Chore, Run, Status, Worker
from django_jobs.storage import queue, retention, transitions
from django_jobs.storage.records import Outcome
from django_jobs.worker.loop import Worker as WorkerLoop
from django_jobs.worker.maintenance import Maintainer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_rests(monkeypatch):
    monkeypatch.setattr(retention, "REST", 0)


@pytest.fixture
def make_old(make_run):
    """Return a factory of runs that were enqueued, and have finished, so many days ago."""

    def make(days, took_days=0.0, **fields):
        then = timezone.now() - timedelta(days=days)
        fields.setdefault("status", Status.SUCCESSFUL)
        finished_at = then + timedelta(days=took_days) if fields["status"] in FINISHED else None
        return make_run(enqueued_at=then, run_after=then, finished_at=finished_at, **fields)

    return make


def prune(keep_days=None, keep_runs_per_job=None, **more):
    return retention.prune(keep_days=keep_days, keep_runs_per_job=keep_runs_per_job, **more)


def prune_in_turn():
    return retention.prune_in_turn("default", threading.Event())


def be_due():
    Chore.objects.update(due_at=timezone.now() - timedelta(hours=1))


def ids():
    return list(Run.objects.order_by("id").values_list("id", flat=True))


# By age


@pytest.mark.parametrize("status", FINISHED)
def test_a_finished_run_is_deleted_when_it_is_old(make_old, status):
    make_old(91, status=status)
    young = make_old(89, status=status)

    pruned = prune(keep_days=90)

    assert (pruned.runs, pruned.is_complete) == (1, True)
    assert ids() == [young.pk]


@pytest.mark.parametrize("status", [Status.READY, Status.RUNNING])
def test_a_run_that_has_not_finished_is_kept_however_old(make_old, status):
    make_old(1000, status=status)

    prune(keep_days=0, keep_runs_per_job=1)
    prune_in_turn()

    assert Run.objects.count() == 1


def test_the_age_of_a_run_is_counted_from_when_it_finished(make_old):
    make_old(200, took_days=150)

    assert prune(keep_days=90).runs == 0
    assert prune(keep_days=49).runs == 1


def test_without_limits_nothing_is_deleted(make_old, settings):
    settings.DJANGO_JOBS = {"KEEP_DAYS": None, "KEEP_RUNS_PER_JOB": None}
    make_old(5000)

    assert prune().runs == 0
    assert prune_in_turn().runs == 0


@pytest.mark.parametrize("keep_days", [1e300, 10_000_000, 30_000])
def test_more_days_than_there_are_keep_all(make_old, keep_days):
    make_old(5000)

    assert prune(keep_days=keep_days).runs == 0


@pytest.mark.parametrize(
    ("limits", "words"), [({"keep_days": -1}, "at least 0"), ({"keep_runs_per_job": 0}, "at least 1")]
)
def test_a_limit_that_makes_no_sense_is_refused(db, limits, words):
    with pytest.raises(ValueError, match=words):
        prune(**limits)


def test_a_round_deletes_by_the_settings(make_old, settings):
    settings.DJANGO_JOBS = {"KEEP_DAYS": 10, "KEEP_RUNS_PER_JOB": 2}
    make_old(11)
    make_old(1, job_id="a")
    kept = [make_old(9).pk, make_old(1, job_id="a").pk, make_old(1, job_id="a").pk]

    assert prune_in_turn().runs == 2

    assert ids() == sorted(kept)


def test_many_are_deleted_in_batches(make_old, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    for _ in range(7):
        make_old(100)
    make_old(1)
    seen = []

    prune(keep_days=90, on_progress=lambda pruned: seen.append(pruned.runs))

    assert seen == [3, 6, 7]
    assert Run.objects.count() == 1


def test_a_run_that_is_retried_while_it_is_pruned_stays(make_old, monkeypatch):
    run = make_old(100, status=Status.FAILED)
    look = retention._Broom._last_runs

    def retried_meanwhile(self, rows):
        assert transitions.retry(run.pk, using="default")
        return look(self, rows)

    monkeypatch.setattr(retention._Broom, "_last_runs", retried_meanwhile)

    assert prune(keep_days=90).runs == 0
    assert Run.objects.get().status == "READY"


def test_a_round_goes_on_where_the_last_one_ended(make_old, monkeypatch, settings):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": None}
    make_old(100, status=Status.READY)
    last = make_old(100)
    make_old(1)
    prune_in_turn()
    be_due()
    asked = []
    walk = retention._by_age
    monkeypatch.setattr(retention, "_by_age", lambda *args: asked.append(args[-1]) or walk(*args))

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

    chore = Chore.objects.get()
    chore.state["walk_began"] -= 86400
    chore.save()
    be_due()

    assert prune_in_turn().runs == 1


def test_a_run_that_took_an_hour_is_not_passed_by(make_old):
    just_under = timezone.now() - timedelta(days=90, minutes=-5)
    run = make_old(90.02)
    Run.objects.filter(pk=run.pk).update(finished_at=just_under)
    prune_in_turn()

    assert Chore.objects.get().state["walked_to"] == 0


def test_the_last_run_of_a_job_is_kept_for_the_job_to_show(make_old, make_job):
    last = make_old(400, job_id="yearly")
    make_old(800, job_id="yearly")
    make_old(400, job_id="over")
    make_job(id="yearly", last_run=last)

    prune(keep_days=90)

    assert ids() == [last.pk]


# By count


def test_of_each_job_the_newest_are_kept(make_old):
    runs = {
        job_id: [make_old(1, job_id=job_id).pk for _ in range(count)]
        for job_id, count in (("a", 5), ("b", 3), ("c", 2))
    }

    assert prune(keep_runs_per_job=3).runs == 2
    assert ids() == sorted(runs["a"][2:] + runs["b"] + runs["c"])


def test_skipped_runs_push_no_others_out(make_old):
    executed = [make_old(9, job_id="a").pk for _ in range(4)]
    skipped = [make_old(1, job_id="a", status=Status.SKIPPED).pk for _ in range(5)]

    assert prune(keep_runs_per_job=3).runs == 3
    assert ids() == sorted(executed[1:] + skipped[2:])
    assert prune(keep_runs_per_job=3).runs == 0


def test_a_round_finds_a_job_with_too_many_among_all(make_old, settings, monkeypatch):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 10}
    monkeypatch.setattr(retention, "NEW_SAMPLE", 0)
    monkeypatch.setattr(retention, "SAMPLE", 40)
    for number in range(60):
        make_old(1, job_id="busy" if number % 2 else f"once-{number}")

    assert prune_in_turn().runs == 20
    assert Run.objects.filter(job_id="busy").count() == 10


def test_a_round_finds_a_job_with_too_many_among_those_added_since(make_old, settings, monkeypatch):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 2}
    monkeypatch.setattr(retention, "SAMPLE", 0)
    for _ in range(3):
        make_old(1, job_id="a")
    assert prune_in_turn().runs == 1

    be_due()
    assert prune_in_turn().runs == 0
    make_old(1, job_id="a")
    be_due()

    assert prune_in_turn().runs == 1


def test_unfinished_runs_count_and_are_kept(make_old):
    held = make_old(9, job_id="a", status=Status.READY)
    make_old(8, job_id="a")
    newest = make_old(7, job_id="a")

    assert prune(keep_runs_per_job=1).runs == 1
    assert ids() == [held.pk, newest.pk]


# What else


def test_a_dry_run_counts_what_would_be_deleted(make_old, make_worker):
    for days in (100, 99, 3, 2, 1):
        make_old(days, job_id="a")
    make_worker(stopped_at=timezone.now() - timedelta(days=91))
    limits = {"keep_days": 90, "keep_runs_per_job": 1}

    counted = prune(**limits, dry_run=True)

    assert (counted.runs, counted.workers) == (4, 1)
    assert (Run.objects.count(), Worker.objects.count()) == (5, 1)
    assert prune(**limits) == counted


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


def test_pruning_ends_when_told(make_old, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(6):
        make_old(100, job_id="a")
    stopped = threading.Event()

    pruned = prune(keep_days=90, keep_runs_per_job=1, stopped=stopped, on_progress=lambda _: stopped.set())

    assert (pruned.runs, pruned.is_complete) == (2, False)


def test_a_round_that_ran_out_of_time_is_due_again_at_once(make_old, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "ROUND_SECONDS", -1)
    for _ in range(3):
        make_old(100)

    assert not prune_in_turn().is_complete
    assert Run.objects.exists()
    monkeypatch.setattr(retention, "ROUND_SECONDS", 60)
    assert prune_in_turn().is_complete
    assert Run.objects.count() == 0


def test_jobs_cope_with_a_last_run_that_was_pruned(make_old, make_job, admin_client):
    run = make_old(100, job_id="j")
    make_job(id="j", last_run=run)
    make_job(id="k")
    make_old(100, job_id="k")

    assert prune(keep_days=90).runs == 1
    Run.objects.all().delete()

    assert [snapshot["last_run"] for snapshot in job_info.unfinished(using="default")] == [None, None]
    assert job_info.one("j", using="default")["last_run"] is None
    assert admin_client.get(reverse("admin:django_jobs_job_changelist")).status_code == 200
    assert admin_client.get(reverse("admin:django_jobs_job_change", args=["j"])).status_code == 200


# Turns


def test_a_round_is_not_due_again_for_some_minutes(db):
    assert prune_in_turn() is not None
    assert prune_in_turn() is None

    Chore.objects.update(due_at=timezone.now())
    assert prune_in_turn() is not None


def test_a_round_with_nothing_to_do_puts_the_next_one_off_for_longer(db, make_old):
    def minutes_until_due():
        return (Chore.objects.get().due_at - timezone.now()).total_seconds() / 60

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
    Chore.objects.update(due_at=timezone.now() + timedelta(days=400))

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
    now = queue.database_now

    def all_at_once(using):
        barrier.wait(10)
        return now(using)

    monkeypatch.setattr(queue, "database_now", all_at_once)
    turns = []

    def ask():
        try:
            turns.append(retention._take_turn(retention.PRUNE, "default"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(turns) == count
    assert sum(turn is not None for turn in turns) == 1


# Beside others


@pytest.mark.django_db(transaction=True)
def test_two_that_prune_at_once_delete_each_run_once(make_old, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 5)
    for number in range(40):
        make_old(100, job_id=f"j{number % 3}")
    kept = make_old(1)
    barrier = threading.Barrier(2, timeout=20)
    delete = retention._Broom._delete

    def both_have_looked(self, rows, ids):
        barrier.wait()
        return delete(self, rows, ids)

    monkeypatch.setattr(retention._Broom, "_delete", both_have_looked)
    results = []

    def work():
        try:
            results.append(prune(keep_days=90).runs)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(results) == 2
    assert sum(results) == 40
    assert ids() == [kept.pk]


@pytest.mark.django_db(transaction=True)
def test_runs_are_claimed_and_finished_while_history_is_pruned(make_old, make_worker, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 5)
    make_worker(id="w")
    for _ in range(100):
        make_old(100)
    fresh = [make_old(0, status=Status.READY).pk for _ in range(20)]
    begun, ended = threading.Event(), threading.Event()

    def work():
        try:
            while not ended.is_set():
                prune(keep_days=90)
                prune(keep_runs_per_job=1)
                begun.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        written = set()
        while runs := queue.claim("w", limit=3, using="default"):
            now = timezone.now()
            written |= queue.finish([(run, Outcome("SUCCESSFUL", now, now)) for run in runs], using="default")
        assert begun.wait(20)
    finally:
        ended.set()
        thread.join(20)

    assert {run_id for run_id, _ in written} == set(fresh)
    assert ids() == fresh


@pytest.mark.django_db(transaction=True)
def test_a_keeper_prunes_on_a_thread_of_its_own(make_old, until):
    make_old(100)
    worker = WorkerLoop(using="default")
    worker._register(worker.id)
    maintainer = Maintainer(worker)
    maintainer._look()
    assert Run.objects.count() == 1

    maintainer._pruner._next = 0
    maintainer._look()

    until(lambda: not Run.objects.exists())
    maintainer._pruner.stop()
    assert Chore.objects.exists()


def refuse_pruners(monkeypatch):
    real = threading.Thread.start

    def start(thread):
        if thread.name == "django_jobs-pruner":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.django_db(transaction=True)
def test_a_pruner_whose_thread_cannot_be_started_can_be_stopped(monkeypatch):
    refuse_pruners(monkeypatch)
    pruner = retention.Pruner("default")
    pruner._next = 0
    with pytest.raises(RuntimeError):
        pruner.look()

    pruner.stop()


def test_a_worker_that_stops_prunes_no_more(serve, manager, probes, monkeypatch, until):
    service = serve()
    manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    looks = []
    monkeypatch.setattr(retention.Pruner, "look", lambda self: looks.append(self))
    stopper = threading.Thread(target=lambda: (service.stop(), connection.close()))
    stopper.start()
    until(lambda: service._stopping.is_set() and not worker_threads())
    looks.clear()
    last_heartbeat = Worker.objects.get().heartbeat_at

    until(lambda: Worker.objects.get().heartbeat_at > last_heartbeat)

    assert not looks
    probes.go_on.set()
    stopper.join(10)


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name == "django_jobs-worker"]


@pytest.mark.django_db(transaction=True)
def test_stopping_a_pruner_ends_its_round(make_old, monkeypatch):
    monkeypatch.setattr(retention, "REST", 1e6)
    monkeypatch.setattr(retention, "BATCH", 1)
    for _ in range(50):
        make_old(100)
    deleted = threading.Event()
    delete = retention._Broom._delete

    def tell(self, rows, ids):
        try:
            return delete(self, rows, ids)
        finally:
            deleted.set()

    monkeypatch.setattr(retention._Broom, "_delete", tell)
    pruner = retention.Pruner("default")
    pruner._next = 0
    pruner.look()
    assert deleted.wait(10)

    pruner.stop()

    assert Run.objects.exists()
    assert not pruner._thread.is_alive()


# Plans


@pytest.fixture
def long_history(transactional_db, make_old):
    """Some thousands of old and young runs, of one busy job and of many others."""
    template = make_old(100)
    now = timezone.now()
    fields = {
        "name": "n",
        "func": template.func,
        "payload": template.payload,
        "signature": template.signature,
    }
    Run.objects.bulk_create(
        [
            Run(
                job_id="busy" if number % 10 == 0 else f"once-{number}", kind="immediate", status=Status.SUCCESSFUL,
                enqueued_at=then, run_after=then, finished_at=then, worker_id="w", attempt=1, **fields,
            )
            for number in range(12_000)
            for then in [now - timedelta(days=100 if number < 100 else 1)]
        ],
        batch_size=1000,
    )  # fmt: skip
    Worker.objects.bulk_create(
        Worker(
            id=f"w{number}", host="h", process_key="", pid=1, version="0", threads=1, has_clock=False,
            started_at=now, heartbeat_at=now, lease_expires_at=now,
            stopped_at=now - timedelta(days=100 if number < 10 else 1),
        )
        for number in range(3_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        for table in ("django_jobs_run", "django_jobs_worker"):
            cursor.execute(f"{'ANALYZE TABLE' if connection.vendor == 'mysql' else 'ANALYZE'} {table}")
            if connection.vendor == "mysql":
                cursor.fetchall()


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
            return [row for row in rows if row[3] in {"ALL", "index"} and row[2] and (row[8] or 0) > 500]


def test_a_round_reads_no_table_as_a_whole(long_history, statements, settings, monkeypatch):
    settings.DJANGO_JOBS = {"KEEP_RUNS_PER_JOB": 1000}
    monkeypatch.setattr(retention, "BATCH", 50)

    pruned = prune_in_turn()

    assert pruned.runs >= 101 + 100
    assert pruned.workers == 10
    sent = {
        sql: params for sql, params in statements if "django_jobs_run" in sql or "django_jobs_worker" in sql
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
