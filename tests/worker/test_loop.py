import importlib
import os
import sys
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DataError, OperationalError, connection, transaction
from django.utils import timezone

from django_jobs import Retry, signals
from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.execution import runner
from django_jobs.models import Job, Run, Worker
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.storage import claims, identity, notifications, outcomes, transactions
from django_jobs.worker import loop as worker_module
from django_jobs.worker import service as service_module
from django_jobs.worker.maintenance import rescue_at_start
from tests.probes.models import Mark


def test_a_job_is_executed_and_its_result_kept(serve, manager, probes):
    serve()

    job_id = manager.add_immediate_job(probes.add, 1, b=5, c=7)

    assert manager.wait(job_id, 10) == 13
    run = Run.objects.get()
    assert (run.status, run.attempt, run.error) == ("SUCCESSFUL", 1, "")
    assert run.enqueued_at <= run.finished_at


def test_a_job_starts_within_milliseconds_of_its_commit(serve, manager, probes, until):
    serve()
    manager.wait(manager.add_immediate_job(probes.nothing), 10)

    job_id = manager.add_immediate_job(probes.wait_for_go)
    committed = time.monotonic()

    assert probes.began.wait(2)
    # A bound on failure: a poll would take seconds, a wake-up takes milliseconds.
    assert time.monotonic() - committed < 1
    probes.go_on.set()
    manager.wait(job_id, 10)


def test_a_job_of_a_rolled_back_transaction_never_was(serve, manager, probes):
    serve()

    with transaction.atomic():
        manager.add_immediate_job(probes.mark)
        manager.add_recurring_job(probes.mark, 5)
        transaction.set_rollback(True)
    with transaction.atomic():
        manager.add_immediate_job(probes.wait_for_go, job_id="c")
        # One that did not wait for the commit would begin within milliseconds.
        assert not probes.began.wait(0.2)

    probes.go_on.set()
    assert manager.wait("c", 10) == "gone on"
    assert [run.job_id for run in Run.objects.all()] == ["c"]
    assert not Job.objects.exists()
    assert not Mark.objects.exists()


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


def test_many_async_jobs_wait_at_the_same_time(serve, manager, probes):
    serve(threads=2)
    began = time.monotonic()

    ids = manager.add_many([(probes.rest, [0.5]) for _ in range(50)])
    for job_id in ids:
        manager.wait(job_id, 20)

    # One after the other on two threads they would take over twelve seconds.
    assert time.monotonic() - began < 6


def test_a_retry_runs_again_and_says_which_attempt_it_is(serve, manager, probes):
    serve()

    job_id = manager.using(retry=Retry(max_attempts=3, delay=0)).add_immediate_job(probes.fail_until, 3)

    assert manager.wait(job_id, 15) == 3
    run = Run.objects.get()
    assert [entry["error"] for entry in run.errors] == ["ValueError: attempt 1", "ValueError: attempt 2"]
    assert run.attempt == 3


def test_a_retry_ends_when_its_attempts_are_used_up(serve, manager, probes):
    serve()

    job_id = manager.using(retry=Retry(max_attempts=2, delay=0)).add_immediate_job(probes.fail)

    with pytest.raises(JobFailed):
        manager.wait(job_id, 15)
    assert Run.objects.get().attempt == 2


def test_a_run_can_say_and_ask_about_itself(serve, manager, probes):
    serve()

    result = manager.wait(
        manager.using(queue_name="letters").add_immediate_job(probes.report, job_id="r"), 10
    )

    assert result == {"job_id": "r", "attempt": 1, "queue": "letters"}
    run = Run.objects.get()
    assert run.progress == {"done": 1, "total": 4, "message": "first quarter"}
    assert run.log.endswith("began with this")


def test_progress_shows_while_the_job_runs(serve, manager, probes, until):
    serve()

    job_id = manager.add_immediate_job("tests.probes.jobs:wait_for_go")
    assert probes.began.wait(10)
    (execution,) = manager._service.worker.executions()
    execution.context.set_progress(3, 9, "going")

    until(lambda: Run.objects.get().progress == {"done": 3, "total": 9, "message": "going"})
    probes.go_on.set()
    manager.wait(job_id, 10)


def test_a_result_that_cannot_be_stored_fails_its_run_and_nothing_else(serve, manager, probes):
    serve()

    with pytest.raises(JobFailed, match="object"):
        manager.wait(manager.add_immediate_job(probes.unstorable), 10)

    assert manager.wait(manager.add_immediate_job(probes.give, 1), 10) == 1


