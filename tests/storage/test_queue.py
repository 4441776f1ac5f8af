import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from django_jobs import codec, signals
from django_jobs.models import Run, Status, Worker
from django_jobs.storage import queue, sql, transitions
from django_jobs.storage.records import NewRun, Outcome

pytestmark = pytest.mark.django_db


def new_run(job_id="j", **fields):
    func = fields.pop("func", "tests.probes.jobs:nothing")
    payload = codec.dump_arguments((), {})
    call = {"queue_name": "default", "priority": 0, "options": None}
    return NewRun(
        job_id=job_id,
        name="nothing",
        func=func,
        payload=payload,
        signature=codec.sign(func, payload),
        **call | fields,
    )


def outcome(status="SUCCESSFUL", **fields):
    now = timezone.now()
    return Outcome(status, now, now, **fields)


@pytest.fixture(autouse=True)
def workers(make_worker):
    """The rows of workers that tests claim as; only a live one is given anything."""
    for name in ("w", "me", "w0", "w1", "w2", "w3", "live", "awake", "slept", "dead", "gone"):
        make_worker(id=name)


def claim(worker_id="w", limit=10, **more):
    return queue.claim(worker_id, limit=limit, using="default", **more)


def end_lease(worker_id):
    Worker.objects.filter(pk=worker_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_enqueue_is_one_statement_and_returns_the_ids(django_assert_num_queries):
    with django_assert_num_queries(1):
        ids = queue.enqueue([new_run("a"), new_run("b")])

    assert [run.job_id for run in Run.objects.filter(id__in=ids).order_by("id")] == ["a", "b"]
    assert ids == sorted(ids)


def test_enqueue_fills_in_the_databases_time():
    (run_id,) = queue.enqueue([new_run()])

    run = Run.objects.get(id=run_id)
    assert abs(run.enqueued_at - timezone.now()) < timedelta(seconds=5)
    assert run.run_after == run.enqueued_at or abs(run.run_after - run.enqueued_at) < timedelta(
        milliseconds=5
    )
    assert run.status == Status.READY
    assert run.attempt == 0


def test_a_unique_key_is_taken_once():
    queue.enqueue([new_run(unique_key="k")])

    with pytest.raises(IntegrityError), transaction.atomic():
        queue.enqueue([new_run(unique_key="k")])


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
    assert [run.id for run in claim(paused=["stopped"])] == [other.id]


def test_claim_finds_what_is_due_in_some_queue_beside_others(make_run):
    make_run(queue_name="stopped")
    make_run(queue_name="z-stopped")
    make_run(queue_name="later", run_after=timezone.now() + timedelta(minutes=1))
    mine = make_run(queue_name="z")

    assert claim(queues=["a", "later"]) == []
    assert claim(paused=["stopped", "z", "z-stopped"]) == []
    assert claim(queues=["z"], paused=["z"]) == []
    assert [run.id for run in claim(queues=["a", "z"], paused=["stopped", "a"])] == [mine.id]


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
        (0, {"paused": ["b"]}),
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
    statement, params = sql.dialect(connection).pick("w", (), (), 10)

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {statement} FOR UPDATE SKIP LOCKED", params)
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


def test_claim_and_finish_take_a_fixed_number_of_statements(make_run, django_assert_num_queries):
    for _ in range(20):
        make_run()
    # MariaDB has no UPDATE that returns rows: BEGIN is not counted, savepoints of the test's transaction are.
    expected = 4 if connection.vendor == "mysql" else 1

    with django_assert_num_queries(expected):
        claimed = claim(limit=20)
    with django_assert_num_queries(expected):
        written = queue.finish([(run, outcome()) for run in claimed], using="default")

    assert written == {(run.id, 1) for run in claimed}


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


def test_finish_writes_what_came_of_a_run(make_run):
    make_run(unique_key="i:x")
    (run,) = claim()

    queue.finish(
        [(run, outcome(result='{"a":1}', log="a line", progress={"done": 1, "total": 2, "message": ""}))],
        using="default",
    )

    row = Run.objects.get(pk=run.id)
    assert (row.status, row.result, row.log, row.error, row.errors) == (
        "SUCCESSFUL",
        '{"a":1}',
        "a line",
        "",
        None,
    )
    assert row.progress == {"done": 1, "total": 2, "message": ""}
    assert row.finished_at is not None
    assert row.unique_key is None


def test_a_firing_keeps_its_key_when_it_has_finished(make_run):
    make_run(unique_key="f:x@1", scheduled_at=timezone.now())
    (run,) = claim()

    queue.finish([(run, outcome())], using="default")

    assert Run.objects.get(pk=run.id).unique_key == "f:x@1"


def test_every_failed_attempt_is_kept(make_run):
    make_run()
    (first,) = claim("w1")
    queue.finish([(first, outcome("READY", error="E: one", traceback="tb1", retry_in=0))], using="default")
    (second,) = claim("w2")

    queue.finish([(second, outcome("FAILED", error="E: two", traceback="tb2"))], using="default")

    row = Run.objects.get(pk=first.id)
    assert row.status == Status.FAILED
    assert row.error == "E: two"
    assert [(e["attempt"], e["worker_id"], e["error"], e["traceback"]) for e in row.errors] == [
        (1, "w1", "E: one", "tb1"),
        (2, "w2", "E: two", "tb2"),
    ]


def test_large_rows_are_written_in_several_statements(make_run, django_assert_num_queries, monkeypatch):
    # Together they would be more than MariaDB takes in one statement.
    runs = [new_run(f"large-{number}") for number in range(30)]
    for run in runs:
        run.payload = run.payload + " " * 900_000

    ids = queue.enqueue(runs)

    assert len(ids) == len(set(ids)) == 30
    claimed = claim(limit=30)
    result = '"' + "x" * 900_000 + '"'
    written = queue.finish([(run, outcome(result=result)) for run in claimed], using="default")
    assert len(written) == 30
    assert Run.objects.filter(status="SUCCESSFUL").count() == 30


def test_what_a_run_prints_of_itself_has_no_arguments(make_run):
    make_run(payload=codec.dump_arguments(("a secret",), {}))

    (run,) = claim()

    assert "a secret" in run.payload
    assert "a secret" not in repr(run)


def test_a_retry_is_ready_again_later_and_not_finished(make_run):
    make_run(unique_key="i:x")
    (run,) = claim()
    later = queue.database_now("default") + timedelta(minutes=5)

    queue.finish([(run, outcome("READY", error="E", retry_in=300))], using="default")

    row = Run.objects.get(pk=run.id)
    assert (row.status, row.finished_at, row.unique_key) == (Status.READY, None, "i:x")
    assert abs(row.run_after - later) < timedelta(seconds=1)
    assert claim() == []


def test_a_run_that_was_to_be_cancelled_is_not_tried_again(make_run):
    make_run(job_id="asked", unique_key="i:x")
    make_run(job_id="unasked", unique_key="i:y")
    runs = {run.job_id: run for run in claim()}
    transitions.cancel(Q(job_id="asked"), using="default")
    outcomes = {run.job_id: (run, outcome("READY", error="E", retry_in=300)) for run in runs.values()}

    assert len(queue.finish(list(outcomes.values()), using="default")) == 2

    asked, unasked = Run.objects.get(job_id="asked"), Run.objects.get(job_id="unasked")
    assert (asked.status, asked.unique_key, asked.error) == (Status.CANCELLED, None, "E")
    assert asked.finished_at is not None
    assert (unasked.status, unasked.unique_key, unasked.error) == (Status.READY, "i:y", "E")
    assert outcomes["asked"][1].status == Status.CANCELLED
    assert outcomes["unasked"][1].status == Status.READY


def test_a_lost_run_that_was_to_be_cancelled_is_left_to_its_new_worker(make_run):
    make_run()
    (lost,) = claim("slept")
    end_lease("slept")
    queue.rescue(max_rescues=3, using="default")
    claim("awake")
    transitions.cancel(Q(pk=lost.id), using="default")
    late = outcome("READY", error="late", retry_in=0)

    assert queue.finish([(lost, late)], using="default") == set()
    assert (late.status, Run.objects.get().status) == (Status.READY, Status.RUNNING)


def test_a_stale_worker_cannot_finish_a_rescued_run(make_run):
    make_run()
    (lost,) = claim("slept")
    end_lease("slept")
    queue.rescue(max_rescues=3, using="default")
    (found,) = claim("awake")

    assert queue.finish([(lost, outcome("FAILED", error="late"))], using="default") == set()
    assert queue.finish([(found, outcome())], using="default") == {(found.id, 2)}
    assert Run.objects.get(pk=lost.id).status == Status.SUCCESSFUL


def test_an_earlier_attempt_of_the_same_worker_cannot_finish_a_later_one(make_run):
    make_run()
    (first,) = claim("w")
    queue.finish([(first, outcome("READY", error="E", retry_in=0))], using="default")
    (second,) = claim("w")

    assert queue.finish([(first, outcome())], using="default") == set()
    assert queue.finish([(second, outcome())], using="default") == {(second.id, 2)}


def test_of_two_attempts_written_together_only_the_present_one_counts(make_run):
    make_run()
    (first,) = claim("w")
    queue.finish([(first, outcome("READY", error="E", retry_in=0))], using="default")
    (second,) = claim("w")

    written = queue.finish([(first, outcome("FAILED")), (second, outcome())], using="default")

    assert written == {(second.id, 2)}
    assert Run.objects.get(pk=first.id).status == "SUCCESSFUL"


def test_a_worker_that_was_declared_dead_claims_nothing(make_run):
    make_run()
    Worker.objects.filter(pk="w").update(stopped_at=timezone.now())

    assert claim("w") == []
    assert len(claim("me")) == 1


def test_text_in_any_script_comes_back_as_it_went(make_run):
    make_run()
    (run,) = claim()
    text = 'Grüße, "quotes" \\ back 日本語 🚀 %s %% \n\t'

    queue.finish([(run, outcome(error=text, traceback=text, log=text, result='"🚀"'))], using="default")

    row = Run.objects.get(pk=run.id)
    assert (row.error, row.log, row.result) == (text, text, '"🚀"')
    assert row.errors[0]["traceback"] == text


def test_hand_back_undoes_a_claim(make_run):
    made = make_run()
    (run,) = claim()

    assert queue.release_claims("w", [(run.id, run.attempt)], using="default") == 1

    row = Run.objects.get(pk=made.pk)
    assert (row.status, row.attempt, row.worker_id, row.started_at) == (Status.READY, 0, "", None)


def test_a_run_that_was_to_be_cancelled_is_not_handed_back(make_run, django_capture_on_commit_callbacks):
    make_run(job_id="asked", unique_key="i:x")
    make_run(job_id="unasked")
    keys = [(run.id, run.attempt) for run in claim()]
    transitions.cancel(Q(job_id="asked"), using="default")
    told = []
    signals.runs_cancelled.connect(listener := lambda runs, **_: told.extend(runs))

    try:
        with django_capture_on_commit_callbacks(execute=True):
            assert queue.release_claims("w", keys, using="default") == 2
    finally:
        signals.runs_cancelled.disconnect(listener)

    asked = Run.objects.get(job_id="asked")
    assert (asked.status, asked.unique_key) == (Status.CANCELLED, None)
    assert asked.finished_at is not None
    assert [pk for pk, _ in told] == [asked.pk]
    assert Run.objects.get(job_id="unasked").status == Status.READY


def test_hand_back_leaves_another_attempt_of_the_same_worker_alone(make_run):
    make_run()
    (run,) = claim()

    assert queue.release_claims("w", [(run.id, run.attempt + 1)], using="default") == 0
    assert Run.objects.get().status == Status.RUNNING


def test_a_heartbeat_extends_the_lease_of_a_live_worker_only(make_worker):
    live, dead = make_worker(), make_worker(stopped_at=timezone.now())
    before = live.lease_expires_at

    assert queue.heartbeat(live.id, lease_seconds=600, using="default") is not None
    assert queue.heartbeat(dead.id, lease_seconds=600, using="default") is None
    assert Worker.objects.get(pk=live.pk).lease_expires_at > before


def test_the_lease_is_counted_by_the_databases_clock(make_worker):
    worker = make_worker()

    queue.heartbeat(worker.id, lease_seconds=30, using="default")

    worker.refresh_from_db()
    assert worker.lease_expires_at - worker.heartbeat_at == pytest.approx(
        timedelta(seconds=30), abs=timedelta(milliseconds=2)
    )
    assert abs(worker.heartbeat_at - timezone.now()) < timedelta(seconds=5)


def test_rescue_leaves_the_runs_of_live_workers(make_run):
    make_run()
    claim("live")

    assert queue.rescue(max_rescues=3, using="default") == []


def test_runs_of_an_ended_lease_are_ready_again_with_the_reason(make_run):
    made = make_run()
    claim("dead")
    end_lease("dead")

    (rescued,) = queue.rescue(max_rescues=3, using="default")

    row = Run.objects.get(pk=made.pk)
    assert (rescued.run_id, rescued.worker_id, rescued.status) == (made.pk, "dead", "READY")
    assert (row.status, row.rescues, row.finished_at) == (Status.READY, 1, None)
    assert row.errors[0]["error"] == "WorkerDied: its worker died"
    assert row.errors[0]["worker_id"] == "dead"
    worker = Worker.objects.get(pk="dead")
    assert worker.was_lost
    assert worker.stopped_at is not None


def test_runs_of_a_worker_without_a_row_are_rescued(make_run):
    make_run()
    claim("gone")
    Worker.objects.filter(pk="gone").delete()

    assert len(queue.rescue(max_rescues=3, using="default")) == 1


def test_runs_of_a_process_known_to_be_gone_are_rescued_before_the_lease_ends(make_run):
    make_run()
    claim("gone")

    assert len(queue.rescue(max_rescues=3, gone=["gone"], using="default")) == 1


def test_a_run_whose_workers_keep_dying_is_failed(make_run):
    made = make_run(rescues=2, unique_key="i:x")
    claim("gone")
    end_lease("gone")

    (rescued,) = queue.rescue(max_rescues=2, using="default")

    row = Run.objects.get(pk=made.pk)
    assert (row.status, row.unique_key) == (Status.FAILED, None)
    assert rescued.reason == "its worker died 3 times"
    assert row.finished_at is not None


def test_an_at_most_once_run_is_failed_rather_than_rescued(make_run):
    made = make_run(options={"at_most_once": True})
    claim("gone")
    end_lease("gone")

    queue.rescue(max_rescues=3, using="default")

    row = Run.objects.get(pk=made.pk)
    assert row.status == Status.FAILED
    assert "at_most_once" in row.error


def test_a_run_that_was_to_be_cancelled_is_not_rescued(make_run):
    made = make_run()
    claim("gone")
    end_lease("gone")
    transitions.cancel(Q(pk=made.pk), using="default")

    queue.rescue(max_rescues=3, using="default")

    assert Run.objects.get(pk=made.pk).status == Status.CANCELLED


def test_rescue_with_nothing_to_rescue_costs_two_reads(make_worker, django_assert_num_queries):
    make_worker()

    with django_assert_num_queries(2):
        queue.rescue(max_rescues=3, using="default")


def test_it_says_how_long_until_the_next_deferred_run(make_run):
    def seconds(**queues):
        return queue.seconds_until_ready(within=90, using="default", **queues)

    make_run()
    make_run(run_after=timezone.now() + timedelta(seconds=600))
    assert seconds() is None

    make_run(run_after=timezone.now() + timedelta(seconds=60))
    make_run(run_after=timezone.now() + timedelta(seconds=5), queue_name="other")

    assert seconds() == pytest.approx(5, abs=2)
    assert seconds(queues=["default"]) == pytest.approx(60, abs=2)
    assert seconds(paused=["other"]) == pytest.approx(60, abs=2)


def test_it_says_whether_a_claim_would_find_something(make_run):
    make_run(run_after=timezone.now() + timedelta(seconds=60))
    make_run(queue_name="other")

    assert queue.is_any_due("w", using="default")
    assert not queue.is_any_due("w", queues=["default"], using="default")
    assert not queue.is_any_due("w", paused=["other"], using="default")


def test_progress_is_stored_while_the_run_is_the_workers(make_run):
    made = make_run()
    (run,) = claim()

    queue.set_progress(run, {"done": 1}, using="default")
    assert Run.objects.get(pk=made.pk).progress == {"done": 1}

    queue.finish([(run, outcome())], using="default")
    queue.set_progress(run, {"done": 2}, using="default")
    assert Run.objects.get(pk=made.pk).progress == {"done": 1}


@pytest.mark.django_db(transaction=True)
def test_a_write_transaction_waits_for_another_writer_instead_of_failing(make_run):
    made = make_run()
    inside, release = threading.Event(), threading.Event()
    order = []

    def hold():
        try:
            with queue.write_transaction("default"):
                Run.objects.filter(pk=made.pk).update(name="first")
                inside.set()
                release.wait(10)
                order.append("first")
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    threading.Timer(0.2, release.set).start()
    with queue.write_transaction("default"):
        Run.objects.filter(pk=made.pk).update(name="second")
        order.append("second")
    holder.join(10)

    assert order == ["first", "second"]


def test_what_is_paused_while_it_runs_is_held_when_it_is_to_be_tried_again():
    queue.enqueue([new_run("retried"), new_run("broken"), new_run("done"), new_run("other")])
    runs = {run.job_id: run for run in claim()}
    transitions.hold(~Q(job_id="other"), using="default")

    queue.finish(
        [
            (runs["retried"], outcome("READY", error="ValueError: no", retry_in=60.0)),
            (runs["broken"], outcome("READY", error="BadPayload: damaged")),
            (runs["done"], outcome()),
            (runs["other"], outcome("READY", error="ValueError: no", retry_in=60.0)),
        ],
        using="default",
    )

    found = {run.job_id: run for run in Run.objects.all()}
    states = {job_id: run.state for job_id, run in found.items()}
    assert states == {"retried": "paused", "broken": "broken", "done": "successful", "other": "deferred"}
    in_a_minute = timezone.now() + timedelta(seconds=60)
    assert abs(found["retried"].held_run_after - in_a_minute) < timedelta(seconds=5)
    transitions.unhold(Q(), using="default")
    assert Run.objects.get(job_id="retried").state == "deferred"


def test_what_is_paused_while_it_runs_is_held_when_it_is_handed_back():
    queue.enqueue([new_run("paused"), new_run("other")])
    runs = claim()
    transitions.hold(Q(job_id="paused"), using="default")

    assert queue.release_claims("w", [(run.id, 1) for run in runs], using="default") == 2

    states = {run.job_id: run.state for run in Run.objects.all()}
    assert states == {"paused": "paused", "other": "ready"}
    assert Run.objects.get(job_id="paused").held_run_after <= timezone.now()


def test_what_is_paused_while_it_runs_is_held_when_it_is_rescued():
    queue.enqueue([new_run("paused"), new_run("other")])
    claim("dead")
    transitions.hold(Q(job_id="paused"), using="default")
    end_lease("dead")

    assert len(queue.rescue(max_rescues=3, using="default")) == 2

    states = {run.job_id: run.state for run in Run.objects.all()}
    assert states == {"paused": "paused", "other": "ready"}


def test_what_is_resumed_while_it_runs_is_tried_again_without_being_asked():
    queue.enqueue([new_run()])
    (run,) = claim()
    transitions.hold(Q(), using="default")
    assert transitions.unhold(Q(), using="default") == 1

    queue.finish([(run, outcome("READY", error="ValueError: no", retry_in=0.0))], using="default")

    assert Run.objects.get().state == "ready"


def test_a_pause_is_over_for_a_run_that_is_claimed_all_the_same(make_run):
    # A test's worker takes what it is told to; and a version before released it without knowing of this.
    held = make_run(run_after=None, held_run_after=timezone.now())
    released = make_run(held_run_after=timezone.now())

    assert queue.claim_one(held.pk, "w", using="default")
    assert [run.id for run in claim()] == [released.pk]
    assert list(Run.objects.values_list("held_run_after", flat=True)) == [None, None]
