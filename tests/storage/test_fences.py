"""A database that goes back to an older state gives ids out again: the fence of a claim tells them apart."""

import random

import pytest

from django_jobs.models import Run, Status
from django_jobs.storage import claims, enqueue, fences, leases, outcomes, release
from django_jobs.storage.records import claimed
from tests.storage.attempts import claim, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


@pytest.fixture
def restored(make_run):
    """An old claim, and one of another run that has its id, worker and attempt: the database was restored."""
    row = make_run(job_id="old")
    (old,) = claim()
    Run.objects.all().delete()
    make_run(pk=row.pk, job_id="new")
    (new,) = claim()
    assert (new.id, new.worker_id, new.attempt) == (old.id, old.worker_id, old.attempt)
    return old, new


def test_an_outcome_of_before_a_restore_is_not_written_to_the_run_that_has_its_id(restored):
    old, new = restored

    assert outcomes.finish([(old, outcome(result='"old"'))], using="default") == set()
    assert outcomes.finish([(old, outcome("READY", retry_in=0))], using="default") == set()
    assert Run.objects.get().status == Status.RUNNING

    assert outcomes.finish([(old, outcome()), (new, outcome(result='"new"'))], using="default") == {new.key}
    assert Run.objects.get().result == '"new"'
    assert not outcomes.is_written(old, outcome(), using="default")


def test_nothing_else_of_before_a_restore_touches_the_run_that_has_its_id(restored):
    old, new = restored

    outcomes.set_progress(old, {"done": 1}, using="default")
    assert release.release_claims("w", [old.key], using="default") == 0
    assert not release.release_interrupted(old, outcome("FAILED", error="E"), using="default")
    assert leases.rescue_one(old, "it died", max_rescues=3, using="default") is None
    assert claims.held("w", using="default") == {new.key}

    row = Run.objects.get()
    assert (row.status, row.progress, row.errors) == (Status.RUNNING, None, None)


def test_a_run_of_a_version_without_fences_is_ended_by_its_worker(make_run):
    make_run()
    (run,) = claim()
    Run.objects.update(fence=None)
    run.fence = 0

    assert outcomes.finish([(run, outcome())], using="default") == {run.key}


@pytest.mark.parametrize("how", ["claim", "one", "dispatched", "inserted"])
def test_each_way_to_begin_a_run_has_a_fence(make_run, how):
    if how == "inserted":
        run = new_run(status="RUNNING", worker_id="w", fence=fences.new_fence())
        found = claimed(run, enqueue.insert_unless_paused(run, using="default"))
    else:
        pk = make_run().pk
        found = {
            "claim": lambda: claim()[0],
            "one": lambda: claims.claim_one(pk, "w", using="default"),
            "dispatched": lambda: claims.claim_dispatched(pk, 1, "w", using="default"),
        }[how]()

    assert found.fence == Run.objects.get().fence > 0


def test_fences_differ_whatever_a_job_does_to_random_numbers():
    random.seed(1)
    first = fences.new_fence()
    random.seed(1)
    assert fences.new_fence() != first


def test_a_forgotten_run_that_must_not_begin_twice_is_ended(make_run):
    make_run(job_id="once", options={"at_most_once": True})
    make_run(job_id="more")
    keys = [run.key for run in claim()]

    (ended,) = leases.end_forgotten("w", keys, using="default")

    assert (ended.job_id, ended.status) == ("once", "FAILED")
    once, more = Run.objects.get(job_id="once"), Run.objects.get(job_id="more")
    assert "older state" in once.error
    assert "at_most_once forbids another attempt" in once.error
    assert more.status == Status.RUNNING
