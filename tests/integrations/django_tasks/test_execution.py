import os
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import JobCancelled, JobFailed
from django_jobs.integrations.django_tasks import results
from django_jobs.models import Run, Worker
from django_jobs.storage import claims, leases, transitions
from django_jobs.tasks import JobsBackend
from tests.probes.models import Mark


def in_transaction(task, *args):
    """Enqueue a task so that no worker can see it before `task_enqueued` is sent."""
    with transaction.atomic():
        return task.enqueue(*args)


def names(heard):
    return [name for name, *_ in heard]


@pytest.mark.parametrize("name", ["give", "mark", "mark_async"])
def test_a_task_is_executed_and_its_result_kept(serve, tasks, finish, name):
    serve()

    result = finish(getattr(tasks, name).enqueue("a word"))

    assert result.status == "SUCCESSFUL"
    assert result.return_value == {"give": "a word", "mark": None, "mark_async": "a word"}[name]
    assert result.attempts == 1
    assert result.worker_ids == [Worker.objects.get().pk]
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert result.errors == []
    assert Mark.objects.count() == (name != "give")


def test_what_is_returned_is_what_json_makes_of_it(serve, tasks, finish):
    serve()

    assert finish(tasks.give.enqueue({"a": (1, 2)})).return_value == {"a": [1, 2]}
    assert finish(tasks.give_tuple.enqueue()).return_value == [1, {"2": [3]}]
    assert Run.objects.last().result == '[1,{"2":[3]}]'


def test_a_task_that_returns_what_cannot_be_json_fails(serve, tasks, finish):
    serve()

    result = finish(tasks.leave_something_unstorable.enqueue())

    assert result.status == "FAILED"
    assert result.errors[0].exception_class is TypeError
    assert "Unsupported type" in result.errors[0].traceback


@pytest.mark.parametrize(
    ("name", "kind", "end"),
    [
        ("fail", ValueError, "ValueError: it went wrong\n"),
        ("fail_async", LookupError, "LookupError: async went wrong\n"),
        ("leave", SystemExit, "SystemExit: 3\n"),
    ],
)
def test_a_task_that_raises_fails_with_its_class_and_traceback(serve, tasks, finish, name, kind, end):
    serve()

    result = finish(getattr(tasks, name).enqueue())

    assert result.status == "FAILED"
    (error,) = result.errors
    assert error.exception_class is kind
    assert error.traceback.startswith("Traceback")
    assert error.traceback.endswith(end)
    assert result.attempts == 1
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018


def test_a_task_is_tried_again_as_job_says_and_every_error_is_kept(serve, tasks, finish, heard):
    serve()

    result = finish(tasks.fail_twice.enqueue())

    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 3, 3)
    assert [error.exception_class for error in result.errors] == [ValueError, ValueError]
    assert "attempt 1" in result.errors[0].traceback
    assert "attempt 2" in result.errors[1].traceback
    assert result.worker_ids == [Worker.objects.get().pk] * 3
    assert result.started_at < result.last_attempted_at <= result.finished_at


def test_a_task_goes_on_with_what_it_keeps_and_is_ready_while_it_waits(
    serve, tasks, finish, until, heard, manager
):
    serve()
    result = tasks.go_on_after_all.enqueue("signed")
    until(lambda: Run.objects.get().state == "sleeping")
    result.refresh()
    assert (result.status, result.attempts) == ("READY", 1)

    manager.send_event("signed", 17)

    assert finish(result).return_value == [None, 17]
    assert (result.status, result.attempts, len(result.errors)) == ("SUCCESSFUL", 2, 1)
    assert Mark.objects.count() == 1
    until(lambda: [name for name, *_ in heard].count("finished") == 1)


def test_a_task_may_be_one_commit(serve, tasks, finish):
    serve()

    assert finish(tasks.mark_in_one_commit.enqueue()).return_value == "marked"
    assert Mark.objects.get().text == "atomic"


