import threading

import pytest

from django_jobs.exceptions import JobCancelled, JobFailed, RunInterrupted
from django_jobs.execution import stopping
from django_jobs.execution.attempt import Attempt
from django_jobs.execution.watchdog import AttemptWatch, Watchdog
from django_jobs.models import Run
from django_jobs.storage import claims
from django_jobs.storage.records import ClaimedRun
from tests.probes.models import Mark


def test_progress_shows_while_the_job_runs(serve, manager, probes, until):
    serve()

    job_id = manager.add_immediate_job("tests.probes.jobs:wait_for_go")
    assert probes.began.wait(10)
    (execution,) = manager.service.worker.attempts()
    execution.context.set_progress(3, 9, "going")

    until(lambda: Run.objects.get().progress == {"done": 3, "total": 9, "message": "going"})
    probes.go_on.set()
    manager.wait(job_id, 10)


def test_a_running_function_hears_that_it_is_cancelled(serve, manager, probes):
    serve()
    job_id = manager.add_immediate_job(probes.wait_until_told)
    assert probes.began.wait(10)

    assert manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 10)


def test_a_function_hears_that_its_time_is_over(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.2).add_immediate_job(probes.raise_when_told)

    with pytest.raises(JobFailed, match=r"RunTimeout: longer than its limit of 0.2 s"):
        manager.wait(job_id, 10)


def test_a_plain_function_that_never_asks_is_interrupted_when_its_time_is_over(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.2).add_immediate_job(probes.work_without_asking)

    with pytest.raises(JobFailed, match=r"RunTimeout: longer than its limit of 0.2 s") as raised:
        manager.wait(job_id, 10)
    assert "in work_without_asking" in raised.value.traceback


def test_a_plain_function_that_never_asks_is_interrupted_when_it_is_cancelled(serve, manager, probes):
    serve()
    job_id = manager.add_immediate_job(probes.work_without_asking)
    assert probes.began.wait(10)

    assert manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 10)


def test_an_interrupted_thread_goes_on_with_a_fresh_connection(serve, manager, probes):
    serve(threads=1)
    assert manager.wait(manager.add_immediate_job(probes.connections_opened), 10) == 1

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(manager.using(timeout=0.1).add_immediate_job(probes.work_without_asking), 10)

    assert manager.wait(manager.add_immediate_job(probes.connections_opened), 10) == 2


def test_a_function_that_listens_is_given_time_to_end_by_itself(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.2).add_immediate_job(probes.tidy_up_when_told)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)
    assert [mark.text for mark in Mark.objects.all()] == ["tidied up"]


def test_a_function_that_listens_and_goes_on_is_interrupted_after_its_grace(
    serve, manager, probes, monkeypatch
):
    monkeypatch.setattr("django_jobs.execution.stopping.GRACE_SECONDS", 0.3)
    serve()

    job_id = manager.using(timeout=0.1).add_immediate_job(probes.hear_and_go_on)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)


def claimed(**options):
    return ClaimedRun(
        id=1, job_id="j", name="j", worker_id="w", func="tests.probes.jobs:nothing", payload="", signature="", queue_name="default",
        priority=0, options=options, kind="immediate", attempt=1, rescues=0, unique_key=None, errors=[],
    )  # fmt: skip


class Held:
    """Somebody who has attempts, and no database."""

    def __init__(self, *attempts):
        self.held = attempts

    def attempts(self):
        return self.held


def test_an_attempt_whose_time_is_over_is_told_and_interrupted_and_others_go_on():
    late, in_time, unlimited = (Attempt(claimed(timeout=limit)) for limit in (0, 100, None))
    for attempt in (late, in_time, unlimited):
        attempt.start_clock()
    watchdog = Watchdog(Held(late, in_time, unlimited), "default")

    wait = watchdog.hold_to_time()

    assert late.context.stop_reason == "timeout"
    with pytest.raises(RunInterrupted):
        late._interruptible.call(lambda: None)
    assert not in_time.context.must_stop
    assert not unlimited.context.must_stop
    assert 99 < wait <= 100


def test_an_attempt_that_listens_is_interrupted_only_after_its_grace():
    attempt = Attempt(claimed(timeout=0))
    attempt.start_clock()
    assert not attempt.context.is_cancelled
    watchdog = Watchdog(Held(attempt), "default")

    wait = watchdog.hold_to_time()

    assert attempt.context.is_cancelled
    assert 0 < wait < stopping.GRACE_SECONDS + 1
    assert attempt._interruptible.call(lambda: "goes on") == "goes on"


def test_one_attempt_without_a_limit_is_watched_by_no_thread():
    before = threading.active_count()

    with AttemptWatch(Attempt(claimed())):
        assert threading.active_count() == before


def test_one_attempt_is_watched_until_its_block_ends():
    attempt = Attempt(claimed(timeout=0))
    attempt.start_clock()

    with AttemptWatch(attempt):
        assert attempt.context.wait(10)

    assert not [thread for thread in threading.enumerate() if thread.name == "django_jobs-watch"]


def test_a_run_that_somebody_else_has_is_told_that_it_is_lost(make_run, make_worker):
    make_worker(id="w")
    make_run(func="tests.probes.jobs:nothing")
    (run,) = claims.claim("w", limit=1, using="default")
    watch = AttemptWatch(Attempt(run), "default")
    assert list(watch.stop_requests()) == []

    Run.objects.update(cancel_requested=True)
    assert list(watch.stop_requests()) == [(run.id, "cancelled")]

    Run.objects.update(worker_id="another")
    assert list(watch.stop_requests()) == [(run.id, "lost")]
