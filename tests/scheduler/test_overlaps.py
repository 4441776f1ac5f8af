"""Runs of a job that wait for the runs before it."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from django_jobs import triggers
from django_jobs.models import Job, Run
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.storage import claims, outcomes
from django_jobs.storage.records import Outcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def fire(make_job, make_worker):
    """Has a job fire at a time of some seconds ago; makes the job with the options first."""
    make_worker(id="w")

    def fire(seconds, **fields):
        at = timezone.now() - timedelta(seconds=seconds)
        if not Job.objects.filter(pk="x").exists():
            make_job(id="x", trigger=triggers.interval(3600), next_run_time=at, **fields)
        Job.objects.filter(pk="x").update(next_run_time=at)
        fire_due("default")
        return Run.objects.order_by("pk").last()

    return fire


def end(run, status="SUCCESSFUL", **more):
    outcomes.finish([(run, Outcome(status, timezone.now(), timezone.now(), **more))], using="default")


def claim():
    return claims.claim("w", limit=9, using="default")


def states():
    return [run.state for run in Run.objects.order_by("pk")]


def test_a_firing_waits_for_the_run_before_it_and_begins_when_that_ends(fire):
    fire(50, options={"overlap": "wait"})
    (first,) = claim()
    fire(40)
    assert states() == ["running", "ordered"]
    assert claim() == []

    end(first, "READY", retry_in=0)
    assert states()[1] == "ordered", "the run before it is to be tried again"
    (again,) = claim()
    end(again)
    assert states() == ["successful", "ready"]


def test_at_most_one_firing_waits_with_coalesce(fire):
    fire(50, options={"overlap": "wait"}, coalesce=True)
    fire(40)
    fire(30)
    assert states() == ["ready", "ordered", "skipped"]


def test_each_firing_waits_without_coalesce_in_order(fire):
    fire(50, options={"overlap": "wait"}, coalesce=False)
    waiting = [fire(seconds).pk for seconds in (40, 30, 20)]
    order = []
    while begun := claim():
        assert len(begun) == 1
        order.append(begun[0].id)
        end(begun[0])
    assert order[1:] == waiting


@pytest.mark.parametrize("ending", ["FAILED", "CANCELLED"])
def test_a_run_that_ends_badly_lets_the_next_one_through(fire, ending, manager):
    fire(50, options={"overlap": "wait"})
    if ending == "FAILED":
        (first,) = claim()
        fire(40)
        end(first, "FAILED", error="ValueError: no")
    else:
        fire(40)
        manager.cancel_run(Run.objects.order_by("pk").first().pk)
    assert states() == [ending.lower(), "ready"]


def test_a_removed_job_leaves_nothing_waiting(fire, manager):
    fire(50, options={"overlap": "wait"})
    fire(40)
    manager.remove_job("x")
    assert states() == ["cancelled", "cancelled"]


def test_a_run_under_way_is_asked_to_stop_for_the_next_one(fire):
    fire(50, options={"overlap": "cancel_running"})
    (first,) = claim()
    fire(40)
    fire(30)
    assert states() == ["stopping", "cancelled", "ordered"]
    end(first, "CANCELLED")
    assert states() == ["cancelled", "cancelled", "ready"]


def test_a_resumed_job_lets_its_next_run_through_when_it_is_its_turn(fire, manager):
    fire(50, options={"overlap": "wait"})
    (first,) = claim()
    fire(40)
    manager.pause_job("x")
    end(first)
    assert states() == ["successful", "paused"]
    manager.resume_job("x")
    assert states() == ["successful", "ready"]


def test_a_firing_lets_what_waits_through_that_nobody_let_through(fire):
    fire(50, options={"overlap": "wait"})
    fire(40)
    # As a version that knows no turns ends a run.
    Run.objects.filter(waits_for=None).update(status="SUCCESSFUL", finished_at=timezone.now())
    fire(20)
    assert states() == ["successful", "ready", "ordered"]


@pytest.mark.django_db(transaction=True)
def test_two_runs_that_end_at_the_same_time_let_two_through_and_no_third(fire):
    fire(50, options={"overlap": "wait"}, max_instances=2, coalesce=False)
    for seconds in (45, 40, 35, 30, 25):
        fire(seconds)
    first, second = claim()
    barrier = threading.Barrier(2)

    def finish(run):
        barrier.wait(timeout=10)
        try:
            end(run)
        finally:
            connection.close()

    threads = [threading.Thread(target=finish, args=(run,)) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert states() == ["successful", "successful", "ready", "ready", "ordered", "ordered"]


@pytest.mark.django_db(transaction=True)
def test_a_firing_while_the_run_before_it_ends_waits_for_nothing(fire):
    """Whichever of the two commits first, the new run begins."""
    fire(50, options={"overlap": "wait"})
    (first,) = claim()
    ended, may_commit = threading.Event(), threading.Event()

    def finish():
        try:
            with transaction.atomic():
                end(first)
                ended.set()
                may_commit.wait(timeout=10)
        finally:
            connection.close()

    thread = threading.Thread(target=finish)
    thread.start()
    assert ended.wait(timeout=10)
    threading.Timer(0.2, may_commit.set).start()
    fire(40)
    thread.join(timeout=30)
    fire_due("default")
    assert states()[1] in {"ready", "ordered"}
    # A clock that could not lock the job comes again.
    Job.objects.filter(pk="x").update(next_run_time=timezone.now())
    fire_due("default")
    assert "ready" in states()


@pytest.mark.parametrize("option", ["overlap", "pause_after_failures"])
def test_an_immediate_job_takes_no_option_of_schedules(manager, probes, option):
    value = "wait" if option == "overlap" else 3
    with pytest.raises(TypeError, match=f"{option} is for jobs with a schedule"):
        manager.using(**{option: value}).add_immediate_job(probes.mark, 1)


def test_a_wrong_overlap_is_refused(manager):
    with pytest.raises(ValueError, match='overlap must be "skip", "wait" or "cancel_running"'):
        manager.using(overlap="later")
