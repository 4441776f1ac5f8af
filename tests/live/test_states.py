from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.live import states
from django_jobs.models import Job, MaintenanceTask, Queue, Rollup, Run, Worker
from django_jobs.storage import claims

pytestmark = pytest.mark.django_db


def digest(topic=states.CHANGES):
    return states.read([topic], using="default")[topic].digest


@pytest.fixture
def moves():
    """Return a function that says whether something changes what a topic's digest is."""

    def check(change, topic=states.CHANGES):
        before = digest(topic)
        assert digest(topic) == before
        change()
        return digest(topic) != before

    return check


def test_each_thing_that_pages_show_changes_the_sign_of_everything(moves, make_run, make_job, make_worker):
    waiting, running = make_run(), make_run(status="RUNNING")
    job, worker = make_job(), make_worker()
    now = timezone.now()

    def update(row, **fields):
        return lambda: type(row)._default_manager.filter(pk=row.pk).update(**fields)

    assert moves(make_run)
    assert moves(update(waiting, status="RUNNING"))
    assert moves(update(running, cancel_requested=True))
    assert moves(update(running, status="SUCCESSFUL", finished_at=now))
    assert moves(make_job)
    assert moves(update(job, next_run_time=now + timedelta(days=1)))
    assert moves(update(job, next_run_time=None))
    assert moves(make_worker)
    assert moves(update(worker, stopped_at=now))
    assert moves(lambda: Queue.objects.create(name="mail", paused_at=now))
    assert moves(lambda: Queue.objects.update(paused_at=None))
    assert moves(
        lambda: Rollup.objects.create(size_seconds=60, begins_at=now, func="f", queue_name="", runs=1)
    )


def test_a_heartbeat_or_a_chore_is_no_news(moves, make_worker):
    make_worker()

    assert not moves(lambda: Worker.objects.update(heartbeat_at=timezone.now() + timedelta(seconds=5)))
    assert not moves(lambda: MaintenanceTask.objects.create(name="prune", due_at=timezone.now()))


def test_a_run_is_news_for_those_who_watch_it_or_its_job_only(moves, make_run):
    run, other = make_run(job_id="mine", status="RUNNING"), make_run(job_id="another")

    def progress():
        Run.objects.filter(pk=run.pk).update(progress={"done": timezone.now().isoformat()})

    assert moves(progress, f"run:{run.pk}")
    assert moves(progress, "job:mine")
    assert not moves(progress, f"run:{other.pk}")
    assert not moves(progress, "job:another")


def test_a_job_is_as_its_newest_run(moves, make_run):
    make_run(job_id="a", status="FAILED")

    assert moves(lambda: make_run(job_id="a"), "job:a")

    found = states.read(["job:a"], using="default")["job:a"]
    assert (found.status, found.is_finished) == ("queued", False)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "queued"),
        ({"run_after": None}, "paused"),
        ({"run_after": None, "error": "BadPayload: damaged"}, "broken"),
        ({"run_after": None, "held_run_after": timezone.now(), "error": "ValueError: no"}, "paused"),
        ({"status": "RUNNING"}, "running"),
        ({"status": "RUNNING", "cancel_requested": True}, "stopping"),
        ({"status": "SUCCESSFUL"}, "successful"),
        ({"status": "FAILED"}, "failed"),
        ({"status": "CANCELLED"}, "cancelled"),
        ({"status": "SKIPPED"}, "skipped"),
    ],
)
def test_every_status_of_a_run_has_its_word(make_run, fields, status):
    run = make_run(**fields)

    for topic in (f"run:{run.pk}", f"job:{run.job_id}"):
        found = states.read([topic], using="default")[topic]
        assert (found.status, found.exists) == (status, True)


def test_an_error_is_not_read_only_to_tell_a_broken_run(make_run, django_assert_num_queries):
    run = make_run(run_after=None, error="BadPayload: damaged")

    with django_assert_num_queries(1):
        found = states.read([f"run:{run.pk}"], using="default")[f"run:{run.pk}"]
        assert found.status == "broken"
    assert found.run.error == "B"


