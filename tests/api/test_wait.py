from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from django_jobs import (
    JobFailed,
    JobLookupError,
)
from django_jobs.api import wait
from django_jobs.models import Job, Run

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_wait_gives_up_in_time_and_says_what_the_job_waits_for(manager, probes, make_worker, run_async):
    job_id = manager.add_immediate_job(probes.mark)

    with pytest.raises(TimeoutError, match=r"after 0.05 s: .* 'default', which no live worker serves"):
        manager.wait(job_id, 0.05)
    with pytest.raises(TimeoutError, match="no live worker serves"):
        run_async(manager.await_job(job_id, 0.05))
    make_worker(queues=["default"])
    with pytest.raises(TimeoutError, match=r"it waits in the queue 'default'$"):
        manager.wait(job_id, 0)
    manager.pause_queue("default")
    with pytest.raises(TimeoutError, match="'default', which is paused"):
        manager.wait(job_id, 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "RUNNING", "worker_id": "w"}, "it runs in w, and goes on"),
        ({"run_after": None}, "it is paused"),
        (
            {"run_after": None, "error": "BadPayload: signed elsewhere"},
            "it is broken: BadPayload: signed elsewhere",
        ),
        ({"run_after": datetime(2100, 1, 1, tzinfo=UTC)}, "it is to begin at 2100-01-01T00:00:00+00:00"),
    ],
    ids=["running", "paused", "broken", "deferred"],
)
def test_wait_says_where_a_run_stands(manager, make_run, fields, words):
    make_run(job_id="x", **fields)

    with pytest.raises(TimeoutError) as error:
        manager.wait("x", 0)

    assert words in str(error.value)


def test_inside_a_transaction_nothing_is_waited_for_without_an_end(manager, probes, make_run):
    job_id = manager.add_immediate_job(probes.mark)
    make_run(job_id="done", status="SUCCESSFUL")

    with pytest.raises(RuntimeError, match=r"inside atomic\(\).*jobs.drain\(\)"):
        manager.wait(job_id)

    with pytest.raises(TimeoutError, match=r"inside atomic\(\).*jobs.drain\(\)"):
        manager.wait(job_id, 0.05)
    assert manager.wait("done") is None


def test_wait_does_not_take_the_result_of_an_earlier_job_of_the_same_id(manager, probes, make_run):
    make_run(job_id="report", status="SUCCESSFUL", result="1")
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="report")

    with pytest.raises(TimeoutError):
        manager.wait("report", 0)

    manager.run_job("report")
    with pytest.raises(TimeoutError):
        manager.wait("report", 0)
    Run.objects.filter(status="READY").update(status="SUCCESSFUL", attempt=1, result="2")
    assert manager.wait("report", 0) == 2


def test_wait_takes_the_firing_of_a_scheduled_job(manager, probes, make_run):
    make_run(job_id="report", status="SUCCESSFUL", result="1")
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="report")
    watch = wait._Watch("report", "default")
    assert watch.ended() is None

    Job.objects.get().delete()
    fired = make_run(job_id="report", status="SUCCESSFUL", result="2")

    assert watch.ended() == fired


def test_wait_ends_when_the_scheduled_job_is_removed(manager, probes, make_run):
    make_run(job_id="report", status="SUCCESSFUL", result="1")
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="report")
    watch = wait._Watch("report", "default")
    assert watch.ended() is None

    manager.remove_job("report")

    with pytest.raises(JobLookupError):
        watch.ended()


def test_wait_is_for_the_run_beside_which_a_firing_was_skipped(manager, make_job, make_run):
    make_job(id="r")
    run = make_run(job_id="r", kind="recurring", status="RUNNING")
    skipped = {
        "job_id": "r", "kind": "recurring", "status": "SKIPPED", "scheduled_at": timezone.now(),
        "error": "MaxInstances: 1 unfinished, and max_instances is 1",
    }  # fmt: skip
    make_run(**skipped)
    with pytest.raises(TimeoutError):
        manager.wait("r", 0)
    watch = wait._Watch("r", "default")
    assert watch.ended() is None

    Run.objects.filter(pk=run.pk).update(status="SUCCESSFUL", result="1")

    assert watch.ended() == run
    # Also for those who come late.
    assert manager.wait("r", 0) == 1


def test_wait_says_that_a_firing_was_let_pass_or_had_expired(manager, make_job, make_run):
    make_job(id="r")
    make_run(job_id="r", kind="recurring", status="SUCCESSFUL", result="1")
    make_run(
        job_id="r", kind="recurring", status="SKIPPED", scheduled_at=timezone.now(), error="Misfire: late"
    )
    with pytest.raises(JobFailed, match="Misfire"):
        manager.wait("r", 0)

    make_run(job_id="x", status="RUNNING")
    make_run(job_id="x", status="SKIPPED", attempt=1, error="Expired: not begun in time")
    with pytest.raises(JobFailed, match="Expired"):
        manager.wait("x", 0)
