"""Runs of a key that begin no faster than its rate."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Pace, Run
from django_jobs.storage import enqueue, outcomes, release
from django_jobs.storage.limits import line, pace
from tests.storage.attempts import claim, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


@pytest.fixture
def rated():
    def make(key="k", every=60.0, **fields):
        limit = {"key": key, "name": key, "concurrency": fields.pop("concurrency", 2**31 - 1), "every": every}
        return new_run(options={"limit": limit}, **fields)

    return make


def let_time_pass(seconds):
    """As if all that is due in these seconds were due now."""
    earlier = timedelta(seconds=seconds)
    for row in Pace.objects.all():
        Pace.objects.filter(pk=row.pk).update(next_at=row.next_at - earlier, before=row.before - earlier)
    for run in Run.objects.filter(status="READY", run_after__isnull=False):
        Run.objects.filter(pk=run.pk).update(run_after=run.run_after - earlier)


def test_one_begins_and_the_next_is_due_when_the_rate_lets_it(rated, states):
    enqueue.insert([rated() for _ in range(3)], using="default")

    assert len(claim()) == 1
    assert states() == ["running", "deferred", "limited"]
    assert claim() == []

    let_time_pass(61)
    assert len(claim()) == 1
    assert states() == ["running", "running", "deferred"]


def test_no_more_begin_than_the_rate_allows_even_if_all_are_due(rated):
    enqueue.insert([rated() for _ in range(5)], using="default")
    Run.objects.update(waits_for=None, run_after=timezone.now())

    assert len(claim()) == 1
    assert claim() == []
    assert Run.objects.blocked().count() == 3


def test_a_run_that_is_added_later_is_due_when_the_rate_lets_it(rated, states):
    enqueue.insert([rated()], using="default")
    (run,) = claim()
    outcomes.finish([(run, outcome())], using="default")

    enqueue.insert([rated()], using="default")

    assert states() == ["successful", "deferred"]
    let_time_pass(61)
    assert len(claim()) == 1


def test_a_run_that_is_handed_back_unstarted_gives_its_share_back(rated):
    enqueue.insert([rated()], using="default")
    (run,) = claim()

    release.release_claims("w", [run.key], using="default")

    assert len(claim()) == 1


def test_a_share_is_not_given_back_by_who_has_none(rated):
    enqueue.insert([rated() for _ in range(2)], using="default")
    (first,) = claim()
    let_time_pass(61)
    (second,) = claim()

    release.release_claims("w", [first.key], using="default")
    assert claim() == []

    # Begun, failed, and refused when its retry is due: its first start counts.
    outcomes.finish([(second, outcome("READY", retry_in=0.0))], using="default")
    assert claim() == []
    assert claim() == []


def test_a_rate_holds_beside_a_concurrency(rated):
    enqueue.insert([rated(concurrency=1) for _ in range(3)], using="default")
    (first,) = claim()
    let_time_pass(61)
    assert claim() == []

    outcomes.finish([(first, outcome())], using="default")
    assert len(claim()) == 1


def test_a_retry_that_waits_for_long_keeps_nobody_from_beginning(rated):
    enqueue.insert([rated() for _ in range(2)], using="default")
    (first,) = claim()
    outcomes.finish([(first, outcome("READY", retry_in=3600.0))], using="default")
    let_time_pass(61)

    assert len(claim()) == 1


def test_keys_that_are_not_used_any_more_leave_no_rows(rated):
    enqueue.insert([rated(str(number), every=0.001) for number in range(20)], using="default")
    while runs := claim(limit=50):
        outcomes.finish([(run, outcome()) for run in runs], using="default")
    assert Pace.objects.count() == 20

    let_time_pass(120)
    line.sweep(using="default")

    assert Pace.objects.count() == 0
    assert pace.delete_old("default") == 0
