import threading
from concurrent.futures import Future

import pytest

from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.execution.engines.event_loop import LoopEngine
from django_jobs.models import Run
from django_jobs.worker import attempt_runner


def test_many_async_jobs_wait_at_the_same_time(serve, manager, probes, monkeypatch):
    monkeypatch.setitem(probes.at_once, "most", 0)
    serve(threads=2)

    ids = manager.add_many([(probes.count_at_once, [0.5]) for _ in range(50)])
    for job_id in ids:
        manager.wait(job_id, 20)

    # As many as begin within half a second, and not two.
    assert probes.at_once["most"] > 2


def test_no_more_async_functions_are_awaited_at_once_than_are_allowed(
    serve, manager, probes, settings, monkeypatch
):
    settings.DJANGO_JOBS = {"ASYNC_RUNS": 2}
    monkeypatch.setitem(probes.at_once, "most", 0)
    # One that waits for its turn is not out of time.
    ids = manager.using(timeout=2).add_many([(probes.count_at_once, [0.3]) for _ in range(20)])

    service = serve()
    for job_id in ids:
        manager.wait(job_id, 30)

    assert probes.at_once["most"] == 2
    assert [consumer.taken for consumer in service.worker.consumers] == [0]


def test_an_async_run_that_waits_for_its_turn_can_be_cancelled(serve, manager, probes, settings, until):
    settings.DJANGO_JOBS = {"ASYNC_RUNS": 1}
    manager.add_many([(probes.rest, [2]) for _ in range(5)])
    service = serve()
    # All but the one that is awaited.
    until(lambda: len(service.worker.holdings.waiting()) == 4)
    waiting = service.worker.holdings.waiting()[-1].run.job_id

    manager.cancel_job(waiting)

    with pytest.raises(JobCancelled):
        manager.wait(waiting, 10)
    assert Run.objects.get(job_id=waiting).error == "cancelled before it began"


def test_an_async_run_whose_awaiting_fails_is_failed(serve, manager, probes, monkeypatch):
    serve()

    def submit(loop, begin, **more):
        future = Future()
        future.cancel()
        return future

    monkeypatch.setattr(LoopEngine, "submit", submit)
    job_id = manager.add_immediate_job(probes.rest, 0)

    with pytest.raises(JobFailed, match="CancelledError"):
        manager.wait(job_id, 10)


def test_an_async_run_whose_loop_cannot_be_started_goes_back_and_is_executed_later(
    serve, manager, probes, monkeypatch
):
    monkeypatch.setattr(attempt_runner, "REFUSED_SECONDS", 0.05)
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
