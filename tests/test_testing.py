import threading
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from freezegun import freeze_time

from django_jobs import (
    ConflictingIdError,
    JobFailed,
    JobLookupError,
    Limit,
    Retry,
    cron,
    current_run,
    job,
    signals,
)
from django_jobs.exceptions import FunctionNotAllowed
from django_jobs.models import Job, Run, Worker
from django_jobs.storage import statistics
from django_jobs.testing import CapturedJobs, capture_jobs, drain_jobs
from tests.probes import tasks
from tests.probes.models import Mark

BOTH = pytest.mark.parametrize(
    "transactional",
    [
        pytest.param(False, id="in a transaction"),
        pytest.param(True, id="committed", marks=pytest.mark.django_db(transaction=True)),
    ],
)


def marks():
    return [mark.text for mark in Mark.objects.order_by("pk")]


def statuses(executed):
    return [one.status for one in executed]


# What was added


@BOTH
def test_what_was_added_is_captured_committed_or_not(transactional, jobs, manager, probes):
    assert connection.in_atomic_block is not transactional
    at = timezone.now() + timedelta(hours=1)
    view = manager.using(queue_name="mail", priority=3, timeout=5)

    view.add_immediate_job(probes.add, 1, b=(2, 3), job_id="now")
    view.add_scheduled_job(probes.mark, at, "x", job_id="later")
    view.add_recurring_job(probes.mark, 60, job_id="often")

    now, later, often = jobs.added
    assert (now.id, now.func, now.args, now.kwargs) == ("now", "tests.probes.jobs:add", (1,), {"b": (2, 3)})
    assert (now.queue_name, now.priority, now.options) == ("mail", 3, {"timeout": 5})
    assert (now.kind, now.run_at, now.trigger, now.name) == ("immediate", None, "", "add")
    assert (later.kind, later.run_at, later.args) == ("scheduled", at, ("x",))
    assert (often.kind, often.trigger) == ("recurring", "every minute")


def test_what_was_there_before_and_what_was_rolled_back_is_not_added(jobs, manager, probes):
    manager.add_immediate_job(probes.mark)
    manager.add_recurring_job(probes.mark, 60)
    with transaction.atomic():
        manager.add_immediate_job(probes.mark, "gone")
        manager.add_recurring_job(probes.mark, 60, job_id="gone")
        transaction.set_rollback(True)

    with capture_jobs() as later:
        later.assert_not_added()
    assert len(jobs.added) == 2


def test_what_has_fired_and_what_was_executed_stays_added_once(jobs, manager, probes):
    manager.add_scheduled_job(probes.mark, timezone.now(), job_id="once")
    manager.add_immediate_job(probes.add_another, "more", job_id="first")

    jobs.drain()

    assert not Job.objects.exists()
    assert [job.func.rpartition(":")[2] for job in jobs.added] == ["mark", "add_another", "mark"]
    jobs.assert_added(probes.mark, id="once")


def test_jobs_of_add_many_and_of_decorated_functions_are_captured(jobs, manager, probes):
    manager.add_many([(probes.add, (1,)), (probes.decorated, (), {"x": 5})])

    jobs.assert_added(probes.add, args=(1,))
    job = jobs.assert_added(probes.decorated, kwargs={"x": 5}, queue_name="special", priority=7)
    assert job.name == "the decorated one"


def test_arguments_are_those_that_the_function_gets(jobs, manager, probes, admin_user):
    manager.add_immediate_job(probes.name_of, admin_user)

    assert jobs.assert_added(probes.name_of, args=[admin_user]).args[0].username == "admin"
    admin_user.delete()
    assert "auth.user" in str(jobs.added[0])


def test_tasks_of_djangos_framework_are_jobs_too(jobs):
    result = tasks.give.enqueue(3)

    assert jobs.assert_added(tasks.give, args=[3]).id == result.id
    jobs.drain()
    result.refresh()
    assert result.return_value == 3