def test_a_task_sees_its_own_result_and_attempt(serve, tasks, finish):
    serve()

    result = finish(tasks.look_around.enqueue(1, two=2))

    assert result.return_value == {
        "id": result.id,
        "attempt": 2,
        "status": "RUNNING",
        "args": [1],
        "kwargs": {"two": 2},
        "errors": 1,
        "workers": 2,
        "has_begun": True,
    }


def test_an_async_task_sees_its_own_result_and_attempt(serve, tasks, finish):
    serve()

    result = finish(tasks.look_around_async.enqueue("x"))

    assert result.return_value == [result.id, 1, "x"]


def test_signals_come_in_order_with_the_state_of_their_instant(serve, tasks, finish, heard, until):
    serve()

    finish(in_transaction(tasks.give, 5))
    until(lambda: len(heard) == 3)

    assert names(heard) == ["enqueued", "started", "finished"]
    assert {sender for _, sender, *_ in heard} == {JobsBackend}
    enqueued, started, finished = (result for *_, result, _ in heard)
    assert enqueued.id == started.id == finished.id
    assert [r.status for r in (enqueued, started, finished)] == ["READY", "RUNNING", "SUCCESSFUL"]
    assert [r.attempts for r in (enqueued, started, finished)] == [0, 1, 1]
    assert started.started_at == started.last_attempted_at == finished.started_at
    assert started.finished_at is None
    assert finished == tasks.give.get_result(finished.id)
    assert finished.return_value == 5


def test_task_finished_comes_when_the_database_has_it(serve, tasks, framework, until):
    stored = []

    def look(task_result, **_):
        stored.append(Run.objects.get(job_id=task_result.id).status)

    framework.signals.task_finished.connect(look)
    try:
        serve()
        tasks.give.enqueue()
        until(lambda: stored)
    finally:
        framework.signals.task_finished.disconnect(look)

    assert stored == ["SUCCESSFUL"]


def test_signals_tell_of_each_attempt_and_of_one_end(serve, tasks, finish, heard, until):
    serve()

    finish(in_transaction(tasks.fail_twice))
    until(lambda: len(heard) == 5)

    assert names(heard) == ["enqueued", "started", "started", "started", "finished"]
    assert [result.attempts for *_, result, _ in heard] == [0, 1, 2, 3, 3]
    assert [len(result.errors) for *_, result, _ in heard] == [0, 0, 1, 2, 2]


def test_task_started_is_sent_by_the_thread_that_calls_the_function(serve, tasks, finish):
    serve()

    result = finish(tasks.say_where.enqueue())

    assert result.return_value == {"process": os.getpid(), "is_told_here": True}


def test_a_receiver_that_raises_does_not_fail_the_task(serve, tasks, finish, framework, heard, until):
    def complain(**_):
        raise RuntimeError("a receiver's own")

    both = (framework.signals.task_started, framework.signals.task_finished)
    for signal in both:
        signal.connect(complain)
    try:
        serve()
        result = finish(tasks.give.enqueue(1))
        until(lambda: len(heard) == 3)
    finally:
        for signal in both:
            signal.disconnect(complain)

    assert result.return_value == 1


def test_the_frameworks_log_says_why_a_task_failed(serve, tasks, finish, heard, until, caplog, framework):
    serve()

    with caplog.at_level("INFO", framework.signals.logger.name):
        finish(tasks.fail.enqueue("no paper"))
        until(lambda: len(heard) == 3)

    records = [record for record in caplog.records if record.name == framework.signals.logger.name]
    assert [record.levelname for record in records] == ["INFO", "ERROR"]
    assert "ValueError: no paper" in caplog.text
    assert "raise ValueError(message)" in caplog.text


def test_a_task_is_executed_with_the_processes_engine(serve, settings, tasks, finish, heard, until):
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    serve()

    where = finish(tasks.say_where.using(queue_name="apart").enqueue())
    failed = finish(tasks.fail.using(queue_name="apart").enqueue())
    until(lambda: names(heard).count("finished") == 2)

    assert where.return_value["process"] != os.getpid()
    assert where.return_value["is_told_here"]
    assert failed.errors[0].exception_class is ValueError
    # Each signal once over all processes: the child tells of the start, this one of the end.
    assert sorted(names(heard)) == ["enqueued", "enqueued", "finished", "finished"]


