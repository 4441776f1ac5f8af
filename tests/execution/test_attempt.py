import sys
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs import Retry
from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.models import Run
from tests.probes.models import Mark


def test_a_job_is_executed_and_its_result_kept(serve, manager, probes):
    serve()

    job_id = manager.add_immediate_job(probes.add, 1, b=5, c=7)

    assert manager.wait(job_id, 10) == 13
    run = Run.objects.get()
    assert (run.status, run.attempt, run.error) == ("SUCCESSFUL", 1, "")
    assert run.enqueued_at <= run.finished_at


def test_a_failing_job_keeps_its_error_and_traceback(serve, manager, probes):
    serve()

    job_id = manager.add_immediate_job(probes.fail, "no paper")
    with pytest.raises(JobFailed) as raised:
        manager.wait(job_id, 10)

    assert raised.value.error == "ValueError: no paper"
    assert "raise ValueError(message)" in raised.value.traceback
    run = Run.objects.get()
    assert (run.status, run.error) == ("FAILED", "ValueError: no paper")
    assert run.errors[0]["worker_id"] == run.worker_id


def test_async_functions_are_jobs_like_any_other(serve, manager, probes):
    serve()

    assert manager.wait(manager.add_immediate_job(probes.mark_async, "a"), 10) == "a"
    with pytest.raises(JobFailed, match="LookupError: async went wrong"):
        manager.wait(manager.add_immediate_job(probes.fail_async), 10)
    assert Mark.objects.get().text == "a"


def test_a_run_can_say_and_ask_about_itself(serve, manager, probes):
    serve()

    result = manager.wait(
        manager.using(queue_name="letters").add_immediate_job(probes.report, job_id="r"), 10
    )

    assert result == {"job_id": "r", "attempt": 1, "queue": "letters"}
    run = Run.objects.get()
    assert run.progress == {"done": 1, "total": 4, "message": "first quarter"}
    assert run.log.endswith("began with this")


def test_work_that_expired_is_skipped(serve, manager, probes):
    job_id = manager.using(expires=0.01).add_immediate_job(probes.mark)
    time.sleep(0.05)

    serve()

    with pytest.raises(JobFailed, match="Expired"):
        manager.wait(job_id, 10)
    assert Run.objects.get().status == "SKIPPED"
    assert not Mark.objects.exists()


def test_work_that_began_in_time_is_tried_again_after_it(serve, manager, probes):
    serve()
    retrying = manager.using(expires=0.3, retry=Retry(max_attempts=2, delay=0.5, jitter=0))

    job_id = retrying.add_immediate_job(probes.fail_until, 2)

    manager.wait(job_id, 10)
    run = Run.objects.get()
    assert (run.status, run.attempt) == ("SUCCESSFUL", 2)


def test_work_that_is_retried_by_hand_may_expire_anew(serve, manager, probes, make_run):
    began = (timezone.now() - timedelta(hours=1)).isoformat()
    errors = [{"attempt": 1, "started_at": began, "error": "ValueError: no", "traceback": ""}]
    run = make_run(job_id="x", status="FAILED", errors=errors, options={"expires": 0.01, "expires_at": 0})
    manager.retry_run(run.pk)
    time.sleep(0.05)

    serve()

    with pytest.raises(JobFailed, match="Expired"):
        manager.wait("x", 10)


def test_a_function_that_was_renamed_fails_its_run_with_the_way_out(serve, manager, make_run, settings):
    settings.DJANGO_JOBS = {"VERSION_SKEW_SECONDS": 0}
    make_run(func="tests.probes.jobs:was_here", job_id="x")
    serve()

    with pytest.raises(JobFailed, match=r"has no was_here.*MOVED"):
        manager.wait("x", 10)


def test_a_function_outside_the_allowed_modules_is_never_imported(serve, manager, make_run, settings):
    settings.DJANGO_JOBS = {"VERSION_SKEW_SECONDS": 0}
    make_run(func="antigravity:geohash", job_id="x")
    serve()

    with pytest.raises(JobFailed, match="may not be called"):
        manager.wait("x", 10)

    assert "antigravity" not in sys.modules


def test_a_run_signed_with_another_key_waits_as_broken_and_runs_when_mended(
    serve, manager, make_run, until, settings
):
    settings.SECRET_KEY = "the key of another machine"
    made = make_run(func="tests.probes.jobs:mark", job_id="x")
    settings.SECRET_KEY = "the key of this machine"
    serve()

    until(lambda: Run.objects.held().exists())
    snapshot = manager.get_job("x")
    assert snapshot["status"] == "broken"
    assert "SECRET_KEY" in snapshot["reason"]
    assert not Mark.objects.exists()

    settings.SECRET_KEY_FALLBACKS = ["the key of another machine"]
    assert manager.resume_job("x")

    assert manager.wait("x", 10) == "called"
    made.refresh_from_db()
    assert made.status == "SUCCESSFUL"


def test_a_tampered_payload_is_never_called(serve, manager, make_run, until):
    made = make_run(func="tests.probes.jobs:mark", job_id="x")
    Run.objects.filter(pk=made.pk).update(func="tests.probes.jobs:kill_process")

    serve()

    until(lambda: Run.objects.held().exists())
    assert manager.get_job("x")["status"] == "broken"


def test_threads_that_execute_reuse_their_connection(serve, manager, probes):
    serve(threads=1)

    seen = {manager.wait(manager.add_immediate_job(probes.connections_opened), 10) for _ in range(5)}

    assert seen == {1}


def test_a_transaction_left_open_does_not_swallow_the_next_jobs_work(serve, manager, probes):
    serve(threads=1)
    with pytest.raises(JobFailed, match="left a transaction open on default"):
        manager.wait(manager.add_immediate_job(probes.leave_transaction_open), 10)

    manager.wait(manager.add_immediate_job(probes.mark, "kept"), 10)

    assert [mark.text for mark in Mark.objects.all()] == ["kept"]


def test_an_async_function_is_cancelled_where_it_awaits(serve, manager, probes, until):
    serve()
    job_id = manager.add_immediate_job(probes.rest, 60)
    until(lambda: Run.objects.get().status == "RUNNING")

    manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 10)


def test_an_async_function_is_ended_when_its_time_is_over(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.2).add_immediate_job(probes.rest, 60)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)


def test_async_functions_that_use_the_database_are_ended_when_their_time_is_over(serve, manager, probes):
    serve()

    timed = manager.using(timeout=0.3)
    ids = [timed.add_immediate_job(probes.tidy_up_in_time, 0.01) for _ in range(40)]

    for job_id in ids:
        with pytest.raises(JobFailed, match="RunTimeout"):
            manager.wait(job_id, 15)


def test_an_async_function_whose_time_is_over_tidies_up_undisturbed(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=1).add_immediate_job(probes.tidy_up_in_time, 0.5)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)
    assert Mark.objects.get().text == "tidied up"


def test_a_cancel_that_an_async_function_does_not_hear_leaves_its_run_an_outcome(serve, manager, probes):
    serve()
    job_id = manager.add_immediate_job(probes.query_then_compute, 1.5)
    assert probes.began.wait(10)

    manager.cancel_job(job_id)

    assert manager.wait(job_id, 10) == "done"
