from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import claims, leases
from django_jobs.worker.loop import Worker
from django_jobs.worker.maintenance import Maintainer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def maintainer():
    """The keeper of a worker, whose threads do not run: tests turn it by hand."""
    worker = Worker(using="default")
    worker._register(worker.id)
    return Maintainer(worker)


@pytest.fixture
def claimed(make_run, make_worker):
    """A run in the hands of a worker elsewhere."""
    make_worker(id="other", lease_expires_at=timezone.now() + timedelta(seconds=30))
    make_run()
    (run,) = claims.claim("other", limit=1, using="default")
    return run


def status():
    return Run.objects.get().status


def test_a_clock_set_forward_makes_nobody_take_a_living_worker_for_dead(maintainer, claimed, set_clock):
    maintainer._beat()

    set_clock(hours=1)
    maintainer._beat()

    assert status() == "RUNNING"
    assert WorkerRow.objects.get(pk="other").stopped_at is None


def test_after_the_clock_was_set_a_worker_that_stays_silent_for_a_lease_is_dead(
    maintainer, claimed, set_clock, monkeypatch
):
    maintainer._beat()
    set_clock(hours=1)
    maintainer._beat()

    # As if the lease had passed since.
    maintainer._unsteady_until = 0
    maintainer._beat()

    assert status() == "READY"


def test_a_worker_that_says_it_lives_after_the_clock_was_set_keeps_its_runs(maintainer, claimed, set_clock):
    maintainer._beat()
    set_clock(hours=1)
    maintainer._beat()

    leases.heartbeat("other", lease_seconds=30, using="default")
    maintainer._unsteady_until = 0
    maintainer._beat()

    assert status() == "RUNNING"


def test_a_clock_set_back_does_not_keep_a_dead_worker_alive(maintainer, claimed, set_clock):
    maintainer._beat()
    set_clock(hours=-1)
    maintainer._beat()

    maintainer._unsteady_until = 0
    maintainer._beat()

    # Its last heartbeat is in the future, and everybody who lives has said so since.
    assert status() == "READY"


def test_a_lease_that_ended_is_a_death_where_the_clock_goes_evenly(maintainer, claimed):
    maintainer._beat()
    WorkerRow.objects.filter(pk="other").update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    maintainer._beat()

    assert status() == "READY"


def test_a_worker_that_could_not_say_that_it_lives_takes_nobody_else_for_dead(maintainer, claimed):
    maintainer._beat()
    # As after an outage longer than the lease, of which this worker is the first back.
    WorkerRow.objects.filter(pk="other").update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    maintainer._worker.last_heartbeat -= maintainer._lease_seconds

    maintainer._beat()
    maintainer._beat()

    assert status() == "RUNNING"

    maintainer._unsteady_until = 0
    maintainer._beat()

    assert status() == "READY"


def test_limits_of_time_hold_while_the_database_is_away(maintainer, monkeypatch):
    looked = []

    def away():
        raise OperationalError("away")

    monkeypatch.setattr(maintainer, "_beat", away)
    monkeypatch.setattr(maintainer, "_stop_late", lambda executions, now: looked.append(now) or 0.01)

    with pytest.raises(OperationalError):
        maintainer._look()
    assert len(looked) == 1
    maintainer._wait_out(0.05)
    assert len(looked) > 2
