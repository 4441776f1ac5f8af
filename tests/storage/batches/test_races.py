"""Ends of a batch's runs at the same instant, and beside those who add, cancel, retry and pause."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction
from django.db.models import Q

from django_jobs.models import Batch, Run
from django_jobs.storage import claims, leases, outcomes, transitions
from tests.probes import parts
from tests.storage.attempts import end_lease, outcome

pytestmark = pytest.mark.django_db(transaction=True)

USING = {"using": "default"}


@pytest.fixture
def at_once():
    """Return a function that calls several at the same time, on threads, and returns what they did."""

    def call(*calls):
        barrier = threading.Barrier(len(calls))

        def one(work):
            try:
                connection.ensure_connection()
                barrier.wait(20)
                return work()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(calls)) as pool:
            return [future.result(60) for future in [pool.submit(one, work) for work in calls]]

    return call


def claim(worker_id, limit):
    return claims.claim(worker_id, limit=limit, **USING)


def finish(runs, status="SUCCESSFUL"):
    return lambda: outcomes.finish([(run, outcome(status)) for run in runs], **USING)


def test_the_last_two_runs_that_end_at_the_same_instant_release_and_end_once(manager, make_worker, at_once):
    make_worker(id="w")
    for _ in range(8):
        with manager.batch("last", on_end=parts.give, on_success=parts.give) as batch:
            first, second = batch.add(parts.give, 1), batch.add(parts.give, 2)
            joined = batch.add(parts.total, [first, second])
            beside = [batch.add(parts.give, 3), batch.add(parts.give, 4)]
        one, two, three, four = claim("w", 9)
        assert [one.id, two.id] == [first.run_id, second.run_id]

        at_once(finish([one, three]), finish([two, four]))

        row = Run.objects.get(pk=joined.run_id)
        assert (row.state, row.attempt) == ("ready", 0)
        at_once(finish(claim("w", 9)), manager.open_batch(batch.id).close)
        info = manager.get_batch(batch.id)
        assert (info["status"], info["successful"], len(info["jobs"])) == ("successful", 5, 2)
        assert Run.objects.ready().count() == 2, beside
        Run.objects.all().delete()


def test_ends_in_several_batches_lock_them_in_one_order(manager, make_worker, at_once):
    make_worker(id="w")
    for _ in range(8):
        batches = []
        for name in "ab":
            with manager.batch(name) as batch:
                runs = batch.add_many([(parts.give, [1])] * 10)
                batch.add(parts.give, 1, after=runs)
            batches.append(batch)
        runs = claim("w", 20)

        at_once(finish(runs[::2]), finish(runs[1::2][::-1]))

        assert len(claim("w", 9)) == 2
        Run.objects.all().delete()


def test_a_cancel_beside_the_ends_of_what_is_waited_for_deadlocks_with_none(manager, make_worker, at_once):
    make_worker(id="w")
    for _ in range(10):
        with manager.batch("cancelled") as batch:
            runs = batch.add_many([(parts.give, [1])] * 6)
            waiting = [batch.add(parts.give, 1, after=list(runs[i : i + 2])) for i in range(0, 6, 2)]
            batch.add(parts.give, 1, after=waiting)
        claimed = claim("w", 9)
        where = Q(batch_id=Batch.objects.get(key=batch.id).pk)

        def cancel(where=where):
            with transaction.atomic():
                transitions.cancel(where, **USING)

        at_once(finish(claimed[:3]), finish(claimed[3:]), cancel)

        info = manager.get_batch(batch.id)
        # What was asked and had ended is successful; all that waited was cancelled, or was released before.
        assert info["unfinished"] == Run.objects.unfinished().count() <= 3
        finish(claim("w", 9))()
        assert manager.get_batch(batch.id)["unfinished"] == Run.objects.unfinished().count() == 0
        Run.objects.all().delete()


def test_a_batch_that_is_cancelled_while_its_runs_end_ends_once(manager, make_worker, at_once):
    make_worker(id="w")
    for _ in range(8):
        with manager.batch("cancelled", on_end=parts.give) as batch:
            runs = batch.add_many([(parts.give, [1])] * 4)
            batch.add(parts.give, 1, after=runs)
        claimed = claim("w", 4)

        at_once(finish(claimed[:2]), finish(claimed[2:]), lambda key=batch.id: manager.cancel_batch(key))

        info = manager.get_batch(batch.id)
        assert (info["unfinished"], len(info["jobs"])) == (0, 1)
        assert info["successful"] + info["cancelled"] == 5
        Run.objects.all().delete()


def test_what_is_added_beside_the_end_of_what_it_waits_for_is_released(manager, make_worker, at_once):
    make_worker(id="w")
    for _ in range(8):
        batch = manager.batch("open")
        first = batch.add(parts.give, 1)
        claimed = claim("w", 1)

        at_once(finish(claimed), lambda batch=batch, first=first: batch.add(parts.give, first))

        (after,) = claim("w", 9)
        finish([after])()
        batch.close()
        assert manager.get_batch(batch.id)["status"] == "successful"
        Run.objects.all().delete()


def test_a_pause_beside_the_release_leaves_a_run_that_its_resume_frees(manager, make_worker, at_once):
    make_worker(id="w")
    for _ in range(8):
        with manager.batch("paused") as batch:
            after = batch.add(parts.give, batch.add(parts.give, 1))
        claimed = claim("w", 1)

        at_once(finish(claimed), lambda after=after: manager.pause_job(after))

        assert Run.objects.get(pk=after.run_id).state == "paused"
        assert claim("w", 1) == []
        manager.resume_job(after)
        finish(claim("w", 1))()
        assert manager.get_batch(batch.id)["status"] == "successful"
        Run.objects.all().delete()


def test_two_failed_runs_that_are_retried_at_the_same_time_revive_what_waits_for_both(
    manager, make_worker, at_once
):
    make_worker(id="w")
    for _ in range(8):
        with manager.batch("again") as batch:
            failed = [batch.add(parts.fail), batch.add(parts.fail)]
            after = batch.add(parts.give, failed)
        finish(claim("w", 2), "FAILED")()

        at_once(*(lambda run=run: manager.retry_run(run.run_id) for run in failed))

        assert Run.objects.get(pk=after.run_id).state == "dependent"
        finish(claim("w", 2))()
        finish(claim("w", 2))()
        assert manager.get_batch(batch.id)["status"] == "successful"
        Run.objects.all().delete()


def test_a_run_that_is_lost_for_good_cancels_what_waits_for_it(manager, make_worker):
    make_worker(id="w")
    with manager.batch("lost") as batch:
        after = batch.add(parts.give, batch.using(at_most_once=True).add(parts.give, 1))
    claim("w", 1)
    end_lease("w")

    assert leases.rescue(max_rescues=3, **USING)[0].status == "FAILED"

    assert Run.objects.get(pk=after.run_id).status == "CANCELLED"
    assert manager.get_batch(batch.id)["status"] == "failed"


def test_a_late_outcome_of_a_rescued_run_is_not_counted(manager, make_worker):
    make_worker(id="w")
    make_worker(id="other")
    with manager.batch("late") as batch:
        after = batch.add(parts.give, batch.add(parts.give, 1))
    claimed = claim("w", 1)
    end_lease("w")
    leases.rescue(max_rescues=3, **USING)
    again = claim("other", 1)

    assert finish(claimed)() == set()
    assert Run.objects.get(pk=after.run_id).state == "dependent"
    assert manager.get_batch(batch.id)["successful"] == 0
    finish(again)()
    assert Run.objects.get(pk=after.run_id).state == "ready"
