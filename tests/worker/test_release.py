import threading

import pytest
from django.db import OperationalError, transaction

from django_jobs.exceptions import JobFailed
from django_jobs.models import Run, Worker
from django_jobs.storage import outcomes
from django_jobs.worker import release
from tests.probes.models import Mark


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


def test_what_a_worker_claimed_with_runs_that_turn_out_long_is_handed_back(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    service = serve(threads=2)
    service.worker.consumers[0].seconds_per_run = 1e-5
    once = manager.using(at_most_once=True, priority=-1)
    with transaction.atomic():
        manager.add_many((probes.wait_for_go, (20,)) for _ in range(2))
        waiting = once.add_many((probes.mark, (str(n),)) for n in range(20))
    assert probes.began.wait(10)

    manager.shutdown()
    probes.go_on.set()

    runs = Run.objects.filter(job_id__in=waiting)
    assert {(run.status, run.attempt, run.errors) for run in runs} == {("READY", 0, None)}
    assert not Mark.objects.exists()


def test_runs_do_not_wait_behind_a_long_one_of_their_claim(serve, manager, probes):
    service = serve(threads=2)
    service.worker.consumers[0].seconds_per_run = 1e-5
    with transaction.atomic():
        (first,) = manager.using(priority=1).add_many([(probes.wait_for_go, (60,))])
        others = manager.add_many((probes.give, (n,)) for n in range(20))

    assert [manager.wait(job_id, 30) for job_id in others] == list(range(20))

    assert manager.get_job(first)["status"] == "running"
    probes.go_on.set()
    assert manager.wait(first, 30)


def test_shutdown_tells_functions_at_its_limit_and_hands_their_runs_back(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.2}
    serve()
    manager.add_immediate_job(probes.raise_when_told)
    assert probes.began.wait(10)

    manager.shutdown()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.worker_id) == ("READY", 0, "")


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
    monkeypatch.setattr(release, "MOST_INTERRUPTIONS", 2)
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
    monkeypatch.setattr(release, "MOST_INTERRUPTIONS", 1)
    entry = {"attempt": 1, "worker_id": "w", "error": "WorkerStopped: its worker stopped", "traceback": ""}
    make_run(func="tests.probes.jobs:wait_for_go", job_id="long", status="FAILED", errors=[entry, entry])
    assert manager.retry_job("long")
    serve()
    assert probes.began.wait(10)

    manager.shutdown()
    probes.go_on.set()

    run = Run.objects.get()
    assert (run.status, run.attempt) == ("READY", 1)
