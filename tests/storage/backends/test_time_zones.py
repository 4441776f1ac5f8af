"""`DATABASES[...]["TIME_ZONE"]`: SQLite and MariaDB have times without a zone, in that one."""

from datetime import UTC, timedelta

import pytest
from django.db import connection, connections

from django_jobs.models import Run, Worker
from django_jobs.storage import claims, enqueue, leases, outcomes, transactions
from django_jobs.storage.backends.choose import backend_of
from tests.storage.attempts import new_run, outcome

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["Asia/Tokyo", "America/New_York", "Asia/Kathmandu"])
def zone(request):
    """Have the connection's times be east or west of UTC, as if the settings said so."""
    if connection.vendor == "postgresql":
        pytest.skip("its times have a zone")
    before = connection.settings_dict["TIME_ZONE"]
    connection.settings_dict["TIME_ZONE"] = request.param
    clear()
    yield request.param
    connection.settings_dict["TIME_ZONE"] = before
    clear()


def clear():
    for name in ("timezone", "timezone_name"):
        connections["default"].__dict__.pop(name, None)


def test_what_is_due_and_who_is_dead_does_not_shift(zone, make_worker):
    now = transactions.database_now("default")
    make_worker(id="w", lease_expires_at=now + timedelta(seconds=30))
    enqueue.insert([new_run("due"), new_run("soon", run_after=now + timedelta(seconds=20))])

    assert claims.seconds_until_ready(within=60, using="default") == pytest.approx(20, abs=2)
    assert backend_of(connection).look_for_due() == (True, False)
    (run,) = claims.claim("w", limit=9, using="default")
    beat = leases.heartbeat("w", lease_seconds=30, using="default")

    assert run.job_id == "due"
    assert abs(Run.objects.get(job_id="due").started_at - now) < timedelta(seconds=5)
    assert abs(run.run_after - now) < timedelta(seconds=5)
    assert run.run_after.tzinfo is UTC
    assert abs(beat.now - now) < timedelta(seconds=5)
    assert beat.next_ready - now == timedelta(seconds=20)
    assert not beat.has_orphans
    assert leases.rescue(max_rescues=3, using="default") == []
    lease = Worker.objects.get(pk="w").lease_expires_at
    assert abs(lease - now - timedelta(seconds=30)) < timedelta(seconds=5)


def test_an_attempt_that_failed_is_tried_again_in_time(zone, make_worker):
    now = transactions.database_now("default")
    make_worker(id="w")
    enqueue.insert([new_run()])
    (run,) = claims.claim("w", limit=1, using="default")

    outcomes.finish([(run, outcome("READY", error="E", retry_in=60))], using="default")

    assert abs(Run.objects.get().run_after - now - timedelta(seconds=60)) < timedelta(seconds=5)
