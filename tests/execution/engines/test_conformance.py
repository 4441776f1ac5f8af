"""What every engine does with a run, whatever executes it: one suite for all of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import loky
import pytest
from django.db import connections

from django_jobs import Retry
from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.models import Run
from django_jobs.testing import drain_jobs
from tests.execution.engines.conftest import QUICK
from tests.probes.models import Mark

APART = [
    pytest.param(name, marks=pytest.mark.process)
    for name in ("processes", "loky", "celery-rabbitmq", "celery-redis")
]
BACKGROUND = ["threads", "loop", "pool", *APART]
ENGINES = ["inline", *BACKGROUND]
PATHS = {
    "pool": "tests.execution.engines.test_conformance:thread_pool",
    "loky": "tests.execution.engines.test_conformance.loky_pool",
}

on_each_engine = pytest.mark.parametrize("engine", ENGINES, indirect=True)
on_each_in_the_background = pytest.mark.parametrize("engine", BACKGROUND, indirect=True)
on_each_that_is_apart = pytest.mark.parametrize("engine", APART, indirect=True)


def thread_pool(max_workers):
    return ThreadPoolExecutor(max_workers)


def loky_pool(max_workers):
    return loky.ProcessPoolExecutor(max_workers, timeout=60)


@pytest.fixture
def engine(request, transactional_db, settings, manager, serve, until):
    """An engine that runs: `add`, and `wait` for the result, of functions of `tests.probes.conformance`."""
    name = request.param
    queue_name = "engine"
    if name.startswith("celery"):
        queue_name = request.getfixturevalue("fleet_on")(name.partition("-")[2]).queue_name
    else:
        kind = PATHS.get(name, "threads" if name == "loop" else name)
        settings.DJANGO_JOBS = {**QUICK, "ENGINES": {queue_name: kind}, "PROCESSES": 1, "EXECUTOR_RUNS": 2}
    if name == "processes":
        request.getfixturevalue("forked_children")
    service = None if name == "inline" else serve()
    prefix = "async_" if name == "loop" else ""

    def add(function, *args, **options):
        kwargs = options.pop("kwargs", {})
        path = f"tests.probes.conformance:{prefix}{function}"
        return manager.using(queue_name=queue_name, **options).add_immediate_job(path, *args, **kwargs)

    def wait(job_id):
        if name == "inline":
            # What waits for another attempt.
            drain_jobs(deferred=True)
        return manager.wait(job_id, 60)

    return SimpleNamespace(
        name=name,
        queue_name=queue_name,
        prefix=prefix,
        add=add,
        wait=wait,
        pause=lambda: manager.pause_queue(queue_name),
        service=service,
    )


@on_each_engine
def test_a_function_gets_its_arguments_and_its_result_is_kept(engine):
    job_id = engine.add("add", 1, kwargs={"b": 5, "c": 7})

    assert engine.wait(job_id) == 13

    run = Run.objects.get()
    assert (run.status, run.attempt, run.rescues, run.error) == ("SUCCESSFUL", 1, 0, "")
    assert run.enqueued_at <= run.started_at <= run.finished_at


@on_each_engine
def test_plain_and_async_functions_work_on_the_same_database(engine):
    ids = [
        engine.add("mark", "one"),
        engine.add("mark", "two"),
        engine.add("async_mark".removeprefix(engine.prefix), "three"),
    ]

    assert [engine.wait(job_id) for job_id in ids] == ["one", "two", "three"]
    assert set(Mark.objects.values_list("text", flat=True)) == {"one", "two", "three"}


@on_each_engine
def test_an_exception_is_kept_with_its_traceback_and_is_not_tried_again(engine):
    with pytest.raises(JobFailed, match="LookupError: no such customer") as raised:
        engine.wait(engine.add("fail"))

    assert "in fail" in raised.value.traceback
    run = Run.objects.get()
    assert (run.status, run.attempt) == ("FAILED", 1)
    assert run.errors[0]["exception"] == "builtins.LookupError"


@on_each_engine
def test_attempts_go_on_as_the_retry_policy_says(engine):
    policy = Retry(max_attempts=3, backoff="fixed", delay=0.01)

    assert engine.wait(engine.add("fail_until", 3, retry=policy)) == 3

    run = Run.objects.get()
    assert (run.status, run.attempt, run.rescues) == ("SUCCESSFUL", 3, 0)
    assert [entry["error"] for entry in run.errors] == ["ValueError: attempt 1", "ValueError: attempt 2"]


@on_each_engine
def test_a_batch_grows_from_its_own_runs_and_what_waits_is_given_results_and_errors(engine, manager):
    call = f"tests.probes.conformance:{engine.prefix}{{}}".format
    of_engine = manager.using(queue_name=engine.queue_name)
    with of_engine.batch("grown", on_end=(call("add"), [5])) as batch:
        tried = batch.using(retry=Retry(max_attempts=2, delay=0)).add(call("fail_until"), 2)
        grown = batch.add(call("grow"), engine.queue_name, after=tried)
        described = batch.add(call("describe"), batch.add(call("fail")), tried, after_failure="run")

    assert engine.wait(described) == ["JobFailed", 2]
    assert engine.wait(grown) == "grown"
    with pytest.raises(JobFailed, match="of its 6 runs 1 failed"):
        engine.wait(batch.id)
    assert engine.wait(manager.get_batch(batch.id)["jobs"]["end"]) == 7
    assert Run.objects.get(status="FAILED").func == call("fail")
    assert set(Run.objects.values_list("queue_name", flat=True)) == {engine.queue_name}


@on_each_engine
def test_a_function_whose_time_is_over_is_ended(engine):
    with pytest.raises(JobFailed, match=r"RunTimeout: longer than its limit of 0.5 s"):
        engine.wait(engine.add("work", timeout=0.5))

    assert Run.objects.get().status == "FAILED"


@on_each_engine
def test_a_result_that_cannot_be_stored_fails_the_run(engine):
    with pytest.raises(JobFailed, match="InvalidArgument: the result is a object"):
        engine.wait(engine.add("unstorable"))


@on_each_engine
def test_a_function_knows_its_run_and_what_it_says_is_kept(engine):
    job_id = engine.add("report", "this")

    result = engine.wait(job_id)

    run = Run.objects.get()
    assert result == {"job_id": job_id, "run_id": run.pk, "attempt": 1, "queue": engine.queue_name}
    assert run.progress == {"done": 4, "total": 4, "message": "all"}
    assert run.log.endswith("began with this")


@on_each_engine
def test_a_run_goes_on_with_what_it_keeps_after_a_failure_a_sleep_and_a_wait(engine, manager, until):
    Mark.objects.bulk_create([Mark(text="row") for _ in range(3)])
    job_id = engine.add("go_on", retry=Retry(max_attempts=2, delay=0.01))
    if engine.name == "inline":
        drain_jobs(deferred=True)
    until(lambda: Run.objects.get().state == "sleeping", timeout=60)

    assert manager.send_event(f"sent:{Run.objects.get().pk}", "now") == 1

    assert engine.wait(job_id) == ["step", "now", ["row"] * 3, 40]
    run = Run.objects.get()
    assert (run.attempt, run.rescues, len(run.errors)) == (2, 0, 1)
    assert Mark.objects.filter(text="step").count() == 1
    assert run.progress["done"] == 3


@on_each_engine
def test_an_atomic_function_is_one_commit_with_its_outcome_or_refused(engine):
    if engine.name == "loop":
        with pytest.raises(TypeError, match="sync_to_async"):
            engine.add("mark_and_fail_until", 2, atomic=True)
        return

    job_id = engine.add("mark_and_fail_until", 2, atomic=True, retry=Retry(max_attempts=2, delay=0.01))

    assert engine.wait(job_id) == 2
    assert (Run.objects.get().attempt, Mark.objects.count()) == (2, 1)


@on_each_in_the_background
def test_progress_is_seen_while_a_function_runs_and_it_can_be_cancelled(engine, manager, until):
    job_id = engine.add("work_and_tell")
    until(lambda: Run.objects.get().progress, timeout=60)
    assert Run.objects.get().progress == {"done": 1, "total": 4, "message": "a quarter"}

    assert manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        engine.wait(job_id)


@on_each_in_the_background
def test_a_function_that_does_not_listen_is_cancelled_too(engine, manager, until):
    job_id = engine.add("work")
    until(lambda: Mark.objects.filter(text="begun"), timeout=60)

    assert manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        engine.wait(job_id)


@on_each_engine
def test_a_paused_queue_waits_and_what_is_cancelled_before_it_began_never_runs(engine, manager):
    engine.pause()
    cancelled, other = engine.add("mark", "cancelled"), engine.add("mark", "other")
    assert manager.cancel_job(cancelled)
    assert Run.objects.get(job_id=other).status == "READY"

    manager.resume_queue(engine.queue_name)

    assert engine.wait(other) == "other"
    with pytest.raises(JobCancelled):
        engine.wait(cancelled)
    assert [mark.text for mark in Mark.objects.all()] == ["other"]


@on_each_that_is_apart
def test_a_run_whose_process_crashed_is_executed_again(engine):
    assert engine.wait(engine.add("crash_until", 2)) == 2

    run = Run.objects.get()
    assert (run.status, run.attempt, run.rescues) == ("SUCCESSFUL", 2, 1)
    assert run.errors[0]["error"].startswith("WorkerDied: ")


@on_each_that_is_apart
def test_a_run_that_crashes_each_time_fails_in_the_end(engine):
    with pytest.raises(JobFailed, match="its worker died 4 times"):
        engine.wait(engine.add("crash_until", 99))

    assert engine.wait(engine.add("add", 1)) == 3


@on_each_that_is_apart
def test_a_run_that_may_begin_only_once_fails_when_its_process_crashed(engine):
    with pytest.raises(JobFailed, match="at_most_once forbids another attempt"):
        engine.wait(engine.add("crash_until", 2, at_most_once=True))

    assert Run.objects.get().attempt == 1


@on_each_in_the_background
def test_shutdown_leaves_what_has_not_begun_to_others(engine, manager, settings, until):
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "SHUTDOWN_SECONDS": 0.2}
    engine.pause()
    ids = [engine.add("add", number, priority=number) for number in range(20)]

    def stop():
        try:
            manager.shutdown()
        finally:
            connections.close_all()

    def left():
        return set(Run.objects.exclude(status="SUCCESSFUL").values_list("status", "attempt", "rescues"))

    stopper = threading.Thread(target=stop)
    manager.resume_queue(engine.queue_name)
    stopper.start()
    stopper.join(60)
    assert not stopper.is_alive()

    # Celery's workers go on with what they were told of.
    until(lambda: left() <= {("READY", 0, 0)}, timeout=60)
    assert Run.objects.count() == len(ids)