# Assertions


def test_an_assertion_says_what_was_added_instead_and_where_it_differs(jobs, manager, probes):
    manager.using(queue_name="mail").add_immediate_job(probes.add, 1, b=2, job_id="a")
    manager.add_recurring_job(probes.mark, 60, job_id="b")

    with pytest.raises(AssertionError) as failed:
        jobs.assert_added(probes.add, args=(2,), queue_name="default")

    assert str(failed.value).splitlines() == [
        "tests.probes.jobs:add with args=(2,), queue_name='default' was to be added once, and was never.",
        "Added were:",
        "  tests.probes.jobs:add(1, b=2) queue_name='mail' id='a'",
        "    args is (1,), not (2,)",
        "    queue_name is 'mail', not 'default'",
        "  tests.probes.jobs:mark() every minute id='b'",
    ]


def test_a_job_that_was_added_twice_is_not_what_one_expects(jobs, manager, probes):
    manager.add_immediate_job(probes.add, 1)
    manager.add_immediate_job(probes.add, 2)

    with pytest.raises(AssertionError, match="was to be added once, and was 2 times"):
        jobs.assert_added(probes.add)
    jobs.assert_added(probes.add, times=2)
    assert jobs.assert_added(probes.add, times=None).args == (1,)
    jobs.assert_added("tests.probes.jobs:add", args=(2,))
    jobs.assert_added(probes.add, args=(mock.ANY,), kwargs={}, times=2)
    with pytest.raises(AssertionError, match="was to be added 3 times, and was 2 times"):
        jobs.assert_added(probes.add, times=3)


def test_nothing_added_is_said_as_well(jobs, manager, probes):
    jobs.assert_not_added()
    jobs.assert_not_added(probes.add)
    with pytest.raises(
        AssertionError, match=r"to be added one or more times, and was never.\nNothing was added"
    ):
        jobs.assert_added(probes.add, times=None)

    manager.add_immediate_job(probes.add, 1)

    jobs.assert_not_added(probes.mark)
    jobs.assert_not_added(probes.add, args=(2,))
    with pytest.raises(
        AssertionError, match=r"^nothing was to be added, but for this: tests.probes.jobs:add\(1\)"
    ):
        jobs.assert_not_added()
    with pytest.raises(
        AssertionError, match=r"^tests.probes.jobs:add with args=\(1,\) was to be added, but for"
    ):
        jobs.assert_not_added(probes.add, args=(1,))


def test_a_mistake_in_an_assertion_is_not_taken_for_a_difference(jobs, manager, probes):
    manager.add_immediate_job(probes.add, 1)

    with pytest.raises(TypeError, match="AddedJob has no 'queue'; it has args, id, kind"):
        jobs.assert_added(probes.add, queue="mail")
    with pytest.raises(TypeError, match="AddedJob has no 'queue'"):
        jobs.assert_not_added(probes.add, queue="mail")
    with pytest.raises(ValueError, match="has no adds"):
        jobs.assert_added("tests.probes.jobs:adds")


@job
def of_this_module(number):
    return number + 1


def test_a_function_of_a_test_module_needs_to_be_decorated(jobs, manager):
    manager.add_immediate_job(of_this_module, 1)

    assert [one.result for one in jobs.drain(raise_errors=True)] == [2]
    with pytest.raises(FunctionNotAllowed):
        manager.add_immediate_job(marks)


# Executing


