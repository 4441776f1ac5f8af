from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from django_jobs.exceptions import JobCancelled
from django_jobs.models import Job, Run
from django_jobs.storage import claim_start, claims, notifications
from django_jobs.storage.backends.postgresql import PostgreSQL
from tests.probes.models import Mark


@pytest.fixture
def no_looks(settings):
    """Have workers look by themselves once an hour: what happens earlier was not found by a poll or a heartbeat."""
    settings.DJANGO_JOBS = {"POLL_SECONDS": 3600, "HEARTBEAT_SECONDS": 3600, "LEASE_SECONDS": 7200}


def test_a_job_starts_when_it_is_committed_without_waiting_for_a_poll(serve, manager, probes, no_looks):
    serve()
    manager.wait(manager.add_immediate_job(probes.nothing), 10)

    job_id = manager.add_immediate_job(probes.wait_for_go)

    assert probes.began.wait(20)
    probes.go_on.set()
    manager.wait(job_id, 10)


def test_a_job_of_a_rolled_back_transaction_never_was(serve, manager, probes):
    serve()

    with transaction.atomic():
        manager.add_immediate_job(probes.mark)
        manager.add_recurring_job(probes.mark, 5)
        transaction.set_rollback(True)
    with transaction.atomic():
        manager.add_immediate_job(probes.wait_for_go, job_id="c")
        # One that did not wait for the commit would begin within milliseconds.
        assert not probes.began.wait(0.2)

    probes.go_on.set()
    assert manager.wait("c", 10) == "gone on"
    assert [run.job_id for run in Run.objects.all()] == ["c"]
    assert not Job.objects.exists()
    assert not Mark.objects.exists()


def test_a_waiting_run_is_cancelled_before_it_begins(serve, manager, probes):
    serve(threads=1)
    first = manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)
    second = manager.add_immediate_job(probes.mark)

    assert manager.cancel_job(second)

    with pytest.raises(JobCancelled):
        manager.wait(second, 10)
    probes.go_on.set()
    manager.wait(first, 10)
    assert not Mark.objects.exists()


def test_only_its_own_queues_are_served(serve, manager, probes, until):
    serve(queues=["mine"])

    other = manager.using(queue_name="other").add_immediate_job(probes.mark, "other")
    mine = manager.using(queue_name="mine").add_immediate_job(probes.mark, "mine")

    manager.wait(mine, 10)
    assert manager.get_job(other)["status"] == "queued"


def test_a_paused_queue_is_left_alone_from_then_on(serve, manager, probes, no_looks):
    serve()
    manager.pause_queue("stopped")

    stopped = manager.using(queue_name="stopped").add_immediate_job(probes.mark)
    manager.wait(manager.add_immediate_job(probes.nothing), 10)
    assert manager.get_job(stopped)["status"] == "queued"

    assert manager.resume_queue("stopped")
    assert manager.wait(stopped, 20) == "called"


def test_a_deferred_run_starts_when_it_is_due_without_waiting_for_a_poll(
    serve, manager, probes, make_run, no_looks
):
    serve()
    make_run(func="tests.probes.jobs:mark", job_id="x", run_after=timezone.now() + timedelta(seconds=0.5))
    notifications.notify_local(notifications.RUNS)

    assert manager.wait("x", 20) == "called"


def test_a_claim_whose_answer_was_lost_is_handed_back_and_claimed_again(serve, manager, probes, monkeypatch):
    real, calls = claims.claim, []

    def lose_the_answer(*args, **kwargs):
        runs = real(*args, **kwargs)
        if runs and not calls:
            calls.append(runs)
            raise OperationalError("server closed the connection unexpectedly")
        return runs

    # Before it starts: a claim under way would take the job unseen.
    monkeypatch.setattr(claims, "claim", lose_the_answer)
    serve()
    # More than one: a single one begins here without a claim.
    (job_id,) = manager.add_many([(probes.give, [42])])

    assert manager.wait(job_id, 15) == 42
    assert calls
    assert Run.objects.get().attempt == 1


def test_a_worker_that_finds_claims_slow_begins_where_its_last_one_was_and_leaves_nothing(
    serve, manager, probes, monkeypatch, until
):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL's claims begin elsewhere")
    monkeypatch.setattr(claim_start, "SLOW_SECONDS", -1)
    monkeypatch.setattr(claim_start, "SLOW_SECONDS_PER_RUN", 0)
    monkeypatch.setattr(claim_start, "FULL_EVERY_SECONDS", 3600)
    real, begun = PostgreSQL._pick_from, []

    def pick_from(backend, start, *args):
        begun.append(start.priority)
        return real(backend, start, *args)

    monkeypatch.setattr(PostgreSQL, "_pick_from", pick_from)
    for priority in (5, 0):
        manager.using(priority=priority).add_many([(probes.nothing, [])] * 60)

    serve(threads=2)

    until(lambda: Run.objects.filter(status="SUCCESSFUL").count() == 120)
    assert {5, 0} >= set(begun) > set()


def test_a_hand_back_that_fails_while_unknown_runs_are_looked_for_is_looked_for_again(
    serve, manager, monkeypatch, until, no_looks
):
    real, looks = claims.held, []

    def look(*args, **kwargs):
        looks.append(args)
        if len(looks) == 1:
            # As another thread's hand-back does that fails at this instant.
            service.worker.claim_loop.may_hold_unknown = True
        return real(*args, **kwargs)

    monkeypatch.setattr(claims, "held", look)
    service = serve()
    service.worker.claim_loop.may_hold_unknown = True

    until(lambda: service.worker.wake() or len(looks) >= 2)


def test_claiming_goes_on_after_the_database_was_away_and_says_so_once(
    serve, manager, probes, monkeypatch, caplog, until
):
    service = serve()
    real, calls = claims.claim, []

    def away(*args, **kwargs):
        calls.append(args)
        if len(calls) < 4:
            raise OperationalError("gone away")
        return real(*args, **kwargs)

    monkeypatch.setattr(claims, "claim", away)
    caplog.set_level("WARNING", "django_jobs")
    job_id = manager.add_immediate_job(probes.give, 42)
    service.worker.wake()

    assert manager.wait(job_id, 15) == 42

    def about():
        return [record.message for record in caplog.records if "the database" in record.message]

    until(lambda: len(about()) == 2)
    about = about()
    assert "does not answer" in about[0]
    assert "answers again" in about[1]


def test_queued_jobs_survive_until_a_worker_comes(manager, probes, serve):
    ids = [manager.add_immediate_job(probes.mark, str(n)) for n in range(20)]
    connection.close()

    serve()

    assert sorted(manager.wait(job_id, 10) for job_id in ids) == sorted(str(n) for n in range(20))