@pytest.mark.parametrize("function", ["unstorable", "make_text"])
def test_work_whose_result_cannot_be_stored_is_not_done_again(function, serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"MAX_RESULT_BYTES": 1000}
    serve()
    args = [2000] if function == "make_text" else []

    retrying = manager.using(retry=Retry(max_attempts=3, delay=0))
    with pytest.raises(JobFailed, match="result"):
        manager.wait(retrying.add_immediate_job(f"tests.probes.jobs:{function}", *args), 10)

    run = Run.objects.get()
    assert (run.status, run.attempt) == ("FAILED", 1)


def test_a_result_over_the_limit_fails_its_run(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"MAX_RESULT_BYTES": 1000}
    serve()

    with pytest.raises(JobFailed, match="MAX_RESULT_BYTES"):
        manager.wait(manager.add_immediate_job("tests.probes.jobs:make_text", 2000), 10)


def test_a_waiting_run_is_cancelled_before_it_begins(serve, manager, probes):
    serve(threads=1)
    first = manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    second = manager.add_immediate_job(probes.mark)

    assert manager.cancel_job(second)

    with pytest.raises(JobCancelled):
        manager.wait(second, 10)
    probes.go_on.set()
    manager.wait(first, 10)
    assert not Mark.objects.exists()


def test_a_running_function_hears_that_it_is_cancelled(serve, manager, probes):
    serve()
    job_id = manager.add_immediate_job(probes.wait_until_told)
    assert probes.began.wait(10)

    assert manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 10)


def test_an_async_function_is_cancelled_where_it_awaits(serve, manager, probes, until):
    serve()
    job_id = manager.add_immediate_job(probes.rest, 60)
    until(lambda: Run.objects.get().status == "RUNNING")

    manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 10)


def test_a_function_hears_that_its_time_is_over(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.2).add_immediate_job(probes.raise_when_told)

    with pytest.raises(JobFailed, match=r"RunTimeout: longer than its limit of 0.2 s"):
        manager.wait(job_id, 10)


def test_an_async_function_is_ended_when_its_time_is_over(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.2).add_immediate_job(probes.rest, 60)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)


def test_no_more_async_functions_are_awaited_at_once_than_are_allowed(
    serve, manager, probes, settings, monkeypatch
):
    settings.DJANGO_JOBS = {"ASYNC_RUNS": 2}
    monkeypatch.setitem(probes.at_once, "most", 0)
    # One that waits for its turn is not out of time.
    ids = manager.using(timeout=0.8).add_many([(probes.count_at_once, [0.3]) for _ in range(20)])

    service = serve()
    for job_id in ids:
        manager.wait(job_id, 30)

    assert probes.at_once["most"] == 2
    assert [consumer.taken for consumer in service.worker.consumers] == [0]


def test_an_async_run_that_waits_for_its_turn_can_be_cancelled(serve, manager, probes, settings, until):
    settings.DJANGO_JOBS = {"ASYNC_RUNS": 1}
    manager.add_many([(probes.rest, [2]) for _ in range(5)])
    service = serve()
    until(lambda: service.worker._for_loop)
    waiting = service.worker._for_loop[-1][0].run.job_id

    manager.cancel_job(waiting)

    with pytest.raises(JobCancelled):
        manager.wait(waiting, 10)
    assert Run.objects.get(job_id=waiting).error == "cancelled before it began"


def test_a_cancel_that_an_async_function_does_not_hear_leaves_its_run_an_outcome(serve, manager, probes):
    serve()
    job_id = manager.add_immediate_job(probes.query_then_compute, 1.5)
    assert probes.began.wait(10)

    manager.cancel_job(job_id)

    assert manager.wait(job_id, 10) == "done"


def test_async_functions_that_use_the_database_are_ended_when_their_time_is_over(serve, manager, probes):
    serve()

    timed = manager.using(timeout=0.3)
    ids = [timed.add_immediate_job(probes.tidy_up_in_time, 0.01) for _ in range(40)]

    for job_id in ids:
        with pytest.raises(JobFailed, match="RunTimeout"):
            manager.wait(job_id, 15)


def test_an_async_function_whose_time_is_over_tidies_up_undisturbed(serve, manager, probes):
    serve()

    job_id = manager.using(timeout=0.3).add_immediate_job(probes.tidy_up_in_time, 0.5)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)
    assert Mark.objects.get().text == "tidied up"


