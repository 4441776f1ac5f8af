import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import codec
from django_jobs.models import Run, Status, Worker
from django_jobs.storage import claims, enqueue, leases
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.queues import pause, resume
from tests.many_rows import analyze, copy_row
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
    pause("stopped", using="default")

    assert [run.id for run in claim()] == [other.id]
    assert claim(queues=["stopped"]) == []
    assert not claims.is_any_due("w", using="default")
    assert claims.seconds_until_ready(within=60, using="default") is None

    resume("stopped", using="default")
    assert claims.is_any_due("w", using="default")
    assert len(claim()) == 1


def test_what_is_inserted_as_a_workers_asks_whether_its_queue_is_paused():
    run = new_run(status="RUNNING", worker_id="w", fence=7, queue_name="stopped")
    pause("stopped", using="default")
    assert enqueue.insert_unless_paused(run, using="default") is None
    assert not Run.objects.exists()

    resume("stopped", using="default")
    run_id = enqueue.insert_unless_paused(run, using="default")

    row = Run.objects.get()
    assert (row.pk, row.status, row.attempt, row.fence) == (run_id, "RUNNING", 1, 7)


def test_a_run_is_taken_from_a_paused_queue_only_where_that_is_meant(make_run):
    run = make_run(queue_name="stopped")
    pause("stopped", using="default")

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


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["new", "analyzed"])
@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda worker: len(claim(limit=10)), 1),
        (lambda worker: len(claim(queues=["default", "b"], limit=10)), 1),
        (lambda worker: claims.is_any_due(worker.pk, using="default"), True),
        (lambda worker: claims.seconds_until_ready(within=60, using="default"), None),
        (lambda worker: leases.heartbeat(worker.pk, lease_seconds=60, using="default").held, 0),
    ],
    ids=["claim", "claim of queues", "is_any_due", "seconds_until_ready", "heartbeat"],
)
def test_sqlite_does_not_look_at_runs_that_sleep_or_wait_for_an_event(
    make_run, make_worker, steps, ask, answer, is_analyzed
):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite alone counts its steps")
    worker = make_worker()
    make_run(run_after=timezone.now() + timedelta(days=1), priority=5)
    make_run(run_after=timezone.now() + timedelta(days=1))
    make_run(run_after=None, waits_for="event")
    with connection.cursor() as cursor:
        columns = ", ".join(field.column for field in Run._meta.concrete_fields if field.column != "id")
        for _ in range(10):
            cursor.execute(f"INSERT INTO django_jobs_run ({columns}) SELECT {columns} FROM django_jobs_run")
        if is_analyzed:
            # The planner takes other ways once it knows how many there are.
            cursor.execute("ANALYZE")
    make_run()

    answers = []
    assert steps(lambda: answers.append(ask(worker))) < 3
    assert answers == [answer]


@pytest.mark.django_db(transaction=True)
def test_mariadb_reads_neither_what_sleeps_or_waits_nor_the_whole_backlog(make_run, make_worker, rows_read):
    if connection.vendor != "mysql":
        pytest.skip("MariaDB counts what it reads")
    worker = make_worker()
    tomorrow = timezone.now() + timedelta(days=1)
    for waiting in (
        {"run_after": tomorrow, "priority": 5},
        {"run_after": tomorrow},
        {"run_after": None, "waits_for": "event"},
        {"run_after": None, "waits_for": "limit", "limit_key": "a"},
    ):
        copy_row(make_run(**waiting), 500)
    asked = {
        "claim": lambda: claim(limit=10),
        "claim of a queue": lambda: claim(queues=["default"], limit=10),
        "claim of queues": lambda: claim(queues=["default", "b"], limit=10),
        "claim of all but one": lambda: claim(others=["b"], limit=10),
        "is_any_due": lambda: claims.is_any_due(worker.pk, using="default"),
        "seconds_until_ready": lambda: claims.seconds_until_ready(within=60, using="default"),
        "of a queue": lambda: claims.seconds_until_ready(within=60, queues=["default"], using="default"),
        "heartbeat": lambda: leases.heartbeat(worker.pk, lease_seconds=60, using="default"),
    }
    read = {}

    for due in (3, 1000):
        copy_row(make_run(priority=-7), due)
        copy_row(make_run(), due)
        # As the planner sees them: from before there were any, and as they are.
        for seen in ("before", "now"):
            if seen == "now":
                analyze("django_jobs_run")
            read |= {(name, due, seen): rows_read(ask) for name, ask in asked.items()}

    assert {asked: count for asked, count in read.items() if count > 200} == {}