@BOTH
def test_due_work_is_executed_here_with_results_errors_and_retries_as_ever(
    transactional, jobs, manager, probes
):
    manager.add_immediate_job(probes.give, {"a": (1, 2)}, job_id="good")
    manager.add_immediate_job(probes.fail, job_id="bad")
    manager.using(retry=Retry(max_attempts=2, delay=60)).add_immediate_job(
        probes.fail_until, 2, job_id="again"
    )
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="later")

    executed = jobs.drain()

    assert [(one.job_id, one.status, one.attempt) for one in executed] == [
        ("good", "SUCCESSFUL", 1),
        ("bad", "FAILED", 1),
        ("again", "READY", 1),
    ]
    assert executed[0].result == {"a": (1, 2)}
    assert executed[1].error == "ValueError: it went wrong"
    assert isinstance(executed[1].raised, ValueError)
    bad = Run.objects.get(job_id="bad")
    assert "raise ValueError(message)" in bad.errors[0]["traceback"]
    again = Run.objects.get(job_id="again")
    assert again.run_after > timezone.now() + timedelta(seconds=30)
    assert jobs.drain() == []
    assert manager.wait("good", 0) == {"a": (1, 2)}
    assert not Worker.objects.exists()
    assert connection.in_atomic_block is not transactional


def test_a_run_has_its_context_log_and_progress(jobs, manager, probes):
    manager.using(queue_name="mail").add_immediate_job(probes.report, job_id="r")

    (one,) = jobs.drain()

    assert one.result == {"job_id": "r", "attempt": 1, "queue": "mail"}
    run = Run.objects.get()
    assert run.progress == {"done": 1, "total": 4, "message": "first quarter"}
    assert "began with this" in run.log
    assert current_run() is None


def test_deferred_runs_and_retries_need_not_be_waited_for(jobs, manager, probes):
    manager.using(retry=Retry(max_attempts=3, delay=3600)).add_immediate_job(probes.fail_until, 3)
    manager.add_recurring_job(probes.mark, 60)

    executed = jobs.drain(deferred=True)

    assert statuses(executed) == ["READY", "READY", "SUCCESSFUL"]
    assert [one.attempt for one in executed] == [1, 2, 3]
    assert marks() == []


def test_async_functions_see_the_same_transaction(jobs, manager, probes):
    manager.add_immediate_job(probes.mark_async, "awaited")
    manager.add_immediate_job(probes.fail_async)

    executed = jobs.drain()

    assert statuses(executed) == ["SUCCESSFUL", "FAILED"]
    assert executed[1].error == "LookupError: async went wrong"
    assert marks() == ["awaited"]
    assert current_run() is None


def test_jobs_that_jobs_add_are_executed_in_the_order_of_the_queue(jobs, manager, probes):
    manager.add_immediate_job(probes.add_another, "added by a job")
    manager.using(priority=-1).add_immediate_job(probes.mark, "low")
    manager.using(priority=1).add_immediate_job(probes.mark, "high")

    jobs.drain()

    assert marks() == ["high", "added by a job", "low"]


def test_queues_can_be_chosen_and_paused_ones_are_left_alone(jobs, manager, probes):
    for name in ("a", "b", "c"):
        manager.using(queue_name=name).add_immediate_job(probes.mark, name)
    manager.pause_queue("c")

    jobs.drain(queues=["a"])
    assert marks() == ["a"]
    jobs.drain(deferred=True)
    assert marks() == ["a", "b"]


def test_an_error_can_be_raised_where_the_job_ends_by_it(jobs, manager, probes):
    manager.using(retry=Retry(max_attempts=2, delay=0)).add_immediate_job(probes.fail, "twice")

    with pytest.raises(ValueError, match=r"^twice$"):
        jobs.drain(raise_errors=True)

    assert Run.objects.get().status == "FAILED"
    assert Run.objects.get().attempt == 2
    assert not Worker.objects.exists()


def test_a_job_that_breaks_the_transaction_breaks_only_its_own_work(jobs, manager):
    manager.add_immediate_job("tests.probes.drained:violate", job_id="bad")
    manager.add_immediate_job("tests.probes.drained:catch_violation", job_id="careless")
    manager.add_immediate_job("tests.probes.jobs:mark", "after")

    executed = jobs.drain()

    assert executed[0].status == "FAILED"
    assert isinstance(executed[0].raised, IntegrityError)
    assert marks()[-1] == "after"
    assert executed[2].status == "SUCCESSFUL"