def test_an_async_run_whose_awaiting_fails_is_failed(serve, manager, probes, monkeypatch):
    service = serve()

    def submit(begin):
        future = Future()
        future.cancel()
        return future

    monkeypatch.setattr(service.worker._loop, "submit", submit)
    job_id = manager.add_immediate_job(probes.rest, 0)

    with pytest.raises(JobFailed, match="CancelledError"):
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
    monkeypatch.setattr("django_jobs.execution.runner.GRACE_SECONDS", 0.3)
    serve()

    job_id = manager.using(timeout=0.1).add_immediate_job(probes.hear_and_go_on)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(job_id, 10)


def test_a_job_may_say_when_it_wants_to_be_tried_again(serve, manager, probes):
    serve()

    job_id = manager.add_immediate_job(probes.ask_for_another_try, 3)

    assert manager.wait(job_id, 15) == 3
    errors = [entry["error"] for entry in Run.objects.get().errors]
    assert errors == ["RetryLater: try 1", "RetryLater: try 2"]


def test_retry_later_ends_with_the_attempts_of_the_policy(serve, manager, probes):
    serve()

    job_id = manager.using(retry=Retry(max_attempts=2)).add_immediate_job(probes.ask_for_another_try, 9)

    with pytest.raises(JobFailed, match="RetryLater: try 2"):
        manager.wait(job_id, 15)


def test_a_retry_policy_that_this_version_does_not_know_ends_its_run_with_the_reason(
    serve, manager, make_run, until
):
    make_run(func="tests.probes.jobs:fail", options={"retry": {"backoff": "fibonacci"}})
    service = serve()

    run = until(lambda: Run.objects.filter(status="FAILED").first())

    assert run.error.startswith("ValueError: it went wrong (and not tried again, for its retry policy")
    until(lambda: not service.worker.executions())


def test_a_mistake_in_the_engine_fails_its_run_and_leaves_the_slot_free(
    serve, manager, probes, monkeypatch, until
):
    service = serve(threads=1)
    real = runner.Execution.start_clock

    def fail(execution):
        real(execution)
        raise LookupError("a mistake of ours")

    monkeypatch.setattr(runner.Execution, "start_clock", fail)
    job_id = manager.add_immediate_job(probes.nothing)
    with pytest.raises(JobFailed, match="LookupError: a mistake of ours"):
        manager.wait(job_id, 10)

    until(lambda: service.worker.consumers[0].taken == 0)
    monkeypatch.setattr(runner.Execution, "start_clock", real)
    assert manager.wait(manager.add_immediate_job(probes.give, 1), 10) == 1


def test_a_job_may_give_up_whatever_its_policy_says(serve, manager, probes):
    serve()

    job_id = manager.using(retry=Retry(max_attempts=9, delay=0)).add_immediate_job(probes.give_up)

    with pytest.raises(JobFailed, match="GiveUp: no such customer"):
        manager.wait(job_id, 15)
    assert Run.objects.get().attempt == 1


@pytest.mark.parametrize(
    "text", ["a\x00b", "caf\udce9.txt", "x" * 10_000_000], ids=["NUL", "surrogate", "10 MB"]
)
def test_an_error_of_any_text_is_kept_and_ends_only_its_run(serve, manager, probes, text):
    serve()

    with pytest.raises(JobFailed, match="ValueError"):
        manager.wait(manager.add_immediate_job(probes.fail_with, repr(text[:100]), len(text)), 10)

    run = Run.objects.get()
    assert run.status == "FAILED"
    assert "fail_with" in run.errors[0]["traceback"]
    assert len(run.errors[0]["traceback"]) < 60_000
    assert manager.wait(manager.add_immediate_job(probes.give, 1), 10) == 1


def test_a_log_of_any_text_is_kept(serve, manager, probes):
    serve()

    manager.wait(manager.add_immediate_job(probes.log_anything), 10)

    log = Run.objects.get().log
    assert "a\\x00b" in log
    assert "caf\\udce9" in log


def test_an_outcome_that_cannot_even_be_sent_fails_its_run_and_no_other(serve, manager, probes, monkeypatch):
    serve()
    real = outcomes.finish

    def refuse(ended, **more):
        if any(outcome.result == '"bad"' for _, outcome in ended):
            raise TypeError("not to be encoded")
        return real(ended, **more)

    monkeypatch.setattr(outcomes, "finish", refuse)
    bad = manager.add_immediate_job(probes.give, "bad")
    good = manager.add_immediate_job(probes.give, "good")

    assert manager.wait(good, 10) == "good"
    with pytest.raises(JobFailed, match="not to be encoded"):
        manager.wait(bad, 10)


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


