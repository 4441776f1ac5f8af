import threading
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_jobs.execution.watchdog import Watchdog
from django_jobs.models import DepthSample, Run
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import claims, leases
from django_jobs.storage.statistics import depth
from django_jobs.worker import registration
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
    maintainer.rest(0.3)
    assert len(looked) > 2


def test_a_workers_row_says_how_much_memory_it_holds_once_that_changed_by_a_tenth(
    worker, maintainer, monkeypatch
):
    def beat_with(size):
        monkeypatch.setattr(registration, "memory", lambda: size)
        maintainer.beat()
        return WorkerRow.objects.get(pk=worker.id).details.get("memory")

    assert registration.memory() is None or registration.memory() > 1_000_000
    assert beat_with(10**12) == 10**12
    assert beat_with(109 * 10**10) == 10**12
    assert beat_with(111 * 10**10) == 111 * 10**10
    assert beat_with(None) is None


def counting():
    return [thread for thread in threading.enumerate() if thread.name == "django_jobs-depth"]


def test_what_waits_is_counted_once_a_minute_and_nothing_is_asked_while_nothing_waits(
    maintainer, make_run, monkeypatch, until
):
    asked = []
    monkeypatch.setattr(depth, "sample", lambda now, using: asked.append(now))
    make_run(run_after=timezone.now() + timedelta(hours=1))
    maintainer.beat()
    assert asked == []

    make_run(run_after=timezone.now() - timedelta(minutes=5))
    for _ in range(2):
        maintainer.beat()
        until(lambda: asked and not counting())
    assert len(asked) in {1, 2}  # two where a minute has begun in between
    before = len(asked)
    in_a_minute = depth.minute_of(timezone.now()) + timedelta(minutes=2)
    monkeypatch.setattr(depth, "minute_of", lambda at: in_a_minute)
    # A thread that has just counted may not have ended.
    until(lambda: maintainer.beat() or len(asked) > before)
    maintainer.beat()
    assert len(asked) == before + 1


def test_no_heartbeat_waits_until_what_waits_is_counted(maintainer, make_run, monkeypatch, until):
    gate, count = threading.Event(), depth.sample

    def count_slowly(now, *, using):
        assert gate.wait(30)
        count(now, using=using)

    monkeypatch.setattr(depth, "sample", count_slowly)
    make_run(run_after=timezone.now() - timedelta(minutes=1))

    maintainer.beat()
    maintainer.beat()

    assert not DepthSample.objects.exists()
    gate.set()
    until(DepthSample.objects.exists)
    maintainer.stop()
    assert DepthSample.objects.get().due == 1
