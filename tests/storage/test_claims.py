import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import codec
from django_jobs.models import Run, Status, Worker
from django_jobs.storage import claims, enqueue
from django_jobs.storage.queues import set_paused
from tests.storage.attempts import claim, new_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def test_claim_takes_by_priority_then_due_time_then_id(make_run):
    now = timezone.now()
    low = make_run(priority=-5, run_after=now - timedelta(hours=1))
    late = make_run(run_after=now - timedelta(seconds=1))
    early = make_run(run_after=now - timedelta(seconds=9))
    high = make_run(priority=9)

    order = [claim(limit=1)[0].id for _ in range(4)]

    assert order == [high.id, early.id, late.id, low.id]


def test_a_batch_is_claimed_high_priority_first(make_run):
    runs = [make_run(priority=p) for p in (0, 3, -2)]

    claimed = claim()

    assert [run.id for run in claimed] == [runs[1].id, runs[0].id, runs[2].id]


def test_claim_leaves_deferred_held_and_finished_runs(make_run):
    make_run(run_after=timezone.now() + timedelta(minutes=1))
    make_run(run_after=None)
    make_run(status=Status.SUCCESSFUL)
    make_run(status=Status.RUNNING)

    assert claim() == []


def test_claim_keeps_to_its_queues_and_leaves_paused_ones(make_run):
    mine = make_run(queue_name="mine")
    other = make_run(queue_name="other")
    make_run(queue_name="stopped")

    assert [run.id for run in claim(queues=["mine"])] == [mine.id]
    assert [run.id for run in claim(others=["stopped"])] == [other.id]


def test_a_claim_leaves_paused_queues_alone_without_being_told_of_them(make_run):
    make_run(queue_name="stopped")
    other = make_run(queue_name="other")
    make_run(queue_name="stopped", run_after=timezone.now() + timedelta(seconds=5))
    set_paused("stopped", is_paused=True, using="default")

    assert [run.id for run in claim()] == [other.id]
    assert claim(queues=["stopped"]) == []
    assert not claims.is_any_due("w", using="default")
    assert claims.seconds_until_ready(within=60, using="default") is None

    set_paused("stopped", is_paused=False, using="default")
    assert claims.is_any_due("w", using="default")
    assert len(claim()) == 1


def test_what_is_inserted_as_a_workers_asks_whether_its_queue_is_paused():
    run = new_run(status="RUNNING", worker_id="w", fence=7, queue_name="stopped")
    set_paused("stopped", is_paused=True, using="default")
    assert enqueue.insert_unless_paused(run, using="default") is None
    assert not Run.objects.exists()

    set_paused("stopped", is_paused=False, using="default")
    run_id = enqueue.insert_unless_paused(run, using="default")

    row = Run.objects.get()
    assert (row.pk, row.status, row.attempt, row.fence) == (run_id, "RUNNING", 1, 7)


def test_a_run_is_taken_from_a_paused_queue_only_where_that_is_meant(make_run):
    run = make_run(queue_name="stopped")
    set_paused("stopped", is_paused=True, using="default")

    assert claims.claim_one(run.pk, "w", even_if_paused=False, using="default") is None
    assert claims.claim_one(run.pk, "w", using="default") is not None


def test_claim_finds_what_is_due_in_some_queue_beside_others(make_run):
    make_run(queue_name="stopped")
    make_run(queue_name="z-stopped")
    make_run(queue_name="later", run_after=timezone.now() + timedelta(minutes=1))
    mine = make_run(queue_name="z")

    assert claim(queues=["a", "later"]) == []
    assert claim(others=["stopped", "z", "z-stopped"]) == []
    assert claim(queues=["z"], others=["z"]) == []
    assert [run.id for run in claim(queues=["a", "z"], others=["stopped", "a"])] == [mine.id]


@pytest.fixture
def steps():
    """Return a function that counts the thousands of steps that SQLite takes for something."""

    def count(work):
        counted = []
        raw = connection.connection
        raw.set_progress_handler(lambda: counted.append(1), 1000)
        try:
            work()
        finally:
            raw.set_progress_handler(None, 0)
        return len(counted)

    return count


