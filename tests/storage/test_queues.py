import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs.models import Queue, Run
from django_jobs.operations import health
from django_jobs.storage import claims, queues
from django_jobs.storage.transactions import database_now

pytestmark = pytest.mark.django_db


def end_pause(name, by=timedelta(seconds=1)):
    """Have a pause end some time ago."""
    Queue.objects.filter(name=name).update(paused_until=database_now("default") - by)


def claimed(worker):
    return [run.id for run in claims.claim(worker.pk, limit=10, using="default")]


def test_a_pause_ends_by_the_databases_clock_without_a_write(make_run, make_worker, manager):
    run, worker = make_run(), make_worker()
    manager.pause_queue("default", until=datetime.now(UTC) + timedelta(hours=1), reason="a move", by="ada")

    assert claimed(worker) == []
    assert queues.obstacle("default", using="default") == "paused"
    end_pause("default")
    with CaptureQueriesContext(connection) as statements:
        assert claimed(worker) == [run.pk]

    assert not [sql for sql in statements if "django_jobs_queue" in sql["sql"].partition("WHERE")[0]]
    assert Queue.objects.get().paused_at is not None
    assert queues.paused_queues(using="default") == []


@pytest.mark.parametrize("way", ["claim_one", "dispatched", "inline"])
def test_every_claim_heeds_the_end_of_a_pause(make_run, make_worker, way):
    run, worker = make_run(), make_worker()
    queues.pause("default", until=database_now("default") + timedelta(hours=1), using="default")

    def claim():
        if way == "dispatched":
            return claims.claim_dispatched(run.pk, 1, worker.pk, using="default")
        if way == "inline":
            return claims.is_any_due(worker.pk, using="default") or None
        return claims.claim_one(run.pk, worker.pk, even_if_paused=False, using="default")

    assert claim() is None
    end_pause("default")
    assert claim() is not None


def test_a_pause_says_who_why_and_until_when(manager, caplog):
    caplog.set_level(logging.INFO)
    until = database_now("default") + timedelta(hours=2)

    assert manager.pause_queue("mail", until=until, reason="the mail server moves", by="ada")

    found = queues.pauses(using="default")["mail"]
    assert (found.until, found.by, found.reason) == (until, "ada", "the mail server moves")
    (report,) = health.report()["queues"]
    assert (report["is_paused"], report["paused_until"]) == (True, until.isoformat())
    assert (report["paused_by"], report["paused_reason"]) == ("ada", "the mail server moves")
    (line,) = [record.getMessage() for record in caplog.records if "paused" in record.getMessage()]
    assert "queue=mail" in line
    assert "by=ada: the mail server moves" in line


def test_a_second_pause_takes_the_place_of_the_first(manager):
    until = database_now("default") + timedelta(hours=2)
    assert manager.pause_queue("mail", until=until, reason="a while")

    assert not manager.pause_queue("mail", by="ada")

    found = queues.pauses(using="default")["mail"]
    assert (found.until, found.by, found.reason) == (None, "ada", "")


def test_a_pause_that_has_ended_is_none(manager):
    manager.pause_queue("mail", until=database_now("default") + timedelta(hours=2))
    end_pause("mail")

    assert not manager.resume_queue("mail")
    assert manager.pause_queue("mail")
    assert manager.resume_queue("mail")


@pytest.mark.parametrize(
    ("until", "message"),
    [(datetime(2026, 1, 1), "naive"), (datetime(2020, 1, 1, tzinfo=UTC), "in the future")],  # noqa: DTZ001
)
def test_the_end_of_a_pause_is_aware_and_to_come(manager, until, message):
    with pytest.raises(ValueError, match=message):
        manager.pause_queue("mail", until=until)

    assert not Queue.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_goes_on_by_itself_when_a_pause_ends(serve, manager, probes, until, settings):
    settings.DJANGO_JOBS = {"HEARTBEAT_SECONDS": 0.1, "LEASE_SECONDS": 5, "POLL_SECONDS": 0.1}
    manager.pause_queue("default", until=database_now("default") + timedelta(seconds=1))
    serve()
    job_id = manager.add_immediate_job(probes.nothing)

    assert Run.objects.get(job_id=job_id).status == "READY"
    until(lambda: Run.objects.get(job_id=job_id).status == "SUCCESSFUL")

    assert Run.objects.get().started_at >= Queue.objects.get().paused_until


def test_commands_pause_a_queue_for_a_while(manager):
    import io

    from django.core.management import call_command

    def jobs(*arguments):
        out = io.StringIO()
        call_command("jobs", *arguments, stdout=out, stderr=io.StringIO())
        return out.getvalue()

    jobs("pause", "--queue", "mail", "--for", "2h", "--reason", "a move")
    found = queues.pauses(using="default")["mail"]
    said = jobs("status")

    assert timedelta(minutes=119) < found.until - database_now("default") <= timedelta(hours=2)
    assert "mail is paused until" in said
    assert "(a move)" in said
    with pytest.raises(CommandError, match="are for queues"):
        jobs("pause", "nightly", "--for", "2h")
    with pytest.raises(CommandError, match="in the future"):
        jobs("pause", "--queue", "mail", "--until", "2020-01-01T00:00Z")