def test_what_a_job_wants_called_on_commit_is_called_when_it_has_ended(
    jobs, manager, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks() as outer:
        transaction.on_commit(lambda: None)
        manager.add_immediate_job("tests.probes.drained:mark_on_commit", "called")
        before = len(outer) + len(connection.run_on_commit)
        jobs.drain()
        assert len(connection.run_on_commit) == before

    assert marks() == ["called", "called by that"]


def test_signals_tell_of_runs_as_ever(jobs, manager, probes):
    heard = []

    def started(run, **_):
        heard.append(("started", run.job_id))

    def finished(run, outcome, **_):
        heard.append((outcome.status, run.job_id))

    signals.run_started.connect(started)
    signals.run_finished.connect(finished)
    manager.add_immediate_job(probes.nothing, job_id="a")

    jobs.drain()

    assert heard == [("started", "a"), ("SUCCESSFUL", "a")]


def test_what_runs_come_to_is_counted_in_the_same_transaction(jobs, manager, probes):
    manager.add_immediate_job(probes.nothing)
    manager.add_immediate_job(probes.fail)

    jobs.drain()

    totals = statistics.totals(timezone.now() - timedelta(minutes=5))
    assert totals.outcomes == {"SUCCESSFUL": 1, "FAILED": 1}


@pytest.mark.parametrize("function", ["work_without_asking", "tidy_up_when_told"])
def test_a_time_limit_ends_a_run_and_leaves_the_transaction_alone(function, jobs, manager, probes):
    Mark.objects.create(text="before")
    manager.using(timeout=0.2).add_immediate_job(getattr(probes, function))

    (one,) = jobs.drain()

    assert (one.status, one.error) == ("FAILED", "RunTimeout: longer than its limit of 0.2 s")
    assert marks()[0] == "before"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("django_jobs-run")]


def test_a_time_limit_ends_an_async_run(jobs, manager, probes):
    manager.using(timeout=0.1).add_immediate_job(probes.rest, 30)

    (one,) = jobs.drain()

    assert one.error == "RunTimeout: longer than its limit of 0.1 s"


def test_a_job_for_ever_is_an_error_and_loses_nothing(jobs, manager, monkeypatch):
    monkeypatch.setattr("django_jobs.testing.MOST_ATTEMPTS", 5)
    manager.add_immediate_job("tests.probes.drained:add_itself")

    with pytest.raises(AssertionError, match=r"5 attempts and no end: .*add_itself"):
        jobs.drain()

    assert Run.objects.filter(status="SUCCESSFUL").count() == 5
    assert Run.objects.ready().count() == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, pytest.fail.Exception])
def test_what_ends_a_test_ends_it_inside_a_job_too(error, jobs, manager):
    manager.add_immediate_job("tests.probes.drained:raise_it", error.__name__)

    with pytest.raises(error):
        jobs.drain()

    assert Run.objects.get().status == "FAILED"


def test_a_job_that_exits_fails_and_goes_no_further(jobs, manager):
    manager.add_immediate_job("tests.probes.drained:raise_it", "SystemExit")

    assert statuses(jobs.drain()) == ["FAILED"]


def test_a_damaged_run_is_held_and_told_of(jobs, manager, probes, make_run):
    make_run(signature="forged")

    (one,) = jobs.drain()

    assert one.status == "READY"
    assert one.error.startswith("BadPayload")
    assert Run.objects.held().count() == 1


def test_draining_twice_and_without_capturing_works_too(manager, probes, transactional_db):
    manager.add_immediate_job(probes.mark, "a")

    assert statuses(drain_jobs()) == ["SUCCESSFUL"]
    assert drain_jobs() == []


def test_a_job_can_have_others_executed(jobs, manager, probes):
    manager.add_immediate_job("tests.probes.drained:drain_inside", job_id="outer")

    jobs.drain()

    run = Run.objects.get(job_id="outer")
    assert (run.status, run.result) == ("SUCCESSFUL", '"outer"')
    assert marks() == ["inside"]