@pytest.mark.parametrize(
    ("days", "asked"),
    [
        (1, {}),
        (1, {"queues": ["b", "c"]}),
        (0, {"others": ["b"]}),
        (0, {"queues": ["a", "c"]}),
    ],
    ids=str,
)
def test_sqlite_claims_nothing_without_looking_at_each_run(make_run, steps, days, asked):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite alone counts its steps")
    make_run(queue_name="b", run_after=timezone.now() + timedelta(days=days))
    with connection.cursor() as cursor:
        columns = ", ".join(field.column for field in Run._meta.concrete_fields if field.column != "id")
        for _ in range(11):
            cursor.execute(f"INSERT INTO django_jobs_run ({columns}) SELECT {columns} FROM django_jobs_run")

    assert steps(lambda: claim(**asked)) < 3


def test_postgresql_claims_nothing_without_looking_at_deferred_runs(make_run):
    if connection.vendor != "postgresql":
        pytest.skip("a plan of PostgreSQL's")
    for _ in range(20):
        make_run(run_after=timezone.now() + timedelta(days=1))
    with CaptureQueriesContext(connection) as queries:
        assert not claims.is_any_due("w", using="default")

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {queries[0]['sql']} FOR UPDATE SKIP LOCKED")
        plan = [line for (line,) in cursor.fetchall()]

    scans = [line for line in plan if "on django_jobs_run " in line and "on django_jobs_run d" not in line]
    assert scans
    assert all("(never executed)" in scan for scan in scans)


def test_claim_says_who_and_counts_the_attempt(make_run):
    made = make_run(options={"timeout": 3}, errors=[{"attempt": 1}], attempt=1)

    (claimed,) = claim("me")

    row = Run.objects.get(pk=made.pk)
    assert (row.status, row.worker_id, row.attempt) == (Status.RUNNING, "me", 2)
    assert row.started_at is not None
    assert (claimed.attempt, claimed.worker_id) == (2, "me")
    assert claimed.options == {"timeout": 3}
    assert claimed.errors == [{"attempt": 1}]


def test_claim_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        claim(limit=0)


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_claim_the_same_run(make_run):
    for _ in range(60):
        make_run()
    barrier = threading.Barrier(4)
    taken = []

    def work(name):
        try:
            barrier.wait(10)
            for _ in range(10):
                taken.extend(run.id for run in claim(name, limit=3))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(taken) == len(set(taken)) == 60


def test_what_a_run_prints_of_itself_has_no_arguments(make_run):
    make_run(payload=codec.dump_arguments(("a secret",), {}))

    (run,) = claim()

    assert "a secret" in run.payload
    assert "a secret" not in repr(run)


def test_a_worker_that_was_declared_dead_claims_nothing(make_run):
    make_run()
    Worker.objects.filter(pk="w").update(stopped_at=timezone.now())

    assert claim("w") == []
    assert len(claim("me")) == 1


def test_it_says_how_long_until_the_next_deferred_run(make_run):
    def seconds(**queues):
        return claims.seconds_until_ready(within=90, using="default", **queues)

    make_run()
    make_run(run_after=timezone.now() + timedelta(seconds=600))
    assert seconds() is None

    make_run(run_after=timezone.now() + timedelta(seconds=60))
    make_run(run_after=timezone.now() + timedelta(seconds=5), queue_name="other")

    assert seconds() == pytest.approx(5, abs=2)
    assert seconds(queues=["default"]) == pytest.approx(60, abs=2)
    assert seconds(others=["other"]) == pytest.approx(60, abs=2)


def test_it_says_whether_a_claim_would_find_something(make_run):
    make_run(run_after=timezone.now() + timedelta(seconds=60))
    make_run(queue_name="other")

    assert claims.is_any_due("w", using="default")
    assert not claims.is_any_due("w", queues=["default"], using="default")
    assert not claims.is_any_due("w", others=["other"], using="default")


def test_a_pause_is_over_for_a_run_that_is_claimed_all_the_same(make_run):
    # A test's worker takes what it is told to; and a version before released it without knowing of this.
    held = make_run(run_after=None, held_run_after=timezone.now())
    released = make_run(held_run_after=timezone.now())

    assert claims.claim_one(held.pk, "w", using="default")
    assert [run.id for run in claim()] == [released.pk]
    assert list(Run.objects.values_list("held_run_after", flat=True)) == [None, None]