def test_a_job_that_has_not_run_is_as_its_row_says(make_job):
    make_job(id="soon")
    make_job(id="held", next_run_time=None)
    make_job(id="bad", broken_reason="renamed")

    found = states.read(["job:soon", "job:held", "job:bad", "job:none"], using="default")

    assert {topic: state.status for topic, state in found.items()} == {
        "job:soon": "scheduled",
        "job:held": "paused",
        "job:bad": "broken",
        "job:none": "",
    }
    assert [state.exists for state in found.values()].count(False) == 1


def test_only_what_will_not_run_again_is_over(make_job, make_run):
    make_job(id="again")
    for job_id, kind in (("again", "recurring"), ("gone", "recurring"), ("once", "immediate")):
        make_run(job_id=job_id, kind=kind, status="SUCCESSFUL")

    found = states.read(["job:again", "job:gone", "job:once"], using="default")

    assert {topic: state.is_over for topic, state in found.items()} == {
        "job:again": False,
        "job:gone": True,
        "job:once": True,
    }


def test_any_number_of_watchers_costs_few_queries(make_job, make_run, django_assert_num_queries):
    runs = [make_run() for _ in range(30)]
    topics = [f"job:{run.job_id}" for run in runs] + [f"run:{run.pk}" for run in runs]
    make_job(id="again")

    with django_assert_num_queries(1):
        states.read([states.CHANGES], using="default")
    with django_assert_num_queries(1):
        states.read(topics, using="default")
    with django_assert_num_queries(3):
        found = states.read([states.CHANGES, *topics, "job:again"], using="default")
    assert len(found) == 62


def test_what_jobs_there_are_more_of_than_fit_a_statement(make_run, django_assert_num_queries, monkeypatch):
    monkeypatch.setattr(states, "BATCH", 4)
    topics = [f"job:{make_run().job_id}" for _ in range(10)]

    with django_assert_num_queries(3):
        found = states.read(topics, using="default")

    assert sorted(found) == sorted(topics)
    assert {state.status for state in found.values()} == {"queued"}


@pytest.mark.parametrize(
    ("topic", "is_one"),
    [
        ("changes", True),
        ("run:12", True),
        ("job:a b/c", True),
        ("run:", False),
        ("run:-1", False),
        ("run:1 OR 1=1", False),
        ("run:" + "9" * 30, False),
        ("run:١٢", False),
        ("job:", False),
        ("job:" + "x" * 400, False),
        ("job:a\0", False),
        ("job:\ud800", False),
        ("job:\U0001f600", True),
        ("jobs", False),
        ("", False),
        (7, False),
        (None, False),
    ],
)
def test_what_can_be_watched(topic, is_one):
    assert states.is_topic(topic) is is_one


def test_a_job_id_is_never_a_part_of_the_statement(make_run):
    odd = "x' OR '1'='1; -- %s"
    make_run()

    assert not states.read([f"job:{odd}"], using="default")[f"job:{odd}"].exists
    make_run(job_id=odd)
    assert states.read([f"job:{odd}"], using="default")[f"job:{odd}"].exists


def test_what_anybody_is_shown_has_no_arguments_errors_or_log(make_run):
    run = make_run(
        status="FAILED", error="secret error", errors=[{"traceback": "secret trace"}], log="secret log",
        payload="secret payload",
    )  # fmt: skip

    shown = states.public_state(states.of_job(run.job_id, using="default"), result=False)

    assert "secret" not in str(shown)
    assert (shown["status"], shown["finished"], shown["succeeded"]) == ("failed", True, False)