# One job


def test_one_job_is_run_whatever_it_waits_for(jobs, manager, probes):
    manager.add_immediate_job(probes.mark, "other")
    later = timezone.now() + timedelta(days=1)
    manager.add_scheduled_job(probes.add, later, 1, b=1, job_id="later")
    manager.add_recurring_job(probes.give, 60, "often", job_id="often")
    manager.add_immediate_job(probes.give, "paused", job_id="paused")
    manager.pause_job("paused")

    assert jobs.run("later") == 2
    assert jobs.run("often") == "often"
    assert jobs.run(jobs.assert_added(probes.give, id="paused")) == "paused"
    assert marks() == []
    assert Job.objects.count() == 2


def test_an_error_of_one_job_is_raised(jobs, manager, probes):
    manager.using(retry=Retry(max_attempts=5)).add_immediate_job(probes.fail, "no", job_id="a")
    manager.using(expires=1).add_immediate_job(probes.nothing, job_id="late")
    Run.objects.filter(job_id="late").update(options={"expires_at": 1})

    with pytest.raises(ValueError, match=r"^no$"):
        jobs.run("a")
    with pytest.raises(JobFailed, match="Expired: not begun in time"):
        jobs.run("late")
    with pytest.raises(JobLookupError):
        jobs.run("nonesuch")
    assert Run.objects.get(job_id="a").status == "READY"


# Time


def frozen(kind, moment):
    if kind == "freezegun":
        return freeze_time(moment)
    return time_machine.travel(moment, tick=False)


@pytest.mark.parametrize("year", [2020, 2090])
@pytest.mark.parametrize("kind", ["time_machine", "freezegun"])
@BOTH
def test_schedules_fire_by_frozen_time(transactional, kind, year, jobs, manager, probes):
    start = datetime(year, 3, 2, 3, 0, tzinfo=UTC)
    with frozen(kind, start):
        manager.add_cron_job(probes.mark, "30 3 * * *", "cron", job_id="nightly")
        manager.add_scheduled_job(probes.mark, start + timedelta(hours=2), "once")
        manager.add_immediate_job(probes.mark, "now")
        assert jobs.assert_added(probes.mark, args=("now",)).run_at is None

        assert len(jobs.drain()) == 1
    with frozen(kind, start + timedelta(minutes=29)):
        assert jobs.drain() == []
    with frozen(kind, start + timedelta(minutes=30)):
        assert jobs.drain(fire=False) == []
        assert [one.job_id for one in jobs.drain()] == ["nightly"]
        assert jobs.drain() == []
    with frozen(kind, start + timedelta(days=3)):
        assert len(jobs.drain()) == 2

    assert marks()[:2] == ["now", "cron"]
    assert sorted(marks()[2:]) == ["cron", "once"]
    assert Run.objects.get(job_id="nightly", status="SUCCESSFUL", pk__lt=Run.objects.latest("pk").pk - 1)


@pytest.mark.parametrize("kind", ["time_machine", "freezegun"])
def test_retries_come_when_frozen_time_has_come_so_far(kind, jobs, manager, probes):
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with frozen(kind, start):
        manager.using(retry=Retry(max_attempts=2, delay=60, jitter=0)).add_immediate_job(probes.fail_until, 2)
        assert statuses(jobs.drain()) == ["READY"]
    with frozen(kind, start + timedelta(seconds=59)):
        assert jobs.drain() == []
    with frozen(kind, start + timedelta(seconds=61)):
        assert statuses(jobs.drain()) == ["SUCCESSFUL"]
        assert Run.objects.get().started_at == start + timedelta(seconds=61)


# Threads


