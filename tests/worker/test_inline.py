import threading

import pytest
from django.db import transaction
from django.utils import timezone

from django_jobs import Retry
from django_jobs.conf import jobs_settings
from django_jobs.models import Run, Worker
from django_jobs.testing import capture_jobs, drain_jobs
from tests.probes import conformance, hostile, jobs
from tests.probes.models import Mark


@pytest.fixture
def script(settings, manager):
    """A view of a manager whose queue is executed where jobs are added."""
    settings.DJANGO_JOBS = {"ENGINES": {"script": "inline"}}
    return manager.using(queue_name="script")


def status(job_id):
    return Run.objects.get(job_id=job_id).status


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_a_job_is_done_when_the_call_returns(script, manager):
    job_id = script.add_immediate_job(conformance.thread_id)

    assert manager.wait(job_id, 0) == threading.get_ident()
    assert not Worker.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_it_is_done_when_that_commits(script):
    with transaction.atomic():
        job_id = script.add_immediate_job(jobs.mark)
        assert status(job_id) == "READY"

    assert status(job_id) == "SUCCESSFUL"


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_job_is_never_done(script):
    with transaction.atomic():
        script.add_immediate_job(jobs.mark)
        transaction.set_rollback(True)

    assert not Mark.objects.exists()
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_it_raises_is_its_outcome_and_not_the_callers(script):
    job_id = script.add_immediate_job(jobs.fail)

    assert status(job_id) == "FAILED"


@pytest.mark.django_db(transaction=True)
def test_a_job_that_adds_another_has_it_done_first(script, manager):
    job_id = script.add_immediate_job(conformance.add_in_turn, "inner")

    assert manager.wait(job_id, 0) == ["SUCCESSFUL", job_id]


@pytest.mark.django_db(transaction=True)
def test_all_ways_to_add_work_now_have_it_done(script, manager):
    script.add_many([(jobs.give, [1]), (jobs.give, [2])])
    named = script.add_immediate_job(jobs.give, 3, job_id="named")
    manager.run_job(named)
    script.add_recurring_job(jobs.give, 3600, 4, job_id="hourly")
    manager.run_job("hourly")

    assert list(Run.objects.order_by("pk").values_list("status", "result")) == [
        ("SUCCESSFUL", result) for result in "12334"
    ]


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_its_time_or_another_try_stays_for_a_worker_or_a_drain(script):
    scheduled = script.add_scheduled_job(jobs.mark, timezone.now())
    retried = script.using(retry=Retry(max_attempts=2, delay=60)).add_immediate_job(jobs.fail_until, 2)
    assert not Run.objects.filter(job_id=scheduled).exists()
    assert status(retried) == "READY"

    drain_jobs(deferred=True)

    assert status(scheduled) == status(retried) == "SUCCESSFUL"


def test_beside_a_worker_a_job_is_done_too_when_the_call_returns(script, serve, manager):
    serve()

    ids = [script.add_immediate_job(conformance.thread_id) for _ in range(20)]

    assert [status(job_id) for job_id in ids] == ["SUCCESSFUL"] * 20


def test_a_worker_has_what_is_to_be_tried_again(script, serve, manager):
    serve()

    retried = script.using(retry=Retry(max_attempts=2, delay=0)).add_immediate_job(jobs.fail_until, 2)

    assert manager.wait(retried, 30) == 2


@pytest.mark.django_db
def test_in_a_test_that_never_commits_it_waits_for_a_drain(script):
    with capture_jobs() as captured:
        job_id = script.add_immediate_job(jobs.give, 1)
        assert status(job_id) == "READY"

        captured.drain()

    assert status(job_id) == "SUCCESSFUL"


def test_async_code_may_add_one_too(script, manager, transactional_db, run_async):
    async def view():
        return await script.aadd_immediate_job(jobs.mark_async), script.add_immediate_job(jobs.give, 1)

    first, second = run_async(view())

    assert status(first) == status(second) == "SUCCESSFUL"


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_retried_by_hand_is_executed_there(script, manager, make_run):
    run = make_run(queue_name="script", status="FAILED", func="tests.probes.jobs:mark")

    assert manager.retry_run(run.pk)

    assert Run.objects.get().status == "SUCCESSFUL"


@pytest.mark.django_db(transaction=True)
def test_what_waits_in_a_queue_that_is_resumed_is_executed_there(script, manager):
    manager.pause_queue("script")
    job_id = script.add_immediate_job(jobs.mark)
    assert status(job_id) == "READY"

    manager.resume_queue("script")

    assert status(job_id) == "SUCCESSFUL"


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_in_it_leaves_a_short_lease_and_no_clock(script, manager):
    job_id = script.add_immediate_job(hostile.see_worker)

    has_clock, seconds = manager.wait(job_id, 0)

    assert not has_clock
    assert seconds <= jobs_settings().LEASE_SECONDS


@pytest.mark.django_db(transaction=True)
def test_its_lease_is_extended_while_it_runs(script, manager, settings):
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "HEARTBEAT_SECONDS": 0.2, "LEASE_SECONDS": 2}

    job_id = script.add_immediate_job(hostile.outlive_a_lease)

    assert status(job_id) == "SUCCESSFUL"


@pytest.mark.django_db
@pytest.mark.parametrize(("robust", "ended"), [(True, "SUCCESSFUL"), (False, "FAILED")])
def test_what_a_callback_on_commit_raises_ends_a_drained_job_and_no_caller(robust, ended, manager):
    manager.add_immediate_job(hostile.fail_on_commit, robust)

    (executed,) = drain_jobs()

    assert executed.status == Run.objects.get().status == ended


@pytest.mark.django_db(transaction=True)
def test_a_transaction_begun_by_hand_and_left_open_is_rolled_back_there(script, manager):
    job_id = script.add_immediate_job(hostile.begin_by_hand)

    assert status(job_id) == "FAILED"
    assert not Mark.objects.exists()
