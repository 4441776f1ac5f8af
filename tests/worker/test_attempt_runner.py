import os
import threading

import pytest

from django_jobs.exceptions import JobFailed
from django_jobs.execution.attempt import Attempt
from django_jobs.storage import claims
from django_jobs.worker.worker import Worker as WorkerOfProcess


def test_a_mistake_in_the_engine_fails_its_run_and_leaves_the_slot_free(
    serve, manager, probes, monkeypatch, until
):
    service = serve(threads=1)
    real = Attempt.start_clock

    def fail(execution):
        real(execution)
        raise LookupError("a mistake of ours")

    monkeypatch.setattr(Attempt, "start_clock", fail)
    job_id = manager.add_immediate_job(probes.nothing)
    with pytest.raises(JobFailed, match="LookupError: a mistake of ours"):
        manager.wait(job_id, 10)

    until(lambda: service.worker.consumers[0].taken == 0)
    monkeypatch.setattr(Attempt, "start_clock", real)
    assert manager.wait(manager.add_immediate_job(probes.give, 1), 10) == 1


def test_a_run_that_no_thread_can_be_started_for_goes_back_and_is_executed_later(
    serve, manager, probes, monkeypatch, until
):
    serve(threads=1)
    real, refused = threading.Thread.start, []

    def start(thread):
        if thread.name.startswith("django_jobs-run") and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    first = manager.add_immediate_job(probes.give, 1)
    until(lambda: refused)

    assert manager.wait(manager.add_immediate_job(probes.give, 2), 20) == 2
    assert manager.wait(first, 20) == 1


@pytest.mark.timeout(180)
def test_a_run_whose_workers_died_twice_is_executed_where_it_harms_nobody(serve, manager, probes, make_run):
    make_run(func="tests.probes.jobs:kill_process", job_id="culprit", rescues=2)
    make_run(func="tests.probes.jobs:process_id", job_id="bystander", rescues=3)
    serve()

    assert manager.wait("bystander", 60) != os.getpid()
    with pytest.raises(JobFailed, match="its worker died 4 times"):
        manager.wait("culprit", 60)


def test_runs_in_quarantine_take_a_slot_where_they_are_claimed(transactional_db, make_run):
    for _ in range(4):
        make_run(rescues=2)
    worker = WorkerOfProcess(using="default", threads=2)
    worker.register()
    (consumer,) = worker.consumers
    worker.consumers.quarantine.engine.call = lambda *args: None

    for run in claims.claim(worker.id, limit=2, using="default"):
        worker.runner.accept(run)
    assert worker.free_slots(consumer) == 0
    worker.release.waiting()

    assert worker.free_slots(consumer) == 2
    assert (consumer.taken, worker.consumers.quarantine.taken) == (0, 0)
