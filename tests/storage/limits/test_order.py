"""Runs of a key that run strictly in the order in which they were added."""

import pytest
from django.db.models import Q
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import enqueue, outcomes, transitions
from django_jobs.storage.limits import line
from tests.storage.attempts import claim, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


@pytest.fixture
def ordered():
    def make(key="k", **fields):
        limit = {"key": key, "name": key, "concurrency": 1, "in_order": True}
        return new_run(options={"limit": limit}, **fields)

    return make


def test_the_next_waits_for_its_turn_whatever_its_priority(ordered, states):
    enqueue.insert([ordered(), ordered(), ordered(priority=100), ordered("other")], using="default")
    assert states() == ["ready", "ordered", "ordered", "ready"]

    (run, _) = sorted(claim(), key=lambda run: run.id)
    outcomes.finish([(run, outcome())], using="default")

    assert states() == ["successful", "ready", "ordered", "running"]


def test_the_next_waits_while_the_first_may_still_be_retried(ordered, states):
    enqueue.insert([ordered() for _ in range(2)], using="default")
    (first,) = claim()

    outcomes.finish([(first, outcome("READY", retry_in=60))], using="default")
    assert states() == ["deferred", "ordered"]

    Run.objects.filter(pk=first.id).update(run_after=timezone.now())
    (first,) = claim()
    outcomes.finish([(first, outcome("FAILED"))], using="default")
    assert states() == ["failed", "ready"]


def test_a_run_that_was_let_in_too_early_goes_back_to_its_turn(ordered, states):
    enqueue.insert([ordered() for _ in range(3)], using="default")
    (first,) = claim()
    outcomes.finish([(first, outcome("READY", retry_in=60))], using="default")
    # As a race may do it.
    Run.objects.filter(waits_for="order").update(waits_for=None, run_after=timezone.now())

    assert claim() == []
    assert states() == ["deferred", "ordered", "ordered"]


def test_of_runs_that_are_claimed_together_the_oldest_begins(ordered):
    enqueue.insert([ordered(), ordered(priority=9), ordered()], using="default")
    Run.objects.filter(waits_for="order").update(waits_for=None, run_after=timezone.now())

    (run,) = claim()

    assert run.id == Run.objects.order_by("id").first().pk


def test_a_cancelled_run_gives_its_turn_to_the_next(ordered, states):
    enqueue.insert([ordered(job_id="first"), ordered(job_id="second"), ordered()], using="default")

    transitions.cancel(Q(job_id="second"), using="default")
    assert states() == ["ready", "cancelled", "ordered"]
    transitions.cancel(Q(job_id="first"), using="default")
    assert states() == ["cancelled", "cancelled", "ready"]


def test_the_sweep_lets_in_whose_turn_nobody_saw(ordered, states):
    enqueue.insert([ordered() for _ in range(3)], using="default")
    Run.objects.filter(waits_for__isnull=True).delete()

    assert line.sweep(using="default") == 1
    assert states() == ["ready", "ordered"]
    assert line.sweep(using="default") == 0


def test_a_place_in_order_says_how_many_are_before_it(ordered):
    enqueue.insert([ordered() for _ in range(3)], using="default")

    place = line.place_of(Run.objects.order_by("id").last(), using="default")

    assert str(place) == "its turn in 'k': 2 are before it"
