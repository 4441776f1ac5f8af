import threading

import pytest
from django.db import connection

from django_jobs.models import Worker
from django_jobs.operations import health
from django_jobs.registry import discovery
from django_jobs.scheduler.clock import Clock
from django_jobs.storage import host_clock, notifications
from django_jobs.worker.maintenance import Maintainer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fast(settings):
    """Heartbeats that a test can wait for."""
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "HEARTBEAT_SECONDS": 0.1, "POLL_SECONDS": 0.1}


def problems(code="failing_process"):
    return [problem["text"] for problem in health.report()["problems"] if problem["code"] == code]


@pytest.mark.usefixtures("fast")
def test_a_part_that_fails_is_said_in_the_log_in_the_row_and_in_health_until_it_works(
    serve, until, monkeypatch, caplog
):
    fails = threading.Event()
    real = Clock.seconds_until_due

    def fail(clock):
        if fails.is_set():
            raise LookupError("a mistake")
        return real(clock)

    monkeypatch.setattr(Clock, "seconds_until_due", fail)
    service = serve()
    assert problems() == []

    fails.set()
    notifications.notify_local(notifications.JOBS)

    said = "the clock thread fails: LookupError: a mistake"
    until(lambda: Worker.objects.get().details.get("problems") == [said])
    assert problems() == [f"{service.worker.id} on {Worker.objects.get().host}: {said}"]
    lines = [
        record for record in caplog.records if "something is wrong in this process" in record.getMessage()
    ]
    assert [record.levelname for record in lines] == ["ERROR"]

    fails.clear()
    notifications.notify_local(notifications.JOBS)

    until(lambda: "problems" not in Worker.objects.get().details)
    assert problems() == []


@pytest.mark.usefixtures("fast")
def test_a_host_whose_clock_is_off_is_named_by_health(serve, until, monkeypatch):
    serve()

    monkeypatch.setattr(host_clock, "notable_seconds", lambda: -93.0)

    (text,) = until(lambda: problems("clock_off"))
    assert f"{Worker.objects.get().host} is 93 s behind the database's" in text
    assert health.report()["workers"][0]["clock_ahead_seconds"] == -93


def test_a_heartbeat_writes_what_is_wrong_only_where_that_has_changed(serve, django_assert_num_queries):
    service = serve()
    service.worker.maintenance.stop(10)
    # Without a listener, on whose thread its statements would be.
    maintainer = Maintainer(service.worker)
    # What a process looks for once, it has looked for then.
    maintainer.beat()

    with django_assert_num_queries(1 if connection.vendor != "mysql" else 2):
        maintainer.beat()


def test_a_worker_that_is_being_stopped_says_that_it_takes_no_more_runs(serve):
    service = serve()
    worker = service.worker
    assert not Worker.objects.get().is_quiet

    worker.stop_claiming()
    worker.maintenance.beat()

    assert Worker.objects.get().is_quiet
    (report,) = health.report()["workers"]
    assert (report["state"], health.shown_state(report)) == ("alive", "quiet")
    assert health.served(Worker.objects.get().heartbeat_at, "default") == []


@pytest.mark.usefixtures("fast")
def test_a_module_of_an_installed_package_that_cannot_be_imported_is_a_problem(serve, monkeypatch):
    monkeypatch.setattr(discovery, "_failures", {"theirs.jobs": "theirs.jobs cannot be imported"})
    serve()

    assert problems("unimported_jobs") == ["theirs.jobs cannot be imported"]
    assert problems() == []