def test_a_function_that_was_renamed_fails_its_run_with_the_way_out(serve, manager, make_run):
    make_run(func="tests.probes.jobs:was_here", job_id="x")
    serve()

    with pytest.raises(JobFailed, match=r"has no was_here.*MOVED"):
        manager.wait("x", 10)


def test_a_function_outside_the_allowed_modules_is_never_imported(serve, manager, make_run):
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


def test_only_its_own_queues_are_served(serve, manager, probes, until):
    serve(queues=["mine"])

    other = manager.using(queue_name="other").add_immediate_job(probes.mark, "other")
    mine = manager.using(queue_name="mine").add_immediate_job(probes.mark, "mine")

    manager.wait(mine, 10)
    assert manager.get_job(other)["status"] == "queued"


def test_a_paused_queue_is_left_alone_from_then_on(serve, manager, probes, until):
    service = serve()
    manager.pause_queue("stopped")
    # By a notice: the next heartbeat is seconds away.
    until(lambda: service.worker.paused == ("stopped",), timeout=5)

    stopped = manager.using(queue_name="stopped").add_immediate_job(probes.mark)
    manager.wait(manager.add_immediate_job(probes.nothing), 10)
    assert manager.get_job(stopped)["status"] == "queued"

    assert manager.resume_queue("stopped")
    assert manager.wait(stopped, 3) == "called"


def test_a_deferred_run_starts_when_it_is_due_without_waiting_for_a_poll(serve, manager, probes, make_run):
    serve()
    make_run(func="tests.probes.jobs:mark", job_id="x", run_after=timezone.now() + timedelta(seconds=0.5))
    notifications.notify_local(notifications.RUNS)
    began = time.monotonic()

    manager.wait("x", 10)

    assert time.monotonic() - began < 3


def test_threads_that_execute_reuse_their_connection(serve, manager, probes):
    serve(threads=1)

    seen = {manager.wait(manager.add_immediate_job(probes.connections_opened), 10) for _ in range(5)}

    assert seen == {1}


def test_a_transaction_left_open_does_not_swallow_the_next_jobs_work(serve, manager, probes):
    serve(threads=1)
    manager.wait(manager.add_immediate_job(probes.leave_transaction_open), 10)

    manager.wait(manager.add_immediate_job(probes.mark, "kept"), 10)

    assert [mark.text for mark in Mark.objects.all()] == ["kept"]


def test_shutdown_lets_running_work_finish(serve, manager, probes):
    serve()
    job_id = manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    threading.Timer(0.3, probes.go_on.set).start()

    manager.shutdown()

    assert manager.get_job(job_id)["status"] == "successful"
    assert Worker.objects.get().stopped_at is not None
    assert not Worker.objects.get().was_lost


def test_shutdown_hands_back_what_no_thread_has_begun(serve, manager, probes):
    service = serve(threads=1)
    service.worker.consumers[0].seconds_per_run = 0.001
    manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    waiting = [manager.add_immediate_job(probes.mark, str(n)) for n in range(5)]
    threading.Timer(0.3, probes.go_on.set).start()

    manager.shutdown()

    runs = Run.objects.filter(job_id__in=waiting)
    assert {(run.status, run.attempt) for run in runs} == {("READY", 0)}
    assert not Mark.objects.exists()


def test_shutdown_tells_functions_at_its_limit_and_hands_their_runs_back(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.2}
    serve()
    manager.add_immediate_job(probes.raise_when_told)
    assert probes.began.wait(10)

    manager.shutdown()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.worker_id) == ("READY", 0, "")


def test_a_result_of_a_run_that_another_worker_has_by_now_is_refused(
    serve, manager, probes, make_worker, monkeypatch, until
):
    refused = []
    monkeypatch.setattr(signals.run_refused, "receivers", [])
    signals.run_refused.connect(lambda run, **_: refused.append(run.id), weak=False)
    serve()
    manager.add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)
    other = make_worker()

    Run.objects.update(worker_id=other.id)
    probes.go_on.set()

    until(lambda: refused)
    run = Run.objects.get()
    assert refused == [run.id]
    assert (run.status, run.worker_id, run.result) == ("RUNNING", other.id, None)


