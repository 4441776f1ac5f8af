"""Batches: what runs wait for, what they are given, and what their ends come to."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Q

from django_jobs import BatchClosed, JobCancelled, JobFailed, JobLookupError, RunHandle
from django_jobs.models import Batch, Dependency, Dependent, Run, Status
from django_jobs.storage import transitions
from tests.probes import parts
from tests.probes.jobs import add as add_numbers

pytestmark = pytest.mark.django_db


def statuses(batch):
    runs = Run.objects.filter(batch_id=Batch.objects.get(key=batch.id).pk).order_by("pk")
    return list(runs.values_list("status", flat=True))


def run_of(handle):
    return Run.objects.get(pk=handle.run_id)


def in_a_thread(work):
    try:
        return work()
    finally:
        connection.close()


def add_and_fail(batch):
    with batch:
        batch.add(parts.total, batch.add_many([(parts.give, [1])]))
        raise ZeroDivisionError


def test_a_handle_as_an_argument_is_waited_for_and_its_result_given(manager, jobs):
    with manager.batch("sums") as batch:
        numbers = batch.add_many((parts.give, [number]) for number in (1, 2, 3))
        total = batch.add(parts.total, numbers)
        deep = batch.add(parts.give, {"total": total, "all": (numbers[0], [numbers[2]])})
        by_keyword = batch.add(parts.add, left=total, right=10)

    assert run_of(total).state == "dependent"
    assert [executed.status for executed in jobs.drain()] == ["SUCCESSFUL"] * 6
    assert manager.wait(total, 0) == 6
    assert manager.wait(deep, 0) == {"total": 6, "all": (1, [3])}
    assert manager.wait(by_keyword, 0) == 16


def test_results_keep_their_types_on_their_way(manager, jobs):
    with manager.batch("types") as batch:
        pair = batch.add(parts.give, (1, {2}))
        same = pair.then(parts.give)
    jobs.drain()

    assert manager.wait(same, 0) == (1, {2})


def test_a_run_can_wait_without_taking_results(manager, jobs):
    with manager.batch("order") as batch:
        first, second = batch.add(parts.give, 1), batch.add(parts.give, 2)
        last = batch.add(parts.give, "last", after=[first, second])
        after_all = batch.add(parts.give, "end", after=batch.add_many([(parts.give, [3]), (parts.give, [4])]))

    order = [executed.job_id for executed in jobs.drain()]
    assert order.index(last) > max(order.index(first), order.index(second))
    assert order[-1] == after_all


def test_chains_pass_each_result_on(manager, jobs):
    handle = manager.chain((parts.give, [1]), (parts.add, [10]), parts.add)
    jobs.drain()
    assert manager.wait(handle, 0) == 12

    with manager.batch("then") as batch:
        handle = batch.add(parts.give, 1).then(parts.add, 2).then(parts.add, right=3)
        other = batch.chain(handle, parts.add)
    jobs.drain()
    assert (manager.wait(handle, 0), manager.wait(other, 0)) == (6, 7)


def test_a_batch_is_one_transaction(manager):
    batch = manager.batch("half")
    with pytest.raises(ZeroDivisionError):
        add_and_fail(batch)

    assert not Run.objects.exists()
    assert not Batch.objects.exists()
    assert not Dependency.objects.exists()
    assert manager.get_batch(batch.id) is None


def test_a_batch_counts_its_ends_and_says_how_it_went(manager, jobs):
    with manager.batch("mixed") as batch:
        batch.add(parts.give, 1)
        failed = batch.add(parts.fail)
        batch.add(parts.give, 2, after=failed)
    assert manager.get_batch(batch.id)["status"] == "running"
    with pytest.raises(TimeoutError, match="3 of its 3 runs have not ended"):
        manager.wait(batch.id, 0)
    jobs.drain()

    info = manager.get_batch(batch.id)
    assert (info["status"], info["total"], info["unfinished"]) == ("failed", 3, 0)
    assert (info["successful"], info["failed"], info["cancelled"], info["skipped"]) == (1, 1, 1, 0)
    with pytest.raises(
        JobFailed, match=r"1 failed, 1 cancelled; the first is run \d+ \(fail\): ValueError: no"
    ):
        manager.wait(batch.id, 0)


def test_an_empty_batch_ends_with_its_block(manager, jobs):
    with manager.batch("empty", on_end=parts.give) as batch:
        pass

    assert manager.wait(batch.id, 0)["total"] == 0
    assert [executed.result for executed in jobs.drain()] == [batch.id]


# Failures


def test_a_failed_dependency_cancels_what_waits_for_it_and_what_waits_for_that(manager, jobs):
    with manager.batch("failing") as batch:
        failed = batch.add(parts.fail)
        next_one = batch.add(parts.give, failed)
        last = next_one.then(parts.give)
        beside = batch.add(parts.give)
    jobs.drain()

    assert statuses(batch) == ["FAILED", "CANCELLED", "CANCELLED", "SUCCESSFUL"]
    assert run_of(next_one).error == (
        f"DependencyFailed: run {failed.run_id} (fail), which it waits for, is FAILED: ValueError: no"
    )
    assert f"run {next_one.run_id} (give), which it waits for, is CANCELLED" in run_of(last).error
    assert run_of(beside).error == ""


def test_a_chain_of_many_runs_is_cancelled_without_recursion(manager, jobs):
    with manager.batch("long") as batch:
        handle = batch.add(parts.fail)
        for _ in range(250):
            handle = handle.then(parts.give)
    jobs.drain()

    assert run_of(handle).status == Status.CANCELLED
    assert manager.get_batch(batch.id)["cancelled"] == 250


def test_a_run_that_runs_after_a_failure_is_given_the_error(manager, jobs):
    with manager.batch("failing") as batch:
        failed, fine = batch.add(parts.fail), batch.add(parts.give, 1)
        told = batch.add(parts.name_of_error, failed, after_failure="run")
        cancelled = batch.add(parts.give, failed)
        told_too = batch.add(parts.name_of_error, cancelled, after=fine, after_failure="run")
    jobs.drain()

    assert manager.wait(told, 0) == f"JobFailed: job {str(failed)!r} failed: ValueError: no"
    assert manager.wait(told_too, 0) == f"JobCancelled: job {str(cancelled)!r} was cancelled"


def test_a_run_that_runs_after_a_failure_waits_for_the_others(manager, jobs):
    with manager.batch("failing") as batch:
        failed = batch.using(priority=10).add(parts.fail)
        fine = batch.add(parts.give, 1)
        last = batch.add(parts.give, "last", after=[failed, fine], after_failure="run")

    assert [executed.job_id for executed in jobs.drain()] == [failed, fine, last]


def test_a_run_can_be_skipped_after_a_failure(manager, jobs):
    with manager.batch("failing") as batch:
        skipped = batch.add(parts.give, batch.add(parts.fail), after_failure="skip")
    jobs.drain()

    assert run_of(skipped).status == Status.SKIPPED
    assert run_of(skipped).error.startswith("DependencyFailed: ")


def test_only_the_ends_that_a_batch_names_are_failures(manager, jobs):
    with manager.batch("lenient", failures=["FAILED"]) as batch:
        cancelled = batch.add(parts.give, 1)
        after = batch.add(parts.give, 2, after=cancelled)
    assert manager.cancel_job(cancelled)
    jobs.drain()

    assert run_of(after).status == Status.SUCCESSFUL
    assert manager.wait(batch.id, 0)["cancelled"] == 1


def test_a_run_that_was_begun_too_late_counts_as_failed(manager, jobs):
    with manager.batch("late") as batch:
        late = batch.using(expires=1).add(parts.give, 1)
        after = batch.add(parts.give, late)
    Run.objects.filter(pk=late.run_id).update(options={**run_of(late).options, "expires_at": 0})
    jobs.drain()

    assert statuses(batch) == ["SKIPPED", "CANCELLED"]
    assert f"run {late.run_id} (give), which it waits for, is SKIPPED: Expired" in run_of(after).error


def test_a_retry_policy_is_over_before_others_hear_of_a_failure(manager, jobs):
    from django_jobs import Retry

    with manager.batch("retries") as batch:
        failed = batch.using(retry=Retry(max_attempts=2, delay=60)).add(parts.fail)
        after = batch.add(parts.give, failed)
    jobs.drain()
    assert run_of(after).state == "dependent"

    jobs.drain(deferred=True)
    assert run_of(after).status == Status.CANCELLED


# Callbacks


@pytest.mark.parametrize(("func", "word"), [(parts.give, "success"), (parts.fail, "failure")])
def test_the_end_adds_its_jobs_once(manager, jobs, func, word):
    callbacks = {
        "on_end": parts.give,
        "on_success": (parts.add, [1]),
        "on_failure": (parts.add, [2], {"right": 3}),
    }
    with manager.batch("told", **callbacks) as batch:
        batch.add_many([(func, [1])] * 3)
    jobs.drain()

    added = manager.get_batch(batch.id)["jobs"]
    assert set(added) == {"end", word}
    assert manager.wait(added["end"], 0) == batch.id
    assert manager.wait(added[word], 0) == (2 if word == "success" else 5)
    assert Run.objects.count() == 5


def test_a_batch_that_goes_well_at_last_adds_the_job_for_that(manager, jobs, tmp_path):
    path = tmp_path / "file"
    with manager.batch("again", on_end=parts.give, on_success=parts.give, on_failure=parts.give) as batch:
        batch.add(parts.fail_unless, str(path))
    jobs.drain()
    first = manager.get_batch(batch.id)["jobs"]
    path.touch()
    assert manager.retry_batch(batch.id) == 1
    assert manager.get_batch(batch.id)["status"] == "running"
    jobs.drain()

    then = manager.get_batch(batch.id)["jobs"]
    assert then == {**first, "success": then["success"]}
    assert set(then) == {"end", "failure", "success"}


def test_a_callback_that_cannot_be_called_is_refused_at_the_call(manager):
    with pytest.raises(TypeError, match="cannot be called with these arguments"):
        manager.batch("wrong", on_end=(parts.give, [1, 2]))


# Retries


def test_the_retry_of_a_failed_run_revives_what_was_ended_for_it(manager, jobs, tmp_path):
    path = tmp_path / "file"
    with manager.batch("again") as batch:
        failed = batch.add(parts.fail_unless, str(path))
        after = batch.add(parts.give, failed)
        skipped = batch.add(parts.give, after, after_failure="skip")
    jobs.drain()
    assert statuses(batch) == ["FAILED", "CANCELLED", "SKIPPED"]
    path.touch()
    assert manager.retry_run(failed.run_id)

    assert [run_of(handle).state for handle in (failed, after, skipped)] == [
        "ready",
        "dependent",
        "dependent",
    ]
    assert manager.get_batch(batch.id)["unfinished"] == 3
    jobs.drain()
    assert manager.wait(skipped, 0) == "there"
    assert manager.get_batch(batch.id)["status"] == "successful"


def test_what_is_revived_has_its_time_to_begin_again(manager, jobs, tmp_path):
    path = tmp_path / "file"
    with manager.batch("again") as batch:
        failed = batch.add(parts.fail_unless, str(path))
        after = batch.using(expires=60).add(parts.give, failed)
    jobs.drain()
    options = {**run_of(after).options, "expires_at": 0}
    Run.objects.filter(pk=after.run_id).update(options=options)
    path.touch()
    manager.retry_run(failed.run_id)
    jobs.drain()

    assert manager.wait(after, 0) == "there"


def test_what_waits_for_another_failed_run_too_is_not_revived(manager, jobs, tmp_path):
    path = tmp_path / "file"
    with manager.batch("again") as batch:
        first, second = batch.add(parts.fail_unless, str(path)), batch.add(parts.fail)
        after = batch.add(parts.give, [first, second])
    jobs.drain()
    path.touch()
    manager.retry_run(first.run_id)
    jobs.drain()

    assert statuses(batch) == ["SUCCESSFUL", "FAILED", "CANCELLED"]
    assert f"run {second.run_id} (fail)" in run_of(after).error
    assert manager.get_batch(batch.id)["cancelled"] == 1


def test_a_cancelled_run_that_is_retried_by_itself_is_cancelled_again(manager, jobs):
    with manager.batch("again") as batch:
        after = batch.add(parts.give, batch.add(parts.fail))
    jobs.drain()
    manager.retry_run(after.run_id)
    jobs.drain()

    assert statuses(batch) == ["FAILED", "CANCELLED"]
    assert manager.get_batch(batch.id)["status"] == "failed"


def test_a_retried_run_is_waited_for_by_what_still_waits(manager, jobs, tmp_path):
    path = tmp_path / "file"
    with manager.batch("again") as batch:
        failed = batch.using(priority=9).add(parts.fail_unless, str(path))
        other = batch.add(parts.give, 1)
        last = batch.add(parts.give, failed, after=other, after_failure="run")
    transitions.hold(Q(pk=other.run_id), using="default")
    jobs.drain()
    path.touch()
    manager.retry_run(failed.run_id)
    assert Dependent.objects.get(pk=last.run_id).waits == 2
    transitions.unhold(Q(pk=other.run_id), using="default")
    jobs.drain()

    assert manager.wait(last, 0) == "there"


def test_retry_batch_retries_what_failed_and_what_follows(manager, jobs, tmp_path):
    path = tmp_path / "file"
    with manager.batch("again") as batch:
        failed = batch.add_many([(parts.fail_unless, [str(path)])] * 3)
        last = batch.add(parts.give, list(failed))
    jobs.drain()
    path.touch()

    assert manager.retry_batch(batch.id) == 3
    assert [executed.job_id for executed in jobs.drain()] == [*failed, last]
    assert manager.get_batch(batch.id)["status"] == "successful"
    assert manager.retry_batch(batch.id) == 0
    assert manager.retry_batch("batch:none") == 0


# Cancels


def test_cancel_batch_ends_what_waits_and_takes_no_more(manager, jobs):
    batch = manager.batch("stopped", on_end=parts.give, on_failure=parts.give)
    first = batch.add(parts.give, 1)
    after = batch.add(parts.give, first, after_failure="run")

    assert manager.cancel_batch(batch.id)
    assert statuses(batch) == ["CANCELLED", "CANCELLED"]
    assert run_of(after).error == "its batch was cancelled"
    with pytest.raises(JobCancelled):
        manager.wait(batch.id, 0)
    with pytest.raises(BatchClosed, match="was cancelled"):
        batch.add(parts.give, 2)
    assert set(manager.get_batch(batch.id)["jobs"]) == {"end", "failure"}
    assert not manager.cancel_batch(batch.id)
    assert not manager.cancel_batch("batch:none")


def test_a_cancelled_batch_can_be_retried(manager, jobs):
    with manager.batch("stopped") as batch:
        after = batch.add(parts.give, batch.add(parts.give, 1))
    manager.cancel_batch(batch.id)
    manager.retry_batch(batch.id)
    jobs.drain()

    assert manager.wait(after, 0) == 1
    assert manager.wait(batch.id, 0)["status"] == "successful"


def test_a_cancelled_run_cancels_what_waits_for_it(manager):
    with manager.batch("cancelled") as batch:
        first = batch.add(parts.give, 1)
        batch.add(parts.give, first)
    manager.cancel_run(first.run_id)

    assert statuses(batch) == ["CANCELLED", "CANCELLED"]
    assert manager.get_batch(batch.id)["status"] == "failed"


# Open batches


def test_a_batch_is_added_to_until_it_is_closed(manager, jobs):
    batch = manager.batch("open")
    first = batch.add(parts.give, 1)
    jobs.drain()
    assert manager.get_batch(batch.id)["status"] == "open"
    again = manager.open_batch(batch.id)
    after = again.add(parts.add, first)
    jobs.drain()
    assert manager.wait(after, 0) == 2
    again.close()

    assert manager.wait(batch.id, 0)["total"] == 2
    with pytest.raises(BatchClosed, match="has ended"):
        batch.add(parts.give, 3)
    with pytest.raises(JobLookupError):
        manager.open_batch("batch:none")


def test_what_waits_for_a_run_that_has_failed_is_cancelled_when_it_is_added(manager, jobs):
    batch = manager.batch("open")
    failed = batch.add(parts.fail)
    jobs.drain()
    after = batch.add(parts.give, failed)
    told = batch.add(parts.name_of_error, failed, after_failure="run")
    batch.close()
    jobs.drain()

    assert run_of(after).status == Status.CANCELLED
    assert manager.wait(told, 0).startswith("JobFailed: ")
    assert manager.get_batch(batch.id)["status"] == "failed"


def test_a_running_run_adds_to_its_closed_batch(manager, jobs):
    with manager.batch("growing") as batch:
        batch.add(parts.add_more, 3)
    with pytest.raises(BatchClosed, match="only from its own running runs"):
        batch.add(parts.give, 1)
    jobs.drain()

    assert manager.wait(batch.id, 0)["total"] == 5


def test_an_async_function_adds_to_its_batch(manager, jobs):
    with manager.batch("growing") as batch:
        name = batch.add(parts.add_more_async, 3)
    jobs.drain()

    assert manager.wait(name, 0) == "growing"
    assert manager.wait(batch.id, 0)["total"] == 3


def test_methods_that_take_an_id_take_the_batch(manager):
    batch = manager.batch("itself")
    batch.add(parts.give, 1)

    assert str(manager.open_batch(batch)) == batch.id
    assert manager.get_batch(batch)["name"] == "itself"
    assert manager.cancel_batch(batch)


def test_a_batch_its_runs_and_its_callbacks_can_be_about_something(manager, jobs):
    user = get_user_model().objects.create_user("reader")
    with manager.using(tags=["import"]).batch("about", about=user, on_end=parts.give) as batch:
        batch.add(parts.give, 1)
    jobs.drain()

    assert set(Run.objects.values_list("about", flat=True)) == {f"auth.user:{user.pk}"}
    assert all(run.options["tags"] == ["import"] for run in Run.objects.all())
    with pytest.raises(ValueError, match="without a primary key"):
        manager.batch("about", about=get_user_model()())


def test_a_run_does_not_wait_for_its_own_batch(manager, jobs):
    with manager.batch("knot") as batch:
        knot = batch.add(parts.wait_for_own_batch)
    jobs.drain()

    assert "RuntimeError: batch 'knot' ends after this run" in run_of(knot).error


def test_a_batch_inside_a_transaction_is_rolled_back_with_it(manager):
    with transaction.atomic():
        manager.batch("outer").add(parts.give, 1)
        with manager.batch("inner") as batch:
            batch.add(parts.give, 1)
        assert Run.objects.count() == 2
        transaction.set_rollback(True)

    assert not Run.objects.exists()
    assert not Batch.objects.exists()


# Refusals


def test_handles_of_others_are_refused(manager):
    with manager.batch("one") as batch:
        other = batch.add(parts.give, 1)
    open_batch = manager.batch("two")
    gone = RunHandle.of("gone", 10**9, open_batch)

    with pytest.raises(ValueError, match=r"is part of another batch \('one'\).*on_success"):
        open_batch.add(parts.give, [other])
    with pytest.raises(ValueError, match=r"does not see it: the one that added it is not committed"):
        open_batch.add(parts.give, after=gone)
    with pytest.raises(TypeError, match="after must be handles"):
        open_batch.add(parts.give, after=["x"])
    for hidden in ({gone}, {"deep": [frozenset({gone})]}, {gone: 1}):
        with pytest.raises(TypeError, match="is in a set, or a key of a dict"):
            open_batch.add(parts.give, hidden)
    with pytest.raises(ValueError, match="is not part of a batch"):
        open_batch.add(parts.give, manager.add_immediate_job(parts.give, 1))
    assert manager.get_batch(open_batch.id)["total"] == 0


def test_handles_of_another_database_are_refused(manager, monkeypatch):
    there, here = manager.batch("there"), manager.batch("here")
    handle = there.add(parts.give, 1)
    monkeypatch.setattr(there._state, "using", "other")

    for args, after in (([handle], ()), ([1], handle)):
        with pytest.raises(ValueError, match="kept in the database 'other', and this batch in 'default'"):
            here.add(parts.give, *args, after=after)


@pytest.mark.django_db(transaction=True)
def test_a_batch_of_a_transaction_that_is_not_committed_takes_nothing_from_others(manager):
    if connection.vendor != "postgresql":
        pytest.skip("others wait there until the transaction ends")
    with transaction.atomic():
        batch = manager.batch("unseen")
        handle = batch.add(parts.give, 1)
        with ThreadPoolExecutor(1) as pool, pytest.raises(BatchClosed, match="is not committed"):
            pool.submit(in_a_thread, lambda: batch.add(parts.give, handle)).result(30)


def test_too_many_results_are_refused_at_the_call(manager, settings):
    settings.DJANGO_JOBS = {"MAX_PAYLOAD_BYTES": 20_000}
    with manager.batch("many") as batch:
        handles = batch.add_many([(parts.give, [1])] * 1100)
        with pytest.raises(ValueError, match=r"results of 1100 runs are too many to be passed.*after="):
            batch.add(parts.total, handles)
        batch.add(parts.give, 1, after=handles)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "x", "failures": ["LATE"]}, "failures may have"),
    ],
)
def test_wrong_batches_are_refused(manager, words, message):
    with pytest.raises(ValueError, match=message):
        manager.batch(**words)


def test_wrong_runs_are_refused_with_their_position(manager):
    batch = manager.batch("wrong")
    with pytest.raises(TypeError, match="job 1 of add_many: "):
        batch.add_many([(parts.give, [1]), (parts.give, [1, 2])])
    with pytest.raises(ValueError, match="after_failure must be"):
        batch.add(parts.give, 1, after_failure="ignore")
    with pytest.raises(ValueError, match="at least one function"):
        batch.chain()
    assert not Batch.objects.exists()


def test_unique_runs_are_refused_in_batches(manager):
    from django_jobs import Unique

    batch = manager.batch("unique")
    with pytest.raises(TypeError, match="can be neither"):
        batch.using(unique=Unique("one")).add(parts.give, 1)


def test_a_run_that_ends_in_its_own_transaction_releases_what_waits(manager, jobs):
    with manager.batch("atomic") as batch:
        last = batch.using(atomic=True).add(parts.give, 1).then(parts.add)
    jobs.drain()

    assert manager.wait(last, 0) == 2


def test_limits_hold_for_runs_of_a_batch_that_are_released(manager, make_worker):
    from django_jobs import Limit
    from django_jobs.storage import claims, outcomes
    from tests.storage.attempts import outcome

    make_worker(id="w")
    with manager.batch("limited") as batch:
        first = batch.add(parts.give, 1)
        batch.using(limit=Limit("one", concurrency=1)).add_many([(parts.give, [first])] * 2)
    for count in (1, 1, 1, 0):
        claimed = claims.claim("w", limit=9, using="default")
        assert len(claimed) == count
        outcomes.finish([(run, outcome()) for run in claimed], using="default")

    assert manager.get_batch(batch.id)["status"] == "successful"


def test_a_batch_is_entered_once(manager):
    batch = manager.batch("twice")
    with batch:
        pass
    with pytest.raises(RuntimeError, match="entered once"), batch:
        pass


def test_a_result_that_was_deleted_fails_the_run(manager, jobs):
    with manager.batch("gone") as batch:
        first = batch.add(parts.give, 1)
        after = batch.add(parts.give, first)
    jobs.drain(queues=["other"])
    jobs.run(first)
    Run.objects.filter(pk=first.run_id).delete()
    jobs.drain()

    assert run_of(after).status == Status.FAILED
    assert "ObjectGone: " in run_of(after).error


def test_handles_are_job_ids_and_come_in_order(manager):
    with manager.batch("handles") as batch:
        handles = batch.add_many((add_numbers, [number]) for number in range(700))

    assert len(handles) == 700
    assert handles[-1] == handles[699]
    assert handles[:2] == [handles[0], handles[1]]
    assert manager.get_job(handles[5])["args"] == [5]
    assert [handle.run_id for handle in handles] == sorted(handles.run_ids)
    with pytest.raises(IndexError):
        handles[700]


def test_references_are_shown_as_such(manager):
    with manager.batch("shown") as batch:
        first = batch.add(parts.give, 1)
        after = batch.add(parts.give, [first])

    assert manager.get_job(after)["args"] == [["<result 1 of what it waits for>"]]
    assert manager.get_job(after)["status"] == "dependent"


# From async code


@pytest.mark.django_db(transaction=True)
def test_async_code_has_batches_of_one_transaction(manager, run_async):
    async def use():
        async with manager.batch("async") as batch:
            parts_of_it = await batch.aadd_many([(parts.give, [1]), (parts.give, [2])])
            total = await batch.aadd(parts.total, parts_of_it)
            await total.athen(parts.give)
            seen = await manager.aget_batch(batch.id)
        other = manager.batch("rolled back")
        with pytest.raises(ZeroDivisionError):
            await add_and_fail(other)
        return batch.id, seen, await manager.aget_batch(other.id)

    async def add_and_fail(batch):
        async with batch:
            await batch.aadd(parts.give, 1)
            raise ZeroDivisionError

    key, seen, other = run_async(use())
    assert (seen, other) == (None, None)
    assert manager.get_batch(key)["total"] == 4


@pytest.mark.django_db(transaction=True)
def test_plain_batches_work_from_async_code(manager, run_async):
    async def use():
        with manager.batch("plain") as batch:
            batch.add(parts.give, 1).then(parts.add)
        handle = await manager.achain((parts.give, [1]), parts.add)
        opened = manager.batch("open")
        await opened.achain((parts.give, [1]), parts.add)
        await opened.aclose()
        await manager.acancel_batch(opened.id)
        return batch, handle, opened

    batch, handle, opened = run_async(use())
    assert manager.get_batch(batch.id)["total"] == 2
    assert manager.get_batch(handle.batch.id)["name"] == "add"
    assert manager.get_batch(opened.id)["status"] == "cancelled"
