from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_jobs.execution.watchdog import Watchdog
from django_jobs.models import Run
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import claims, leases
from django_jobs.worker.maintenance import Maintainer
from django_jobs.worker.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    """A worker whose threads do not run."""
    made = Worker(using="default")
    made.register()
    return made


@pytest.fixture
def maintainer(worker):
    """Its maintenance, that tests turn by hand."""
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
    maintainer.beat()

    set_clock(hours=1)
    maintainer.beat()

    assert status() == "RUNNING"
    assert WorkerRow.objects.get(pk="other").stopped_at is None


def test_after_the_clock_was_set_a_worker_that_stays_silent_for_a_lease_is_dead(
    maintainer, claimed, set_clock, monkeypatch
):
    maintainer.beat()
    set_clock(hours=1)
    maintainer.beat()

    # As if the lease had passed since.
    maintainer.steadiness.doubted_until = 0
    maintainer.beat()

    assert status() == "READY"


def test_a_worker_that_says_it_lives_after_the_clock_was_set_keeps_its_runs(maintainer, claimed, set_clock):
    maintainer.beat()
    set_clock(hours=1)
    maintainer.beat()

    leases.heartbeat("other", lease_seconds=30, using="default")
    maintainer.steadiness.doubted_until = 0
    maintainer.beat()

    assert status() == "RUNNING"


def test_a_clock_set_back_does_not_keep_a_dead_worker_alive(maintainer, claimed, set_clock):
    maintainer.beat()
    set_clock(hours=-1)
    maintainer.beat()

    maintainer.steadiness.doubted_until = 0
    maintainer.beat()

    # Its last heartbeat is in the future, and everybody who lives has said so since.
    assert status() == "READY"


def test_a_lease_that_ended_is_a_death_where_the_clock_goes_evenly(maintainer, claimed):
    maintainer.beat()
    WorkerRow.objects.filter(pk="other").update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    maintainer.beat()

    assert status() == "READY"


def test_a_worker_that_could_not_say_that_it_lives_takes_nobody_else_for_dead(maintainer, worker, claimed):
    maintainer.beat()
    # As after an outage longer than the lease, of which this worker is the first back.
    WorkerRow.objects.filter(pk="other").update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    worker.last_heartbeat -= worker.lease_seconds

    maintainer.beat()
    maintainer.beat()

    assert status() == "RUNNING"

    maintainer.steadiness.doubted_until = 0
    maintainer.beat()

    assert status() == "READY"


def test_limits_of_time_hold_while_the_database_is_away(maintainer, monkeypatch):
    looked = []

    def away():
        raise OperationalError("away")

    monkeypatch.setattr(maintainer, "beat", away)
    monkeypatch.setattr(Watchdog, "hold_to_time", lambda watchdog: looked.append(watchdog) or 0.01)

    with pytest.raises(OperationalError):
        maintainer.look()
    assert len(looked) == 1
    maintainer.rest(0.05)
    assert len(looked) > 2