def test_a_function_that_does_not_listen_is_handed_back(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    serve()
    manager.add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)

    manager.shutdown()

    assert Run.objects.get().attempt == 0
    assert Run.objects.get().status == "READY"


def test_a_run_that_was_begun_remembers_that_its_worker_stopped(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    service = serve()
    worker_id = service.worker.id
    manager.add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)

    manager.shutdown()
    probes.go_on.set()

    (entry,) = Run.objects.get().errors
    assert (entry["attempt"], entry["worker_id"]) == (1, worker_id)
    assert entry["error"] == "WorkerStopped: its worker stopped"


@pytest.mark.parametrize(
    "probe", ["wait_for_go", "raise_when_told", "await_long"], ids=["deaf", "told", "async"]
)
def test_shutdown_ends_a_begun_run_that_must_not_begin_twice(serve, manager, probes, settings, probe):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    serve()
    job_id = manager.using(at_most_once=True).add_immediate_job(getattr(probes, probe))
    assert probes.began.wait(10)

    manager.shutdown()
    probes.go_on.set()

    run = Run.objects.get()
    assert (run.status, run.attempt) == ("FAILED", 1)
    assert run.error == "WorkerStopped: its worker stopped, and at_most_once forbids another attempt"
    assert [entry["error"] for entry in run.errors] == [run.error]
    with pytest.raises(JobFailed, match="at_most_once"):
        manager.wait(job_id, 1)


def test_shutdown_hands_back_a_run_that_must_not_begin_twice_and_has_not_begun(
    serve, manager, probes, settings
):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    service = serve(threads=1)
    service.worker.consumers[0].seconds_per_run = 0.001
    manager.add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)
    waiting = manager.using(at_most_once=True).add_immediate_job(probes.mark)

    manager.shutdown()
    probes.go_on.set()

    run = Run.objects.get(job_id=waiting)
    assert (run.status, run.attempt, run.errors) == ("READY", 0, None)


def test_a_run_that_must_not_begin_twice_stays_until_its_lease_ends_when_no_database_takes_its_end(
    serve, manager, probes, settings, monkeypatch
):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    serve()
    manager.using(at_most_once=True).add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)

    def be_away(*args, **kwargs):
        raise OperationalError("gone")

    monkeypatch.setattr(outcomes, "finish", be_away)
    manager.shutdown()
    probes.go_on.set()

    assert Run.objects.get().status == "RUNNING"


def test_a_run_that_outlasts_all_its_workers_ends(serve, manager, probes, settings, make_run, monkeypatch):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0}
    monkeypatch.setattr(worker_module, "MOST_INTERRUPTIONS", 2)
    make_run(func="tests.probes.jobs:wait_for_go", job_id="long")

    for _ in range(3):
        probes.began.clear()
        serve()
        assert probes.began.wait(10)
        manager.shutdown()
    probes.go_on.set()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.rescues) == ("FAILED", 1, 0)
    assert run.error == "WorkerStopped: its worker stopped 3 times before it ended"
    assert len(run.errors) == 3


def test_an_attempt_after_one_that_was_handed_back_too_often_is_handed_back_again(
    serve, manager, probes, settings, make_run, monkeypatch
):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0}
    monkeypatch.setattr(worker_module, "MOST_INTERRUPTIONS", 1)
    entry = {"attempt": 1, "worker_id": "w", "error": "WorkerStopped: its worker stopped", "traceback": ""}
    make_run(func="tests.probes.jobs:wait_for_go", job_id="long", status="FAILED", errors=[entry, entry])
    assert manager.retry_job("long")
    serve()
    assert probes.began.wait(10)

    manager.shutdown()
    probes.go_on.set()

    run = Run.objects.get()
    assert (run.status, run.attempt) == ("READY", 1)


@pytest.mark.parametrize(
    "step",
    [
        "scheduler.clock.Clock.shutdown",
        "storage.notifications.ListenerThread.stop",
        "worker.loop.Worker.stop",
        "worker.maintenance.Maintainer.stop",
    ],
)
def test_shutdown_takes_all_its_steps_when_one_of_them_fails(serve, manager, monkeypatch, caplog, step):
    module, kind, name = step.rsplit(".", 2)
    kind = getattr(importlib.import_module(f"django_jobs.{module}"), kind)
    real = getattr(kind, name)
    left = []

    def fail(self, *args, **kwargs):
        real(self, *args, **kwargs)
        raise RuntimeError("cannot join thread before it is started")

    before = set(threading.enumerate())
    serve()
    monkeypatch.setattr(ScheduleSync, "leave", lambda self: left.append(self))
    monkeypatch.setattr(kind, name, fail)

    manager.shutdown()

    assert not Worker.objects.filter(stopped_at__isnull=True).exists()
    assert left
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]
    assert not {t for t in set(threading.enumerate()) - before if t.name.startswith("django_jobs-")}


