import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.execution import instrumentation, stopping
from django_jobs.execution.engines import processes as engine
from django_jobs.models import Run, Worker
from django_jobs.storage import identity
from django_jobs.worker import attempt_runner
from tests.probes.models import Mark

ROOT = Path(__file__).parents[3]


@pytest.fixture
def serve_apart(serve, settings, forked_children):
    """Return a function that starts a worker that executes the queue "apart" in child processes."""

    def start(processes=1, **more):
        settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": processes, **more}
        return serve()

    return start


@pytest.fixture
def apart(manager):
    return manager.using(queue_name="apart")


def children(service):
    return [child._process for child in service.worker.consumers[1].pool._all]


def test_a_run_is_executed_in_another_process_and_its_result_kept(serve, settings, manager, apart, probes):
    # Started in full, as users' are.
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    serve()

    elsewhere = manager.wait(apart.add_immediate_job(probes.process_id), 30)
    here = manager.wait(manager.add_immediate_job(probes.process_id), 30)

    assert here == os.getpid() != elsewhere
    assert manager.wait(apart.add_immediate_job(probes.add, 1, b=5, c=7), 30) == 13
    assert manager.wait(apart.add_immediate_job(probes.process_id), 30) == elsewhere


def test_a_process_that_ends_in_the_middle_of_its_outcome_has_died(
    serve_apart, manager, apart, probes, monkeypatch, tmp_path, until
):
    speaker = tmp_path / "speaker"
    speaker.write_text("""#!/bin/sh\nread databases; read run; printf '["outcome", {"sta'\n""")
    speaker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(speaker))
    service = serve_apart()

    with pytest.raises(JobFailed, match="exited with 0"):
        manager.wait(apart.using(at_most_once=True).add_immediate_job(probes.nothing), 15)

    assert children(service) == []
    until(lambda: not service.worker.attempts())


def test_it_works_on_the_same_database_and_async_functions_are_jobs_too(serve_apart, manager, apart, probes):
    serve_apart()

    assert manager.wait(apart.add_immediate_job(probes.mark_async, "awaited"), 30) == "awaited"
    assert Mark.objects.get().text == "awaited"


def test_what_a_function_says_of_itself_comes_through(serve_apart, manager, apart, probes):
    serve_apart()

    result = manager.wait(apart.add_immediate_job(probes.report, job_id="r"), 30)

    assert result == {"job_id": "r", "attempt": 1, "queue": "apart"}
    run = Run.objects.get()
    assert run.progress == {"done": 1, "total": 4, "message": "first quarter"}
    assert run.log.endswith("began with this")


def test_what_a_function_prints_disturbs_nobody(serve_apart, manager, apart, probes):
    serve_apart()

    assert manager.wait(apart.add_immediate_job(probes.print_json), 30) == "printed"


def test_an_exception_is_kept_with_its_traceback(serve_apart, manager, apart, probes):
    serve_apart()

    with pytest.raises(JobFailed, match="ValueError: no paper") as raised:
        manager.wait(apart.add_immediate_job(probes.fail, "no paper"), 30)

    assert "raise ValueError(message)" in raised.value.traceback


@pytest.mark.timeout(180)
def test_a_crash_rescues_its_run_only_and_ends_it_when_its_rescues_are_used_up(
    serve_apart, manager, apart, probes
):
    service = serve_apart(processes=2)
    worker_id = service.worker.id

    crashing = apart.add_immediate_job(probes.kill_process)
    others = [apart.add_immediate_job(probes.give, number) for number in range(10)]

    assert [manager.wait(job_id, 60) for job_id in others] == list(range(10))
    with pytest.raises(JobFailed, match="its worker died 4 times: its process exited with 7"):
        manager.wait(crashing, 90)
    run = Run.objects.get(job_id=crashing)
    assert (run.attempt, run.rescues) == (4, 4)
    assert [entry["error"] for entry in run.errors[:3]] == ["WorkerDied: its process exited with 7"] * 3
    assert Worker.objects.get().pk == worker_id
    assert Worker.objects.get().stopped_at is None


def test_a_crash_of_an_at_most_once_run_fails_it(serve_apart, manager, apart, probes):
    serve_apart()

    with pytest.raises(JobFailed, match="exited with 7, and at_most_once forbids another attempt"):
        manager.wait(apart.using(at_most_once=True).add_immediate_job(probes.kill_process), 30)


def test_the_process_of_a_run_that_cannot_be_interrupted_is_killed_when_its_time_is_over(
    serve_apart, manager, apart, probes, monkeypatch
):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.5)
    serve_apart()
    before = manager.wait(apart.add_immediate_job(probes.process_id), 30)

    began = time.monotonic()
    with pytest.raises(JobFailed, match=r"RunTimeout: longer than its limit of 0.2 s"):
        manager.wait(apart.using(timeout=0.2).add_immediate_job(probes.sleep, 60), 30)

    assert time.monotonic() - began < 20
    assert manager.wait(apart.add_immediate_job(probes.process_id), 30) != before


def test_a_run_whose_process_is_killed_is_observed_here(serve_apart, manager, apart, probes, monkeypatch):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.5)
    seen = []

    class Notes(instrumentation.Observer):
        def adding(self, runs):
            return contextlib.nullcontext()

        def begin(self, run):
            return lambda outcome, error: seen.append((run.job_id, outcome.status, repr(error)))

    observer = Notes()
    instrumentation.add_observer(observer)
    try:
        serve_apart()
        manager.wait(apart.add_immediate_job(probes.nothing), 30)
        killed = apart.using(timeout=0.2).add_immediate_job(probes.sleep, 60)
        with pytest.raises(JobFailed, match="RunTimeout"):
            manager.wait(killed, 30)
    finally:
        instrumentation.remove_observer(observer)

    assert seen == [(killed, "FAILED", "TimeoutError('RunTimeout: longer than its limit of 0.2 s')")]