def test_progress_has_a_percentage_and_what_is_left(make_run):
    began = timezone.now() - timedelta(seconds=30)
    run = make_run(status="RUNNING", started_at=began, progress={"done": 3, "total": 4, "message": "page 3"})

    shown = states.public_state(states.of_job(run.job_id, using="default"), result=False)

    assert (shown["done"], shown["total"], shown["percent"], shown["message"]) == (3, 4, 75.0, "page 3")
    assert 9 < shown["eta_seconds"] < 60
    assert (shown["finished"], shown["succeeded"]) == (False, None)


def test_a_loop_that_goes_on_where_another_attempt_stopped_says_itself_how_long_it_takes(make_run):
    now = timezone.now()
    progress = {"done": 99, "total": 100, "ends_at": (now + timedelta(hours=1)).isoformat()}
    run = make_run(status="RUNNING", started_at=now - timedelta(seconds=1), progress=progress)

    shown = states.public_state(states.of_job(run.job_id, using="default"), result=False)

    assert 3500 < shown["eta_seconds"] <= 3600


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        (None, None),
        ([1], None),
        ({"done": 1, "total": None}, None),
        ({"done": 1, "total": 0}, None),
        ({"done": "1", "total": 2}, None),
        ({"done": 5, "total": 4}, 100.0),
        ({"done": -1, "total": 4}, 0.0),
        ({"done": 1, "total": 4, "ends_at": "soon"}, 25.0),
        ({"done": 1, "total": 4, "ends_at": "2030-01-01T00:00:00"}, 25.0),
    ],
)
def test_odd_progress_does_not_break_a_page(make_run, progress, percent):
    run = make_run(status="RUNNING", progress=progress)

    assert states.public_state(states.of_job(run.job_id, using="default"), result=False)["percent"] == percent


def test_the_result_is_shown_to_who_may_see_it(make_run):
    run = make_run(status="SUCCESSFUL", result='{"chunks": 7}')

    state = states.of_job(run.job_id, result=True, using="default")

    assert states.public_state(state, result=True)["result"] == {"chunks": 7}
    assert "result" not in states.public_state(state, result=False)


def test_what_the_queue_really_does_is_seen(moves, manager, make_worker):
    worker = make_worker()
    job_id = manager.add_immediate_job("tests.probes.jobs:nothing")
    claimed = []

    def claim():
        claimed.extend(claims.claim(worker.pk, limit=1, using="default"))

    assert moves(claim, f"job:{job_id}")
    assert len(claimed) == 1
    assert moves(lambda: manager.cancel_job(job_id), f"job:{job_id}")
    assert not Job.objects.exists()


def test_the_page_of_a_run_changes_with_what_the_run_says(make_run):
    from django_jobs.models import LogChunk

    run = make_run(status="RUNNING", job_id="a")
    before = states.read([f"run:{run.pk}", "job:a"], using="default")
    LogChunk.objects.create(
        run_id=run.pk, attempt=1, fence=1, written_at=run.enqueued_at, level=20, text="said"
    )

    after = states.read([f"run:{run.pk}", "job:a"], using="default")

    assert after[f"run:{run.pk}"].digest != before[f"run:{run.pk}"].digest
    assert after["job:a"].digest == before["job:a"].digest


def test_a_batch_is_shown_as_a_job_is(manager, db):
    from django_jobs.testing import drain_jobs
    from tests.probes import parts

    batch = manager.batch("watched")
    batch.add_many([(parts.give, [1]), (parts.fail, [])])
    before = states.of_job(batch.id, using="default")
    drain_jobs()
    batch.close()
    after = states.of_job(batch.id, result=True, using="default")

    shown = states.public_state(before, result=False)
    assert (shown["status"], shown["done"], shown["total"], shown["finished"]) == ("queued", 0, 2, False)
    assert before.digest != after.digest
    shown = states.public_state(after, result=True)
    assert (shown["status"], shown["done"], shown["succeeded"], shown["over"]) == ("failed", 2, False, True)
    assert (
        states.read(["job:batch:none", f"job:{batch.id}"], using="default")["job:batch:none"].exists is False
    )