def test_shutdown_may_be_called_twice_and_before_start(manager, transactional_db):
    manager.shutdown()
    manager.start()
    manager.start()
    manager.shutdown()
    manager.shutdown()


@pytest.mark.timeout(300)
def test_many_starts_and_shutdowns_leak_neither_threads_nor_connections_nor_rows(
    manager, transactional_db, soak_minutes
):
    def ours():
        return {t for t in threading.enumerate() if t.name.startswith(("django_jobs", "APScheduler"))}

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    threads, files = ours(), open_files()
    for number in range(1000 if soak_minutes else 100):
        manager.start()
        # Some are stopped before they have quite started.
        assert number % 3 or manager._service.wait_started(60)
        manager.shutdown()

    assert ours() <= threads
    # SQLite keeps a few of a file's descriptors for its next connections; a leak would be one for each start.
    assert open_files() < files + 50
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


@pytest.mark.parametrize(
    "unborn",
    [
        "worker.loop.Worker._serve",
        "worker.maintenance.Maintainer._serve",
        "scheduler.clock.Clock._main_loop",
        "storage.notifications.ListenerThread._serve",
    ],
)
def test_a_process_that_ends_while_it_starts_leaves_no_row_behind(
    manager, transactional_db, monkeypatch, until, unborn
):
    real = threading.Thread.start

    def start(thread):
        # As Python 3.12 does while a process ends.
        if getattr(thread._target, "__qualname__", "") == ".".join(unborn.split(".")[-2:]):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    manager.start()
    until(lambda: Worker.objects.exists() and not manager._service._starter.is_alive())

    manager.shutdown()

    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


@pytest.mark.parametrize(
    "unborn",
    [
        "completer.Completer._serve",
        "worker.loop.Worker._serve",
        "worker.maintenance.Maintainer._serve",
        "scheduler.clock.Clock._main_loop",
        "storage.notifications.ListenerThread._serve",
    ],
)
def test_a_process_that_is_refused_a_thread_undoes_its_start_and_tries_again(
    manager, transactional_db, probes, monkeypatch, caplog, unborn
):
    real, refused = threading.Thread.start, []

    def start(thread):
        if (
            getattr(thread._target, "__qualname__", "") == ".".join(unborn.split(".")[-2:])
            and len(refused) < 2
        ):
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    def ours():
        return {t for t in threading.enumerate() if t.name.startswith(("django_jobs", "APScheduler"))}

    def undo(service, error):
        real_undo(service, error)
        left.append(({t.name for t in ours() - before}, Worker.objects.filter(stopped_at=None).count()))

    before, left, real_undo = ours(), [], service_module.Service._undo
    monkeypatch.setattr(service_module, "THREADS_SECONDS", 0.0)
    monkeypatch.setattr(service_module.Service, "_undo", undo)
    monkeypatch.setattr(threading.Thread, "start", start)

    manager.start()
    assert manager.service.wait_started(60)

    assert manager.wait(manager.add_immediate_job(probes.give, 42), 10) == 42
    assert not manager.service.failure
    assert left == [({"django_jobs-starter"}, 0)] * 2
    said = [record for record in caplog.records if "could not be started" in record.getMessage()]
    assert [record.levelname for record in said] == ["ERROR"]


def test_a_run_that_no_thread_can_be_started_for_goes_back_and_is_executed_later(
    serve, manager, probes, monkeypatch, until
):
    service = serve(threads=1)
    real, refused = threading.Thread.start, []

    def start(thread):
        if thread.name.startswith("django_jobs-run") and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    engine = service.worker.consumers[0].engine
    monkeypatch.setattr(threading.Thread, "start", start)
    engine._name = "django_jobs-run"
    first = manager.add_immediate_job(probes.give, 1)
    until(lambda: refused)

    assert manager.wait(manager.add_immediate_job(probes.give, 2), 10) == 2
    assert manager.wait(first, 10) == 1