def test_another_process_executes_tasks(runjobs, tasks, transactional_db, heard):
    good, bad = tasks.say_where.enqueue(), tasks.fail.enqueue()

    process = runjobs("--drain")

    assert process.wait(60) == 0, process.log.read_text()
    good.refresh()
    bad.refresh()
    assert good.return_value["process"] == process.pid
    assert bad.errors[0].exception_class is ValueError
    assert names(heard) == ["enqueued", "enqueued"]
    log = process.log.read_text()
    assert f"Task id={good.id} path=tests.probes.tasks.say_where state=RUNNING" in log
    assert f"Task id={good.id} path=tests.probes.tasks.say_where state=SUCCESSFUL" in log
    assert f"Task id={bad.id} path=tests.probes.tasks.fail state=FAILED" in log


def test_a_deferred_task_waits_for_its_time(serve, tasks, finish):
    serve()
    run_after = timezone.now() + timedelta(seconds=0.5)

    result = tasks.give.using(run_after=run_after).enqueue(1)

    assert finish(result).started_at >= run_after
    assert result.task.run_after == run_after


def test_tasks_of_high_priority_go_first(serve, tasks, finish):
    low, high, normal = (
        tasks.mark.using(priority=priority).enqueue(text)
        for priority, text in [(-5, "low"), (100, "high"), (0, "normal")]
    )

    serve(threads=1)
    for result in (low, high, normal):
        finish(result)

    assert [mark.text for mark in Mark.objects.order_by("id")] == ["high", "normal", "low"]


def test_tasks_and_plain_jobs_share_a_worker(serve, tasks, finish, manager, heard, until):
    serve()

    plain = manager.add_immediate_job("tests.probes.tasks:give", 1)
    result = finish(tasks.give.enqueue(2))

    assert manager.wait(plain, 10) == 1
    assert manager.wait(result.id, 10) == 2
    until(lambda: len(heard) == 3)
    assert {task_result.id for *_, task_result, _ in heard} == {result.id}


def test_a_plain_job_of_a_tasks_function_keeps_its_types(serve, tasks, manager):
    serve()

    assert manager.wait(manager.add_immediate_job(tasks.give.func, (1, 2)), 10) == (1, 2)


def test_a_task_that_is_cancelled_while_it_runs_failed_and_says_so(
    serve, tasks, finish, manager, heard, until
):
    serve()
    result = in_transaction(tasks.wait_to_be_told)
    assert tasks.began.wait(10)

    manager.cancel_job(result.id)
    finish(result)

    assert (result.status, result.attempts) == ("FAILED", 1)
    assert [error.exception_class for error in result.errors] == [JobCancelled]
    until(lambda: names(heard) == ["enqueued", "started", "finished"])
    assert heard[-1][2].errors == result.errors


@pytest.mark.parametrize("cancel", ["cancel_job", "cancel_run", "remove_job"])
def test_a_task_that_is_cancelled_while_it_waits_is_finished_by_who_cancels_it(
    tasks, transactional_db, manager, heard, cancel
):
    result = tasks.give.enqueue()
    at_commit = []

    with transaction.atomic():
        getattr(manager, cancel)(Run.objects.get().pk if cancel == "cancel_run" else result.id)
        at_commit += names(heard)

    result.refresh()
    assert at_commit == ["enqueued"]
    assert names(heard) == ["enqueued", "finished"]
    _, sender, told, thread = heard[-1]
    assert (sender, thread) == (JobsBackend, threading.current_thread().name)
    assert (told.status, told.id, told.attempts) == ("FAILED", result.id, 0)
    assert [error.exception_class for error in told.errors] == [JobCancelled]
    assert told.errors == result.errors


def test_a_cancelled_task_whose_transaction_rolls_back_is_not_finished(
    tasks, transactional_db, manager, heard
):
    result = tasks.give.enqueue()

    with transaction.atomic():
        manager.cancel_job(result.id)
        transaction.set_rollback(True)

    result.refresh()
    assert result.status == "READY"
    assert names(heard) == ["enqueued"]