def test_a_process_that_executes_jobs_by_itself_cannot_capture_them(serve, monkeypatch, manager):
    serve()
    monkeypatch.setattr("django_jobs.testing.get_job_manager", lambda: manager)

    with pytest.raises(RuntimeError, match="this process executes jobs in the background"), capture_jobs():
        pass


def test_ids_conflict_as_ever(jobs, manager, probes):
    manager.add_immediate_job(probes.mark, job_id="a")

    with pytest.raises(ConflictingIdError):
        manager.add_immediate_job(probes.mark, job_id="a")
    assert isinstance(jobs, CapturedJobs)
    assert len(jobs.added) == 1


@pytest.mark.django_db(transaction=True)
def test_async_code_can_drain(jobs, manager, probes, run_async):
    async def scenario():
        await manager.aadd_immediate_job(probes.mark_async, "a")
        return await jobs.adrain()

    assert statuses(run_async(scenario())) == ["SUCCESSFUL"]


# What code declares


@BOTH
def test_declared_jobs_fire_once_they_are_asked_for(transactional, jobs, manager, probes):
    with time_machine.travel(datetime(2031, 3, 3, 5, 59, tzinfo=UTC), tick=False) as traveller:
        cron("0 6 * * *", job_id="remind", args=[1])(probes.give)
        assert jobs.drain() == []

        (declared,) = jobs.declare()
        assert (declared.id, declared.args, declared.kind) == ("remind", (1,), "recurring")
        assert declared.run_at == datetime(2031, 3, 3, 6, tzinfo=UTC)
        assert jobs.drain() == []

        traveller.shift(timedelta(minutes=2))
        assert jobs.declare() == [declared]
        assert [one.result for one in jobs.drain()] == [1]


@pytest.mark.django_db(transaction=True)
def test_a_job_of_an_inline_queue_is_executed_once_and_its_result_returned(jobs, manager, probes, settings):
    settings.DJANGO_JOBS = {"ENGINES": {"default": "inline"}}
    manager.add_recurring_job(probes.give, 60, 7, job_id="r")

    assert jobs.run("r") == 7
    assert Run.objects.get().status == "SUCCESSFUL"


def test_batches_are_drained_and_checked(jobs, manager):
    from tests.probes import parts

    with manager.batch("good") as good:
        total = good.add(parts.total, [good.add(parts.give, 1), good.add(parts.give, 2)])
    with manager.batch("bad") as bad:
        bad.add(parts.give, bad.add(parts.fail))
    assert jobs.added[2].args == (["<result 1 of what it waits for>", "<result 2 of what it waits for>"],)
    with pytest.raises(AssertionError, match=r"batch 'good': status is 'running', not 'successful'"):
        jobs.assert_batch(good)
    jobs.drain()

    assert total.result == 3
    assert jobs.assert_batch("good", successful=3)["id"] == good.id
    jobs.assert_batch(bad.id, status="failed", failed=1, cancelled=1)
    with pytest.raises(AssertionError, match="failed ValueError: no"):
        jobs.assert_batch(bad)
    with pytest.raises(AssertionError, match="there is no batch 'none'"):
        jobs.assert_batch("none")
    with pytest.raises(TypeError, match="BatchInfo has no 'size'"):
        jobs.assert_batch(good, size=1)


def test_drained_jobs_take_turns_and_keep_to_their_limits(jobs, manager, probes):
    fair, rated = manager.using(limit=Limit("k", concurrency=1)), manager.using(limit=Limit("r", rate="1/h"))
    for key in "aab":
        fair.using(fair_key=key).add_immediate_job(probes.give, key)
    once, later = rated.add_immediate_job(probes.nothing), rated.add_immediate_job(probes.nothing)

    executed = jobs.drain()

    assert [one.result for one in executed if one.result] == ["a", "b", "a"]
    assert [manager.get_job(job_id)["status"] for job_id in (once, later)] == ["successful", "queued"]
    # It is due in an hour.
    jobs.drain(deferred=True)
    assert manager.get_job(later)["status"] == "queued"
