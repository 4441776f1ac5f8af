import ast
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Batch, Queue, Run, Status
from django_jobs.storage import claims, transactions, transitions
from django_jobs.storage.queues import pause, paused_queues, resume
from tests.conftest import ROOT

pytestmark = pytest.mark.django_db


def test_cancel_ends_waiting_runs_and_asks_running_ones(make_run):
    waiting = make_run(job_id="x")
    running = make_run(job_id="x", status=Status.RUNNING, worker_id="w")
    done = make_run(job_id="x", status=Status.SUCCESSFUL)

    assert transitions.cancel(Q(job_id="x"), using="default") == (1, 1)

    statuses = {run.pk: run.status for run in Run.objects.all()}
    assert statuses == {waiting.pk: "CANCELLED", running.pk: "RUNNING", done.pk: "SUCCESSFUL"}
    assert claims.cancel_requests("w", using="default") == [running.pk]


def test_held_runs_wait_until_they_are_released(make_run, make_worker):
    make_worker(id="w")
    make_run(job_id="x")

    assert transitions.hold(Q(job_id="x"), using="default") == 1
    assert claims.claim("w", limit=1, using="default") == []
    assert transitions.unhold(Q(job_id="x"), using="default") == 1
    assert len(claims.claim("w", limit=1, using="default")) == 1


def test_what_is_paused_has_its_own_time_again_when_it_is_released(make_run):
    now = timezone.now()
    later = make_run(job_id="x", run_after=now + timedelta(days=7))
    retrying = make_run(job_id="x", run_after=now + timedelta(hours=1), attempt=1, error="ValueError: no")
    missed = make_run(job_id="x", run_after=now - timedelta(hours=1))
    broken = make_run(job_id="x", run_after=None, error="BadPayload: damaged")

    assert transitions.hold(Q(job_id="x"), using="default") == 3
    assert [run.state for run in Run.objects.order_by("pk")] == ["paused", "paused", "paused", "broken"]
    assert [run.pk for run in Run.objects.paused().order_by("pk")] == [later.pk, retrying.pk, missed.pk]
    assert [run.pk for run in Run.objects.broken()] == [broken.pk]
    assert transitions.unhold(Q(job_id="x"), using="default") == 4

    found = {run.pk: run for run in Run.objects.all()}
    assert found[later.pk].run_after == later.run_after
    assert (found[retrying.pk].run_after, found[retrying.pk].error) == (retrying.run_after, "ValueError: no")
    assert found[missed.pk].run_after >= now
    assert now <= found[broken.pk].run_after <= timezone.now()
    assert found[broken.pk].error == ""
    assert {run.held_run_after for run in found.values()} == {None}


def test_what_a_version_before_paused_is_released_now(make_run):
    # It kept no time.
    make_run(job_id="x", run_after=None)

    assert [run.state for run in Run.objects.all()] == ["paused"]
    assert transitions.unhold(Q(job_id="x"), using="default") == 1
    assert Run.objects.get().state == "ready"


def test_a_run_that_waits_for_its_time_is_hurried(make_run):
    later = make_run(run_after=timezone.now() + timedelta(days=1))
    held = make_run(run_after=None)

    assert transitions.run_now(Q(pk__in=[later.pk, held.pk]), using="default") == 1

    states = {run.pk: run.state for run in Run.objects.all()}
    assert states == {later.pk: "ready", held.pk: "paused"}


def test_retry_takes_only_runs_that_ended_without_success(make_run):
    done = make_run(job_id="x", status=Status.SUCCESSFUL)
    failed = make_run(job_id="x", status=Status.FAILED)

    assert transitions.retry(done.pk, using="default") is False
    assert transitions.retry(failed.pk, using="default") is True

    failed.refresh_from_db()
    assert (failed.status, failed.finished_at, failed.unique_key) == (Status.READY, None, "i:x")


def test_a_queue_is_paused_and_resumed_by_name():
    assert pause("q", using="default") is True
    assert pause("q", using="default") is False
    assert paused_queues(using="default") == ["q"]
    assert resume("q", using="default") is True
    assert resume("q", using="default") is False
    assert paused_queues(using="default") == []


def test_paused_queues_are_those_with_a_time():
    Queue.objects.create(name="going")
    Queue.objects.create(name="stopped", paused_at=timezone.now())

    assert paused_queues(using="default") == ["stopped"]


def test_a_cancel_of_plain_runs_asks_for_no_batch(make_run):
    make_run()
    make_run(status="RUNNING", job_id="running")

    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        assert transitions.cancel(Q(), using="default") == (1, 1)

    statements = [query["sql"] for query in queries if Run._meta.db_table in query["sql"]]
    # The runs (on MariaDB their keys, their locks and their columns), their end, and the question to those that run.
    assert len(statements) == {"sqlite": 3, "postgresql": 3}.get(connection.vendor, 5)
    assert not any(Batch._meta.db_table in query["sql"] for query in queries)


def test_only_the_storage_room_writes_the_status_of_a_run():
    package = ROOT / "django_jobs"

    writers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") in {"update", "update_or_create", "bulk_update", "save"}
        and any(keyword.arg == "status" for keyword in node.keywords)
    }

    assert writers == {
        "storage/batches/revival.py",
        "storage/claims.py",
        "storage/release.py",
        "storage/suspension.py",
        "storage/transitions.py",
    }


@pytest.mark.parametrize("hours", [3, -3])
def test_what_a_person_asks_for_is_due_by_the_databases_clock(make_run, monkeypatch, hours):
    # As if this host's clock were off.
    now = transactions.database_now("default") + timedelta(hours=hours)
    monkeypatch.setattr(transitions, "database_now", lambda using: now)
    failed = make_run(status="FAILED", options={"expires": 60, "expires_at": 1.0})
    held = make_run(run_after=None, held_run_after=now - timedelta(days=1), job_id="held")
    deferred = make_run(run_after=now + timedelta(days=1), job_id="deferred")

    transitions.retry(failed.pk, using="default")
    transitions.unhold(Q(pk=held.pk), using="default")
    transitions.run_now(Q(pk=deferred.pk), using="default")

    assert {run.run_after for run in Run.objects.all()} == {now}
    failed.refresh_from_db()
    assert failed.options["expires_at"] == pytest.approx(now.timestamp() + 60)