def test_many_cancelled_tasks_are_told_of_one_by_one_and_read_at_once(
    tasks, transactional_db, manager, heard
):
    def cancelled(count):
        ids = [tasks.give.enqueue().id for _ in range(count)]
        manager.add_immediate_job("tests.probes.jobs:nothing")
        heard.clear()
        with CaptureQueriesContext(connection) as statements:
            assert transitions.cancel_waiting(Q(), using="default") == count + 1
        assert [told.id for _, _, told, _ in heard] == ids
        return len(statements)

    assert cancelled(1) == cancelled(5)


def test_a_plain_job_that_is_cancelled_tells_the_framework_nothing(transactional_db, manager, heard, tasks):
    manager.cancel_job(manager.add_immediate_job("tests.probes.jobs:nothing"))

    assert heard == []


def test_a_task_that_is_out_of_time_failed_by_a_timeout(serve, settings, tasks, finish):
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "OPTIONS": {"timeout": 0.2}}}
    serve()

    result = finish(tasks.wait_to_be_told.enqueue())

    assert result.status == "FAILED"
    assert [error.exception_class for error in result.errors] == [TimeoutError]


def test_a_task_that_has_expired_failed_and_never_started(serve, settings, tasks, finish, heard, until):
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "OPTIONS": {"expires": 60}}}
    result = tasks.give.enqueue()
    run = Run.objects.get()
    run.options["expires_at"] -= 3600
    run.save()

    serve()
    finish(result)

    assert result.status == "FAILED"
    assert [error.exception_class for error in result.errors] == [JobFailed]
    assert "Expired" in result.errors[0].traceback
    until(lambda: len(heard) == 2)
    assert names(heard) == ["enqueued", "finished"]


def test_a_task_whose_worker_died_for_good_is_finished(tasks, transactional_db, make_worker, heard):
    make_worker(id="dead")
    result = tasks.give.enqueue()
    (run,) = claims.claim("dead", limit=1, using="default")

    rescued = leases.rescue(max_rescues=0, gone=["dead"], using="default")
    leases.report_rescues(rescued, using="default")

    assert names(heard) == ["enqueued", "finished"]
    finished = heard[-1][2]
    assert (finished.id, finished.status, finished.worker_ids) == (result.id, "FAILED", ["dead"])
    assert [error.exception_class for error in finished.errors] == [JobFailed]
    assert "died 1 times" in finished.errors[0].traceback
    assert run.attempt == finished.attempts


def test_a_task_whose_worker_died_and_that_is_run_again_is_not_finished(
    tasks, transactional_db, make_worker, heard
):
    make_worker(id="dead")
    result = tasks.give.enqueue()
    claims.claim("dead", limit=1, using="default")

    leases.report_rescues(leases.rescue(max_rescues=3, gone=["dead"], using="default"), using="default")

    assert names(heard) == ["enqueued"]
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == ("READY", 1, 1)


def test_a_task_that_is_gone_fails_and_is_logged(serve, tasks, until, heard, caplog):
    tasks.give.enqueue()
    run = Run.objects.get()
    run.func = "tests.probes.tasks:not_a_task"
    run.signature = results.codec.sign(run.func, run.payload)
    run.save()

    serve()
    until(lambda: "task_finished is not sent" in caplog.text)

    run.refresh_from_db()
    assert (run.status, run.attempt) == ("FAILED", 1)
    assert run.error.startswith("FunctionNotFound: tests.probes.tasks:not_a_task is not a Task")
    assert names(heard) == ["enqueued"]


def test_a_task_of_a_backend_that_this_process_does_not_know_is_executed(
    serve, settings, tasks, finish, heard, until
):
    settings.TASKS = {**settings.TASKS, "other": settings.TASKS["default"]}
    result = tasks.give.using(backend="other").enqueue(3)
    settings.TASKS = {"default": settings.TASKS["default"]}

    serve()
    until(lambda: len(heard) == 3)

    assert tasks.give.get_result(result.id).return_value == 3
    assert [sender for _, sender, *_ in heard] == [JobsBackend, None, None]