def test_a_run_that_never_asks_is_interrupted_and_its_process_goes_on(serve_apart, manager, apart, probes):
    serve_apart()
    before = manager.wait(apart.add_immediate_job(probes.process_id), 30)

    with pytest.raises(JobFailed, match="RunTimeout") as raised:
        manager.wait(apart.using(timeout=0.2).add_immediate_job(probes.work_without_asking), 30)

    assert "in work_without_asking" in raised.value.traceback
    assert manager.wait(apart.add_immediate_job(probes.process_id), 30) == before


def test_a_function_elsewhere_hears_that_it_is_cancelled(serve_apart, manager, apart, probes, until):
    serve_apart()
    job_id = apart.add_immediate_job(probes.wait_until_told)
    until(lambda: Run.objects.get().status == "RUNNING")

    manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 30)


def test_shutdown_lets_a_run_elsewhere_finish_and_ends_its_process(
    serve_apart, manager, apart, probes, until
):
    service = serve_apart()
    job_id = apart.add_immediate_job(probes.sleep, 1)
    until(lambda: Run.objects.get().status == "RUNNING")
    until(lambda: children(service))
    (process,) = children(service)

    manager.shutdown()

    assert manager.get_job(job_id)["status"] == "successful"
    assert process.poll() is not None


def test_shutdown_at_its_limit_hands_back_and_ends_the_process(serve_apart, manager, apart, probes, until):
    service = serve_apart(SHUTDOWN_SECONDS=0.2)
    apart.add_immediate_job(probes.sleep, 60)
    until(lambda: Run.objects.get().status == "RUNNING")
    until(lambda: children(service))
    (process,) = children(service)

    manager.shutdown()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.rescues) == ("READY", 0, 0)
    process.wait(10)


def test_shutdown_at_its_limit_ends_what_must_not_begin_twice(serve_apart, manager, apart, probes, until):
    service = serve_apart(SHUTDOWN_SECONDS=0.2)
    apart.using(at_most_once=True).add_immediate_job(probes.sleep, 60)
    until(lambda: Run.objects.get().status == "RUNNING")
    until(lambda: children(service))

    manager.shutdown()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.rescues) == ("FAILED", 1, 0)
    assert "at_most_once" in run.error


def test_no_more_is_claimed_than_there_are_processes(serve_apart, manager, apart, probes, until):
    service = serve_apart(processes=1)
    for _ in range(3):
        apart.add_immediate_job(probes.wait_until_told)
    until(lambda: Run.objects.filter(status="RUNNING").exists())

    manager.wait(manager.add_immediate_job(probes.nothing), 30)

    assert Run.objects.filter(queue_name="apart", status="READY").count() == 2
    assert service.worker.consumers[1].taken == 1
    for run in Run.objects.filter(queue_name="apart"):
        manager.cancel_job(run.job_id)


def test_children_end_when_their_parent_is_killed(spawn, manager, apart, probes, until):
    parent = spawn(
        sys.executable, str(ROOT / "testproject" / "manage.py"), "runjobs",
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "TESTS_DJANGO_JOBS": '{"ENGINES": {"apart": "processes"}}'},
    )  # fmt: skip
    child = manager.wait(apart.add_immediate_job(probes.process_id), 60)
    assert child != parent.pid
    key = f"{identity._place()}/{child}/{identity._started(child)}"

    parent.kill()

    until(lambda: identity.is_gone(key), timeout=60)


def test_threads_that_attend_to_processes_end_with_the_worker(serve_apart, manager, apart, probes):
    serve_apart()
    manager.wait(apart.add_immediate_job(probes.nothing), 30)

    manager.shutdown()

    for thread in threading.enumerate():
        if thread.name.startswith("django_jobs-process"):
            thread.join(5)
            assert not thread.is_alive()


def test_a_process_is_replaced_after_as_many_runs_as_it_may_have(serve_apart, manager, apart, probes):
    service = serve_apart(MAX_RUNS_PER_CHILD=2)

    ids = [manager.wait(apart.add_immediate_job(probes.process_id), 30) for _ in range(5)]

    assert ids[0] == ids[1] != ids[2] == ids[3] != ids[4]
    assert len(children(service)) == 1
    for pid in {*ids[:4]}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_run_whose_process_cannot_be_started_goes_back_and_is_executed_later(
    serve_apart, manager, apart, probes, monkeypatch
):
    monkeypatch.setattr(attempt_runner, "REFUSED_SECONDS", 0.05)
    real, refused = engine.subprocess.Popen, []

    def refuse_once(*args, **kwargs):
        if not refused:
            refused.append(args)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*args, **kwargs)

    monkeypatch.setattr(engine.subprocess, "Popen", refuse_once)
    serve_apart()

    assert manager.wait(apart.add_immediate_job(probes.add, 1, b=5, c=7), 30) == 13
    assert refused
    run = Run.objects.get()
    assert (run.attempt, run.rescues) == (1, 0)


def test_a_job_that_needs_the_main_thread_has_it_there(serve_apart, manager, apart, probes):
    serve_apart()

    assert manager.wait(apart.add_immediate_job(probes.hear_signals), 30) == "heard"
