"""`pause_after_failures`."""

import logging
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs import triggers
from django_jobs.models import Job, Run
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.storage import claims, outcomes
from django_jobs.storage.records import Outcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def fail(make_job, make_worker, django_capture_on_commit_callbacks):
    """Fires the job, and ends that run."""
    make_worker(id="w")
    make_job(id="x", trigger=triggers.interval(3600), options={"pause_after_failures": 3})

    def fail(status="FAILED", **more):
        Job.objects.filter(pk="x").update(next_run_time=timezone.now() - timedelta(seconds=1))
        fire_due("default")
        (run,) = claims.claim("w", limit=1, using="default")
        with django_capture_on_commit_callbacks(execute=True):
            outcome = Outcome(status, timezone.now(), timezone.now(), error="E: no", **more)
            outcomes.finish([(run, outcome)], using="default")
        return Job.objects.get(pk="x").status

    return fail


def test_a_job_is_paused_when_so_many_runs_in_a_row_failed(fail, caplog):
    with caplog.at_level(logging.WARNING):
        assert [fail(), fail(), fail()] == ["scheduled", "scheduled", "paused"]
    job = Job.objects.get(pk="x")
    assert job.paused_by == "pause_after_failures: 3 runs in a row failed"
    assert job.paused_at is not None
    assert "job=x paused: pause_after_failures: 3 runs in a row failed" in caplog.text


def test_a_success_ends_the_row(fail):
    assert [fail(), fail(), fail("SUCCESSFUL"), fail(), fail()] == ["scheduled"] * 5
    assert fail() == "paused"


def test_an_attempt_that_is_tried_again_is_no_failure(fail):
    assert [fail(), fail()] == ["scheduled"] * 2
    assert fail("READY", retry_in=3600) == "scheduled"


def test_a_resumed_job_is_paused_again_by_the_next_failure(fail, manager):
    fail(), fail(), fail()
    manager.resume_job("x")
    assert Job.objects.get(pk="x").status == "scheduled"
    assert fail() == "paused"


def test_what_was_skipped_or_cancelled_does_not_count(fail, make_run):
    fail(), fail()
    make_run(job_id="x", status="SKIPPED")
    make_run(job_id="x", status="CANCELLED")
    assert fail() == "paused"
    assert Run.objects.filter(status="FAILED").count() == 3
