"""What runs wait for besides time and people: claims pass them, and it ends once."""

import pytest
from django.db.models import Q
from django.utils import timezone

from django_jobs.models import Run, Wait
from django_jobs.storage import claims, transitions, waits

pytestmark = pytest.mark.django_db


@pytest.fixture
def blocked(make_run, make_worker):
    make_worker(id="w")
    return make_run(job_id="x", run_after=None, waits_for=Wait.LIMIT)


@pytest.mark.parametrize(
    ("what", "state"),
    [("limit", "limited"), ("order", "ordered"), ("dependency", "dependent"), ("event", "sleeping")],
)
def test_a_run_says_what_it_waits_for(make_run, what, state):
    run = make_run(run_after=None, waits_for=what)

    assert run.state == state
    assert not run.is_held
    assert list(Run.objects.blocked()) == [run]
    assert not Run.objects.held().exists()
    assert not Run.objects.paused().exists()
    assert not Run.objects.broken().exists()


def test_a_run_that_waits_is_claimed_by_nobody_until_its_wait_ends(blocked):
    assert claims.claim("w", limit=9, using="default") == []
    assert claims.claim_one(blocked.pk, "w", using="default") is None

    assert waits.end_waits(Q(pk=blocked.pk, waits_for=Wait.LIMIT), using="default") == 1
    assert [run.id for run in claims.claim("w", limit=9, using="default")] == [blocked.pk]


def test_only_the_first_who_ends_a_wait_counts_the_run(blocked):
    assert waits.end_waits(Q(pk=blocked.pk), using="default") == 1
    assert waits.end_waits(Q(pk=blocked.pk), using="default") == 0


def test_a_paused_run_whose_wait_ends_goes_on_waiting_for_its_resume(blocked):
    assert transitions.hold(Q(job_id="x"), using="default") == 1
    assert Run.objects.get().state == "paused"
    assert waits.end_waits(Q(pk=blocked.pk), using="default") == 1
    assert Run.objects.get().state == "paused"

    assert transitions.unhold(Q(job_id="x"), using="default") == 1
    assert len(claims.claim("w", limit=1, using="default")) == 1


def test_a_resumed_run_goes_on_waiting_for_what_it_waited_for(blocked):
    transitions.hold(Q(job_id="x"), using="default")
    assert transitions.hold(Q(job_id="x"), using="default") == 0
    assert transitions.unhold(Q(job_id="x"), using="default") == 1

    assert Run.objects.get().state == "limited"
    assert claims.claim("w", limit=1, using="default") == []
    assert transitions.unhold(Q(job_id="x"), using="default") == 0
    assert Run.objects.get().state == "limited"


def test_a_run_that_waits_can_be_cancelled(blocked):
    assert transitions.cancel(Q(job_id="x"), using="default") == (1, 0)

    run = Run.objects.get()
    assert (run.status, run.waits_for) == ("CANCELLED", None)
    assert run.finished_at <= timezone.now()