def test_postgresql_does_not_look_at_runs_that_sleep_or_wait_for_an_event(make_run, make_worker):
    if connection.vendor != "postgresql":
        pytest.skip("a plan of PostgreSQL's")
    worker = make_worker()
    for _ in range(20):
        make_run(run_after=timezone.now() + timedelta(days=1))
        make_run(run_after=None, waits_for="event")
    make_run()
    with CaptureQueriesContext(connection) as queries:
        assert claims.is_any_due(worker.pk, using="default")

    with connection.cursor() as cursor:
        # As a claim has it.
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {queries[0]['sql'].replace('LIMIT 1)', 'LIMIT 10)')}"
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())

    # Of workers there are few.
    _, _, runs = plan.partition("on django_jobs_run ")
    assert "Rows Removed" not in runs, plan
    assert plan.count("rows=1 loops=1") >= 3, plan


def test_sqlite_claims_from_a_long_queue_without_looking_at_each_run(make_run, steps):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite alone counts its steps")
    make_run()
    with connection.cursor() as cursor:
        columns = ", ".join(field.column for field in Run._meta.concrete_fields if field.column != "id")
        for _ in range(11):
            cursor.execute(f"INSERT INTO django_jobs_run ({columns}) SELECT {columns} FROM django_jobs_run")

    # As a new table is, which nobody has analyzed: its planner knows nothing of it.
    assert steps(lambda: claim(limit=3)) < 3


def test_postgresql_finds_a_queue_and_what_is_due_without_reading_all_that_waits(
    new_files, make_run, make_worker
):
    worker = make_worker()
    copy_row(make_run(queue_name="a"), 5000)
    copy_row(make_run(queue_name="m", run_after=timezone.now() + timedelta(days=1)), 5000)
    make_run(queue_name="z")
    with CaptureQueriesContext(connection) as queries:
        assert claims.is_any_due(worker.pk, queues=["z"], using="default")

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE django_jobs_run")
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queries[0]['sql']}")
        ((plan,),) = cursor.fetchall()

    # Two indexes, from root to leaf, and the rows themselves; each of them whole is some fifty pages.
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 20, plan


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["stale", "analyzed"])
def test_postgresql_does_not_walk_what_waits_before_a_lower_priority(
    new_files, make_run, make_worker, is_analyzed
):
    worker = make_worker()
    copy_row(make_run(priority=5, run_after=None, waits_for="limit", limit_key="a"), 10_000)
    copy_row(make_run(priority=3, run_after=None, waits_for="event"), 10_000)
    make_run()
    with CaptureQueriesContext(connection) as queries:
        assert claims.is_any_due(worker.pk, using="default")

    with connection.cursor() as cursor:
        if is_analyzed:
            cursor.execute("ANALYZE django_jobs_run")
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queries[0]['sql']}")
        ((plan,),) = cursor.fetchall()

    assert plan[0]["Plan"]["Actual Rows"] == 1
    # The entries of those that wait are a hundred pages.
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 20, plan


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


def test_a_row_that_holds_bytes_keeps_no_other_from_being_claimed(make_run):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's columns take any type")
    damaged, whole = make_run(), make_run()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_jobs_run SET payload = x'7b7d', errors = x'5b5d' WHERE id = %s", [damaged.pk]
        )

    assert [run.id for run in claim()] == [damaged.pk, whole.pk]


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


def test_a_run_is_due_in_the_very_microsecond_of_its_time(make_run):
    if connection.vendor != "sqlite":
        pytest.skip("others do not compare times as text")
    with time_machine.travel(datetime(2031, 3, 3, 6, tzinfo=UTC), tick=False):
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE django_jobs_run SET run_after = {backend_of(connection).now} WHERE id = {make_run().pk}"
            )

        assert claims.is_any_due("w", using="default")
        assert len(claim()) == 1
