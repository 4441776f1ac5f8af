import pytest

from django_jobs import Retry
from django_jobs.exceptions import JobFailed
from django_jobs.models import Run


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
    until(lambda: not service.worker.attempts())


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


@pytest.mark.django_db(transaction=True)
def test_a_job_that_needs_the_main_thread_fails_with_the_way_out(serve, manager, probes):
    serve(threads=1)

    with pytest.raises(JobFailed, match='a queue with the engine "processes" runs them in the main thread'):
        manager.wait(manager.add_immediate_job(probes.hear_signals), 20)