def test_an_async_run_whose_loop_cannot_be_started_goes_back_and_is_executed_later(
    serve, manager, probes, monkeypatch
):
    monkeypatch.setattr(worker_module, "REFUSED_SECONDS", 0.05)
    real, refused = threading.Thread.start, []

    def start(thread):
        if thread.name == "django_jobs-loop" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    serve()

    assert manager.wait(manager.add_immediate_job(probes.mark_async), 10) == "awaited"
    assert refused
    run = Run.objects.get()
    assert (run.attempt, run.rescues, run.errors) == (1, 0, None)


def test_a_worker_taken_for_dead_goes_on_under_a_new_name(serve, manager, probes, settings, until):
    settings.DJANGO_JOBS = {"HEARTBEAT_SECONDS": 0.05}
    service = serve()
    old = service.worker.id
    job_id = manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    (execution,) = service.worker.executions()

    Worker.objects.filter(pk=old).update(stopped_at=timezone.now(), was_lost=True)

    until(lambda: execution.context.is_lost)
    until(lambda: Worker.objects.filter(stopped_at__isnull=True).count() == 1)
    # Before that its result would still be taken.
    until(lambda: Run.objects.get().rescues == 1)
    probes.go_on.set()
    assert manager.wait(job_id, 10) == "gone on"
    run = Run.objects.get()
    assert run.worker_id != old
    assert run.rescues == 1


def test_a_dead_processs_runs_are_taken_at_the_next_start(serve, manager, make_run, make_worker, monkeypatch):
    make_worker(id="dead", host=identity.host(), process_key="ended")
    monkeypatch.setattr(identity, "is_gone", lambda key: key == "ended")
    make_run(func="tests.probes.jobs:mark", job_id="x")
    assert claims.claim("dead", limit=1, using="default")

    serve()

    assert manager.wait("x", 10) == "called"
    assert Run.objects.get().rescues == 1


def test_an_ended_lease_is_no_death_at_the_start_of_a_process(serve, make_run, make_worker):
    silent = make_worker(id="silent")
    make_run(func="tests.probes.jobs:mark")
    assert claims.claim("silent", limit=1, using="default")
    # As after an outage that has just ended, for all who live.
    silent.lease_expires_at = timezone.now() - timedelta(seconds=1)
    silent.save()

    service = serve()
    service._maintainer._beat()

    assert Run.objects.get().status == "RUNNING"
    assert Worker.objects.get(pk="silent").stopped_at is None

    # As if the others had had their time since.
    service._maintainer._unsteady_until = 0
    service._maintainer._beat()

    assert Run.objects.get().rescues == 1


@pytest.mark.parametrize(("witnessed", "status"), [(40, "READY"), (5, "RUNNING"), (80, "RUNNING")])
def test_who_was_silent_since_a_process_registered_long_ago_is_dead_at_the_next_start(
    make_run, make_worker, witnessed, status
):
    # Processes that live too short to see a lease out, as `runjobs --drain` once a minute.
    now = timezone.now()
    make_worker(id="silent")
    make_run(func="tests.probes.jobs:mark")
    assert claims.claim("silent", limit=1, using="default")
    Worker.objects.filter(pk="silent").update(lease_expires_at=now - timedelta(seconds=60))
    make_worker(started_at=now - timedelta(seconds=witnessed), stopped_at=now)

    rescue_at_start(transactions.database_now("default"), using="default", max_rescues=3)

    assert Run.objects.get().status == status


def test_a_claim_whose_answer_was_lost_is_handed_back_and_claimed_again(serve, manager, probes, monkeypatch):
    real, calls = claims.claim, []

    def lose_the_answer(*args, **kwargs):
        runs = real(*args, **kwargs)
        if runs and not calls:
            calls.append(runs)
            raise OperationalError("server closed the connection unexpectedly")
        return runs

    # Before it starts: a claim under way would take the job unseen.
    monkeypatch.setattr(claims, "claim", lose_the_answer)
    serve()
    # More than one: a single one begins here without a claim.
    (job_id,) = manager.add_many([(probes.give, [42])])

    assert manager.wait(job_id, 15) == 42
    assert calls
    assert Run.objects.get().attempt == 1


