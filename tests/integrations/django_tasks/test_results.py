from datetime import timedelta

import pytest
from django.db.models import Q
from django.utils import timezone

from django_jobs import JobCancelled, JobFailed
from django_jobs.exceptions import BadPayload, FunctionNotFound
from django_jobs.integrations.django_tasks import results
from django_jobs.models import Run
from django_jobs.registry import functions
from django_jobs.storage import transitions


@pytest.fixture
def change():
    """Return a function that changes the only run's row."""

    def update(**columns):
        assert Run.objects.update(**columns) == 1

    return update


def entry(attempt, error="ValueError: no", exception="builtins.ValueError", minutes=0):
    began = timezone.now() + timedelta(minutes=minutes)
    return {
        "attempt": attempt,
        "worker_id": f"worker-{attempt}",
        "started_at": began.isoformat(),
        "finished_at": began.isoformat(),
        "error": error,
        "traceback": "",
        "exception": exception,
    }


@pytest.mark.parametrize("result_id", ["123", "", "a\x00b", "x" * 300, 5])
def test_an_id_that_leads_nowhere_is_no_result(tasks, db, framework, result_id):
    with pytest.raises(framework.exceptions.TaskResultDoesNotExist):
        tasks.give.get_result(result_id)


def test_a_plain_job_is_no_result(tasks, db, manager, framework):
    job_id = manager.add_immediate_job("tests.probes.jobs:nothing")

    with pytest.raises(framework.exceptions.TaskResultDoesNotExist):
        tasks.give.get_result(job_id)


def test_a_result_of_another_task_is_a_mismatch(tasks, db, framework):
    result = tasks.mark.enqueue()

    with pytest.raises(framework.exceptions.TaskResultMismatch):
        tasks.give.get_result(result.id)
    assert tasks.give.get_backend().get_result(result.id).task == tasks.mark


def test_the_id_of_a_result_is_that_of_its_job(tasks, db, manager):
    result = tasks.give.using(priority=3).enqueue(1)

    job = manager.get_job(result.id)

    assert (job["status"], job["priority"], job["args"], job["kind"]) == ("queued", 3, [1], "immediate")


def test_a_task_that_was_cancelled_while_it_waited_failed_and_says_so(tasks, db, manager):
    result = tasks.give.enqueue()

    assert manager.cancel_job(result.id)
    result.refresh()

    assert (result.status, result.attempts) == ("FAILED", 0)
    assert result.finished_at is not None
    (error,) = result.errors
    assert error.exception_class is JobCancelled
    assert f"job '{result.id}' was cancelled" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018


def test_why_a_task_was_cancelled_is_said(tasks, db):
    result = tasks.give.enqueue()

    transitions.cancel_waiting(Q(job_id=result.id), "removed", using="default")
    result.refresh()

    assert result.errors[0].traceback.endswith(": removed\n")


def test_a_task_that_is_retried_by_hand_waits_again_with_its_history(tasks, db, manager, change):
    result = tasks.give.enqueue()
    change(status="FAILED", attempt=1, errors=[entry(1)], started_at=timezone.now(), worker_id="worker-1")

    assert manager.retry_job(result.id)
    result.refresh()

    assert (result.status, result.worker_ids, len(result.errors)) == ("READY", ["worker-1"], 1)
    assert result.finished_at is None


def test_a_paused_task_waits(tasks, db, manager):
    result = tasks.give.enqueue()

    manager.pause_job(result.id)
    result.refresh()

    assert result.status == "READY"


def test_times_and_workers_are_those_of_all_attempts(tasks, db, change):
    result = tasks.give.enqueue()
    last = timezone.now()
    change(
        status="RUNNING", attempt=3, worker_id="worker-3", started_at=last,
        errors=[entry(1, minutes=-2), entry(2, minutes=-1)],
    )  # fmt: skip

    result.refresh()

    assert result.status == "RUNNING"
    assert result.worker_ids == ["worker-1", "worker-2", "worker-3"]
    assert result.attempts == 3
    assert timedelta(minutes=1) < last - result.started_at < timedelta(minutes=3)
    assert result.last_attempted_at == last


def test_a_task_that_was_handed_back_was_last_attempted_before(tasks, db, change):
    result = tasks.give.enqueue()
    change(status="READY", attempt=1, worker_id="", started_at=None, errors=[entry(1, minutes=-2)])

    result.refresh()

    assert result.worker_ids == ["worker-1"]
    assert result.last_attempted_at == result.started_at < timezone.now() - timedelta(minutes=1)


def test_an_attempt_that_was_handed_back_and_begun_anew_counts_once(tasks, db, change):
    result = tasks.give.enqueue()
    change(
        status="RUNNING", attempt=1, worker_id="worker-2", started_at=timezone.now(),
        errors=[entry(1, error="WorkerStopped: its worker stopped", exception="")],
    )  # fmt: skip

    result.refresh()

    assert result.worker_ids == ["worker-2"]
    assert result.attempts == 1


