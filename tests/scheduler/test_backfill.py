"""Runs of scheduled times in the past."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jobs import triggers
from django_jobs.exceptions import JobLookupError
from django_jobs.models import Batch, Job, Run, Status
from django_jobs.scheduler import backfill as backfill_module
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.storage import claims, outcomes, transitions, waits
from django_jobs.storage.batches import control, sweep
from django_jobs.storage.records import Outcome

pytestmark = pytest.mark.django_db

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 10, 23, tzinfo=UTC)


@pytest.fixture
def nightly(make_job, make_worker):
    make_worker(id="w")
    return make_job(
        id="x", trigger=triggers.crontab("0 3 * * *"), next_run_time=timezone.now() + timedelta(days=1)
    )


def work():
    """Claim and end runs until there are none; return their scheduled times in the order of their begin."""
    times = []
    while begun := claims.claim("w", limit=9, using="default"):
        assert len(begun) == 1, "one at a time"
        times.append(Run.objects.get(pk=begun[0].id).scheduled_at)
        end = Outcome("SUCCESSFUL", timezone.now(), timezone.now())
        outcomes.finish([(begun[0], end)], using="default")
    return times


def test_each_time_without_a_run_gets_one_and_they_run_in_order(nightly, manager):
    found = manager.backfill("x", START, END)

    assert (found.times, found.added, found.existing) == (10, 10, 0)
    expected = [datetime(2026, 3, day, 3, tzinfo=UTC) for day in range(1, 11)]
    assert work() == expected


def test_a_dry_run_only_counts(nightly, manager):
    found = manager.backfill("x", START, END, dry_run=True)
    assert (found.times, found.added) == (10, 10)
    assert found.batch_id is None
    assert not Run.objects.exists()
    assert not Batch.objects.exists()


def test_again_it_adds_nothing(nightly, manager):
    manager.backfill("x", START, END)
    assert manager.backfill("x", START, END).added == 0
    assert manager.backfill("x", START, END, dry_run=True).added == 0
    assert manager.backfill("x", START, END + timedelta(days=1)).added == 1
    assert Run.objects.count() == 11


@pytest.fixture
def kill_after(monkeypatch):
    """Return a function that has each backfill of four times a transaction die after so many of these."""
    monkeypatch.setattr(backfill_module, "TIMES", 4)
    fill = backfill_module._Filling.fill

    def set_to(most):
        calls = []

        def die_later(*args, **words):
            if len(calls) == most:
                raise SystemExit
            calls.append(args)
            return fill(*args, **words)

        monkeypatch.setattr(backfill_module._Filling, "fill", die_later)

    return set_to


def kill(manager, kill_after, transactions=1):
    kill_after(transactions)
    with pytest.raises(SystemExit):
        manager.backfill("x", START, END)
    kill_after(None)


def test_after_it_was_killed_half_way_the_same_batch_takes_the_rest(nightly, manager, kill_after):
    kill(manager, kill_after)
    (half,) = Batch.objects.all()
    assert (half.state, half.total) == ("open", 4)

    found = manager.backfill("x", START, END)

    assert (found.added, found.batch_id) == (6, half.key)
    assert manager.get_batch(half.key)["status"] == "running"
    assert len(set(work())) == Run.objects.count() == 10
    assert manager.wait(found.batch_id, 0)["successful"] == 10
    assert Batch.objects.count() == 1


def test_a_backfill_that_was_killed_and_not_repeated_ends(nightly, manager, kill_after):
    kill(manager, kill_after)
    work()
    sweep.sweep(using="default")
    assert Batch.objects.get().state == "open"

    sweep.sweep(using="default", still=timedelta(0))
    assert Batch.objects.get().state == "successful"

    found = manager.backfill("x", START, END)
    assert found.added == 6
    assert found.batch_id not in {None, Batch.objects.earliest("pk").key}
    assert len(work()) == 6
    assert [(batch.state, batch.total) for batch in Batch.objects.order_by("pk")] == [
        ("successful", 4),
        ("successful", 6),
    ]


def test_its_runs_are_a_batch_that_ends_once(nightly, manager):
    batch_id = manager.backfill("x", START, END).batch_id
    assert Batch.objects.get().name.endswith("to 2026-03-10 23:00:00 UTC: x")
    with pytest.raises(TimeoutError, match="10 of its 10 runs have not ended"):
        manager.wait(batch_id, 0)
    assert set(Run.objects.values_list("batch_id", flat=True)) == {Batch.objects.get().pk}

    work()
    info = manager.wait(batch_id, 0)
    again = manager.backfill("x", START, END)

    assert (info["status"], info["successful"], info["total"]) == ("successful", 10, 10)
    assert (again.added, again.batch_id) == (0, batch_id)
    assert manager.get_batch(batch_id) == info
    assert Batch.objects.count() == 1


def test_cancelling_its_batch_starts_none_of_it(nightly, manager, monkeypatch):
    batch_id = manager.backfill("x", START, END).batch_id
    assert claims.claim("w", limit=9, using="default")
    monkeypatch.setattr(control, "ROWS", 3)
    let_through = []
    end_waits = waits.end_waits
    monkeypatch.setattr(
        "django_jobs.storage.waits.end_waits",
        lambda *args, **words: let_through.append(end_waits(*args, **words)),
    )

    manager.cancel_batch(batch_id)

    assert not let_through
    assert sorted(Run.objects.values_list("status", flat=True)) == ["CANCELLED"] * 9 + ["RUNNING"]
    assert Run.objects.running().get().cancel_requested
    again = manager.backfill("x", START, END)
    assert (again.added, again.batch_id) == (0, batch_id)
    assert manager.retry_batch(batch_id) == 9


def test_a_batch_that_is_cancelled_while_it_is_filled_takes_no_more(nightly, manager, monkeypatch):
    monkeypatch.setattr(backfill_module, "TIMES", 4)
    fill = backfill_module._Filling.fill

    def fill_and_cancel(filling, *args, **words):
        count = fill(filling, *args, **words)
        manager.cancel_batch(filling.batch_id)
        return count

    monkeypatch.setattr(backfill_module._Filling, "fill", fill_and_cancel)
    found = manager.backfill("x", START, END)

    assert (found.times, found.added) == (10, 4)
    assert manager.get_batch(found.batch_id)["status"] == "cancelled"
    monkeypatch.setattr(backfill_module._Filling, "fill", fill)
    assert manager.backfill("x", START, END).added == 6
    assert len(work()) == 6


def test_a_run_of_a_backfill_that_expired_is_unfinished_in_its_batch_again(nightly, manager):
    batch_id = manager.backfill("x", START, END).batch_id
    expired = Run.objects.order_by("scheduled_at")[7:8].get()
    transitions.end_waiting(Run.objects.filter(pk=expired.pk), Status.SKIPPED, "Expired", using="default")
    work()
    assert manager.get_batch(batch_id)["status"] == "failed"

    again = manager.backfill("x", START, END)

    assert (again.added, again.batch_id) == (1, batch_id)
    assert manager.get_batch(batch_id)["status"] == "running"
    assert work() == [expired.scheduled_at]
    assert manager.get_batch(batch_id)["successful"] == 10


@pytest.mark.django_db(transaction=True)
def test_the_same_backfill_twice_at_the_same_time_fills_one_batch_while_its_runs_end(
    nightly, manager, monkeypatch
):
    monkeypatch.setattr(backfill_module, "TIMES", 2)
    barrier = threading.Barrier(2)
    find = backfill_module._Filling.find
    looked = set()

    def find_together(filling):
        last = find(filling)
        if threading.get_ident() not in looked:
            # Neither has seen the other's batch.
            looked.add(threading.get_ident())
            barrier.wait(timeout=10)
        return last

    def fill():
        try:
            return manager.backfill("x", START, END)
        finally:
            connection.close()

    monkeypatch.setattr(backfill_module._Filling, "find", find_together)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fill) for _ in range(2)]
        times = []
        while not all(one.done() for one in both):
            times += work()
        found = [one.result() for one in both]
    times += work()

    assert times == sorted(times)
    assert len(set(times)) == len(times) == sum(one.added for one in found) == 10
    assert {one.batch_id for one in found} == {Batch.objects.get().key}
    assert manager.wait(Batch.objects.get().key, 0)["successful"] == 10


def test_a_firing_that_was_skipped_is_run(nightly, manager):
    at = datetime(2026, 3, 4, 3, tzinfo=UTC)
    Job.objects.filter(pk="x").update(next_run_time=at, misfire_grace_time=1)
    fire_due("default")
    skipped = Run.objects.get()
    assert skipped.status == "SKIPPED"
    missed = skipped.scheduled_at

    found = manager.backfill("x", missed, missed)

    assert (found.times, found.added) == (1, 1)
    assert work() == [missed]
    assert manager.wait(found.batch_id, 0)["total"] == 1


def test_a_time_that_the_clock_fired_is_not_doubled(nightly, manager):
    Job.objects.filter(pk="x").update(next_run_time=timezone.now() - timedelta(days=1))
    fire_due("default")
    fired = Run.objects.get().scheduled_at
    assert manager.backfill("x", fired - timedelta(days=2), fired).added == 2
    assert Run.objects.filter(scheduled_at=fired).count() == 1


@pytest.mark.parametrize(("month", "day"), [(3, 29), (10, 25)])
def test_each_day_of_a_change_of_the_clocks_is_run_once(make_job, manager, month, day):
    make_job(id="b", trigger=triggers.crontab("30 2 * * *", "Europe/Berlin"))
    start = datetime(2026, month, day - 1, tzinfo=UTC)
    found = manager.backfill("b", start, start + timedelta(days=3))
    assert found.times == found.added == 3
    days = [run.scheduled_at.date().day for run in Run.objects.order_by("scheduled_at")]
    assert days == [day - 1 + offset for offset in range(3)]


def test_a_firing_while_a_backfill_runs_waits_behind_it(nightly, manager):
    manager.backfill("x", START, END)
    Job.objects.filter(pk="x").update(next_run_time=timezone.now() - timedelta(seconds=1))
    fire_due("default")

    times = work()
    assert len(times) == 11
    assert times == sorted(times)


def test_what_cannot_be_filled_is_refused(nightly, manager):
    with pytest.raises(JobLookupError):
        manager.backfill("nosuch", START, END)
    with pytest.raises(ValueError, match="is after the end"):
        manager.backfill("x", END, START)
    with pytest.raises(ValueError, match="has not come"):
        manager.backfill("x", START, timezone.now() + timedelta(days=1))
    with pytest.raises(ValueError, match="naive"):
        manager.backfill("x", START.replace(tzinfo=None), END)
    Job.objects.filter(pk="x").update(job_state=triggers.dumps(triggers.interval(1, start=START)))
    with pytest.raises(ValueError, match="more than 10,000 scheduled times"):
        manager.backfill("x", START, END)
