import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from django_jobs.exceptions import JobFailed
from django_jobs.models import Run
from tests.execution.engines import test_conformance

made = []


def noted_pool(max_workers):
    made.append(ThreadPoolExecutor(max_workers, thread_name_prefix="noted"))
    return made[-1]


def loky_pool(max_workers):
    made.append(test_conformance.loky_pool(max_workers))
    return made[-1]


def no_pool(max_workers):
    raise OSError("no room for a pool")


@pytest.fixture
def serve_own(serve, settings):
    """Return a function that starts a worker whose queue "own" has an executor of this module's."""
    made.clear()

    def start(factory, **more):
        path = f"tests.execution.engines.test_executors:{factory}"
        settings.DJANGO_JOBS = {"ENGINES": {"own": path, "same": path}, "EXECUTOR_RUNS": 2, **more}
        return serve()

    return start


@pytest.fixture
def own(manager):
    return manager.using(queue_name="own")


def test_it_is_made_once_for_all_its_queues_with_as_many_workers_as_runs(serve_own, manager, own, probes):
    serve_own("noted_pool")
    assert made == []

    for view in (own, own, manager.using(queue_name="same")):
        manager.wait(view.add_immediate_job(probes.nothing), 30)

    assert [pool._max_workers for pool in made] == [2]
    assert all(thread.name.startswith("noted") for thread in made[0]._threads)


def test_no_more_is_claimed_than_it_executes_at_once(serve_own, manager, own, probes, until):
    serve_own("noted_pool")
    ids = [own.add_immediate_job(probes.wait_until_told) for _ in range(4)]
    until(lambda: Run.objects.filter(status="RUNNING").count() == 2)

    manager.wait(manager.add_immediate_job(probes.nothing), 30)

    assert Run.objects.filter(status="READY").count() == 2
    for job_id in ids:
        manager.cancel_job(job_id)


def test_its_threads_give_their_connections_back(serve_own, manager, own, probes):
    serve_own("noted_pool")
    manager.wait(own.add_immediate_job(probes.mark), 30)

    assert made[0].submit(lambda: connection.connection).result(10) is None


def test_a_shut_down_executor_is_made_anew_and_the_run_is_none_the_worse(serve_own, manager, own, probes):
    serve_own("noted_pool")
    manager.wait(own.add_immediate_job(probes.nothing), 30)
    made[0].shutdown()

    manager.wait(own.add_immediate_job(probes.nothing, job_id="next"), 30)

    assert len(made) == 2
    assert (Run.objects.get(job_id="next").attempt, Run.objects.get(job_id="next").rescues) == (1, 0)


def test_a_broken_executor_fails_its_own_runs_only_and_is_made_anew(serve_own, manager, own, probes):
    serve_own("loky_pool", MAX_RESCUES=0)
    crashing = own.add_immediate_job(probes.kill_process)
    here = manager.add_immediate_job(probes.process_id)

    with pytest.raises(JobFailed, match="its worker died 1 times: its executor broke"):
        manager.wait(crashing, 60)

    assert manager.wait(here, 30) == os.getpid()
    assert manager.wait(own.add_immediate_job(probes.process_id), 60) != os.getpid()
    assert len(made) == 2


def test_an_executor_that_cannot_be_made_fails_its_runs_and_says_why(serve_own, manager, own, probes):
    serve_own("no_pool", MAX_RESCUES=0)

    with pytest.raises(JobFailed, match="no_pool made no executor: OSError: no room for a pool"):
        manager.wait(own.add_immediate_job(probes.nothing), 30)


def test_it_is_shut_down_with_the_worker(serve_own, manager, own, probes):
    serve_own("noted_pool")
    manager.wait(own.add_immediate_job(probes.nothing), 30)

    manager.shutdown()

    with pytest.raises(RuntimeError, match="after shutdown"):
        made[0].submit(print)
    for thread in threading.enumerate():
        if thread.name.startswith(("django_jobs-executor", "noted")):
            thread.join(10)
            assert not thread.is_alive()