def test_attempts_that_nobody_remembers_count(tasks, db, change):
    result = tasks.give.enqueue()
    change(status="FAILED", attempt=4, worker_id="worker-4", errors=[entry(1), entry(4)])

    result.refresh()

    assert result.worker_ids == ["worker-1", "", "", "worker-4"]
    assert len(result.errors) == 2


def test_an_attempt_that_raised_nothing_has_an_error_of_ours(tasks, db, change):
    result = tasks.give.enqueue()
    died = entry(1, "WorkerDied: its worker died", exception="")
    old = {
        key: value for key, value in entry(2, "ValueError: of an older version").items() if key != "exception"
    }
    change(status="FAILED", attempt=2, worker_id="worker-2", errors=[died, old])

    result.refresh()

    assert [error.exception_class for error in result.errors] == [JobFailed, JobFailed]
    assert [error.traceback for error in result.errors] == [
        "WorkerDied: its worker died\n",
        "ValueError: of an older version\n",
    ]


def test_a_task_that_was_skipped_failed_and_says_why(tasks, db, change):
    result = tasks.give.enqueue()
    change(status="SKIPPED", error="Misfire: too late")

    result.refresh()

    assert result.status == "FAILED"
    assert result.errors[0].exception_class is JobFailed
    assert "Misfire: too late" in result.errors[0].traceback


def test_a_result_is_read_whatever_the_settings_allow_by_now(tasks, db, settings):
    settings.TASKS = {**settings.TASKS, "other": settings.TASKS["default"]}
    result = tasks.give.using(queue_name="mail", backend="other").enqueue()

    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "QUEUES": ["default"]}}

    again = tasks.give.get_result(result.id)
    assert (again.task.queue_name, again.task.backend, again.backend) == ("mail", "other", "other")


def test_the_result_of_a_task_that_is_gone_says_so(tasks, db, change):
    result = tasks.give.enqueue()
    change(func="tests.probes.tasks:gone")
    backend = tasks.give.get_backend()

    with pytest.raises(FunctionNotFound, match="has no gone"):
        backend.get_result(result.id)


def test_a_task_that_moved_keeps_its_results(tasks, db, settings, change):
    result = tasks.give.enqueue()
    change(func="tests.probes.tasks:old_name")

    settings.DJANGO_JOBS = {"MOVED": {"tests.probes.tasks:old_name": "tests.probes.tasks:give"}}

    assert tasks.give.get_result(result.id) == result


def test_reading_a_result_imports_nothing_that_a_row_names(tasks, db, change):
    result = tasks.give.enqueue()
    change(payload='{"args":[{"$type":"enum","value":["no_such_module:E","A",1]}],"kwargs":{}}')

    result.refresh()

    assert tasks.give.get_result(result.id).args == [1]


def test_a_damaged_row_is_said_to_be_one(tasks, db, change):
    result = tasks.give.enqueue()
    change(payload="{")

    with pytest.raises(BadPayload):
        tasks.give.get_result(result.id)


def test_a_task_given_as_a_plain_job_is_called_as_its_function(tasks, db, manager):
    job_id = manager.add_immediate_job(tasks.give, 5)

    run = Run.objects.get(job_id=job_id)
    assert run.func == "tests.probes.tasks:give"
    assert not results.is_task(run)
    assert functions.resolve(run.func) is tasks.give.func
    assert functions.path_of(tasks.give.func) == functions.path_of(tasks.give)


def test_a_plain_job_has_no_context_to_give(tasks, db, manager):
    with pytest.raises(TypeError, match="missing a required argument"):
        manager.add_immediate_job(tasks.log_in, "ann", "hunter2")


def test_the_admin_shows_a_task_like_any_run(tasks, admin_client):
    tasks.log_in.enqueue("ann", "hunter2")
    run = Run.objects.get()

    page = admin_client.get(f"/admin/django_jobs/run/{run.pk}/change/").content.decode()

    assert "tests.probes.tasks:log_in" in page
    assert "ann" in page
    assert "hunter2" not in page


def test_a_projects_own_class_of_tasks_keeps_what_it_has(tasks, db, settings, monkeypatch):
    settings.TASKS = {"default": {"BACKEND": "tests.integrations.django_tasks.backends.BackendOfOwnTasks"}}
    own = tasks.give.get_backend().task_class(
        func=tasks.give.func, owner="ann", priority=0, backend="default", queue_name="default", run_after=None
    )
    monkeypatch.setattr(tasks, "give", own)
    monkeypatch.setattr(functions, "_found", {})

    result = own.using(priority=5).enqueue()
    again = own.get_result(result.id)

    assert (again.task.owner, again.task.priority) == ("ann", 5)
    assert again == result