def test_a_hand_back_that_fails_while_unknown_runs_are_looked_for_is_looked_for_again(
    serve, manager, monkeypatch, until
):
    real, looks = claims.held, []

    def look(*args, **kwargs):
        looks.append(args)
        if len(looks) == 1:
            # As another thread's hand-back does that fails at this instant.
            service.worker._may_hold_unknown = True
        return real(*args, **kwargs)

    monkeypatch.setattr(claims, "held", look)
    service = serve()
    service.worker._may_hold_unknown = True

    # What a heartbeat looks for by itself comes much later.
    until(lambda: service.worker.wake() or len(looks) >= 2, timeout=5)


def test_a_result_whose_answer_was_lost_is_finished_and_not_refused(
    serve, manager, probes, monkeypatch, caplog
):
    serve()
    real, calls = outcomes.finish, []

    def lose_the_answer(*args, **kwargs):
        written = real(*args, **kwargs)
        calls.append(set(written))
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return written

    monkeypatch.setattr(outcomes, "finish", lose_the_answer)
    job_id = manager.add_immediate_job(probes.give, 42)

    assert manager.wait(job_id, 15) == 42
    manager.shutdown()
    assert len(calls) == 2
    assert "refused" not in caplog.text


@pytest.mark.timeout(180)
def test_a_run_whose_workers_died_twice_is_executed_where_it_harms_nobody(serve, manager, probes, make_run):
    make_run(func="tests.probes.jobs:kill_process", job_id="culprit", rescues=2)
    make_run(func="tests.probes.jobs:process_id", job_id="bystander", rescues=3)
    serve()

    assert manager.wait("bystander", 60) != os.getpid()
    with pytest.raises(JobFailed, match="its worker died 4 times"):
        manager.wait("culprit", 60)


def test_runs_that_are_executed_apart_take_a_slot_where_they_are_claimed(transactional_db, make_run):
    for _ in range(4):
        make_run(rescues=2)
    worker = worker_module.Worker(using="default", threads=2)
    worker._register(worker.id)
    (consumer,) = worker.consumers
    worker._apart.engine.call = lambda *args: None

    for run in claims.claim(worker.id, limit=2, using="default"):
        worker.execute(run)
    assert worker.free_slots(consumer) == 0
    worker.release_waiting()

    assert worker.free_slots(consumer) == 2
    assert (consumer.taken, worker._apart.taken) == (0, 0)


def test_results_outlive_a_database_that_goes_away(serve, manager, probes, monkeypatch):
    serve()
    real, calls = outcomes.finish, []

    def away(*args, **kwargs):
        calls.append(args)
        if len(calls) < 4:
            raise OperationalError("gone away")
        return real(*args, **kwargs)

    monkeypatch.setattr(outcomes, "finish", away)
    job_id = manager.add_immediate_job(probes.give, 42)

    assert manager.wait(job_id, 15) == 42
    assert len(calls) == 4


def test_claiming_goes_on_after_the_database_was_away_and_says_so_once(
    serve, manager, probes, monkeypatch, caplog, until
):
    service = serve()
    real, calls = claims.claim, []

    def away(*args, **kwargs):
        calls.append(args)
        if len(calls) < 4:
            raise OperationalError("gone away")
        return real(*args, **kwargs)

    monkeypatch.setattr(claims, "claim", away)
    caplog.set_level("WARNING", "django_jobs")
    job_id = manager.add_immediate_job(probes.give, 42)
    service.worker.wake()

    assert manager.wait(job_id, 15) == 42

    def about():
        return [record.message for record in caplog.records if "the database" in record.message]

    until(lambda: len(about()) == 2)
    about = about()
    assert "does not answer" in about[0]
    assert "answers again" in about[1]


def test_one_outcome_that_the_database_refuses_does_not_keep_others_from_being_written(
    serve, manager, probes, monkeypatch
):
    serve()
    real = outcomes.finish

    def picky(ended, **more):
        if any(run.job_id == "bad" and outcome.status == "SUCCESSFUL" for run, outcome in ended):
            raise DataError("cannot store this")
        return real(ended, **more)

    monkeypatch.setattr(outcomes, "finish", picky)
    manager.add_immediate_job(probes.give, 1, job_id="bad")
    good = manager.add_immediate_job(probes.give, 2)

    assert manager.wait(good, 10) == 2
    with pytest.raises(JobFailed, match="refused the outcome"):
        manager.wait("bad", 10)


def test_queued_jobs_survive_until_a_worker_comes(manager, probes, serve):
    ids = [manager.add_immediate_job(probes.mark, str(n)) for n in range(20)]
    connection.close()

    serve()

    assert sorted(manager.wait(job_id, 10) for job_id in ids) == sorted(str(n) for n in range(20))
