"""A run that is added beside an idle worker is inserted as that worker's, and begins at its commit."""

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from django_jobs import codec
from django_jobs.models import Run
from django_jobs.storage import claims, enqueue, identity
from django_jobs.storage.notifications.polling import PollListener
from django_jobs.storage.notifications.thread import listener_class
from django_jobs.worker import local_start


@pytest.fixture
def idle(serve, manager, probes, until):
    """A service whose worker has nothing to do, and knows it."""

    def start(**options):
        service = serve(**options)
        manager.wait(manager.add_immediate_job(probes.nothing), 10)
        until(
            lambda: (
                service.worker.is_idle and all(consumer.is_drained for consumer in service.worker.consumers)
            )
        )
        Run.objects.all().delete()
        return service

    return start


def forbid_claims(monkeypatch):
    monkeypatch.setattr(claims, "claim", lambda *args, **kwargs: [])


def never_told(worker, monkeypatch):
    """Have commits of promised runs not told of; return what would have told of them."""
    real, untold = worker.local_start.promise, []

    def promise(run):
        untold.append(real(run))
        return lambda: None

    monkeypatch.setattr(worker.local_start, "promise", promise)
    return untold


def test_it_begins_without_a_claim(idle, manager, probes, monkeypatch):
    service = idle()
    forbid_claims(monkeypatch)

    assert manager.wait(manager.add_immediate_job(probes.give, 7), 10) == 7
    run = Run.objects.get()
    assert (run.status, run.attempt, run.worker_id) == ("SUCCESSFUL", 1, service.worker.id)


def test_it_costs_the_caller_one_statement(idle, manager, probes, django_assert_num_queries):
    idle()

    with django_assert_num_queries(1):
        job_id = manager.add_immediate_job(probes.nothing)

    manager.wait(job_id, 10)


def test_it_begins_when_the_callers_transaction_commits_and_no_sooner(idle, manager, probes):
    service = idle()

    with transaction.atomic():
        job_id = manager.add_immediate_job(probes.wait_for_go)
        assert (Run.objects.get().status, Run.objects.get().worker_id) == ("RUNNING", service.worker.id)
        assert not probes.began.wait(0.2)
        assert not service.worker.attempts()
    assert probes.began.wait(10)
    probes.go_on.set()
    manager.wait(job_id, 10)


def test_a_job_with_an_id_of_the_callers_is_handed_over_too(idle, manager, probes, monkeypatch):
    idle()
    forbid_claims(monkeypatch)

    manager.add_immediate_job(probes.give, 1, job_id="mine")

    assert manager.wait("mine", 10) == 1
    assert Run.objects.get().unique_key is None


def test_rolled_back_jobs_never_were_and_leave_the_worker_free(idle, manager, probes, monkeypatch):
    service = idle()
    for _ in range(service.worker.threads):
        with transaction.atomic():
            manager.add_immediate_job(probes.mark)
            transaction.set_rollback(True)
    forbid_claims(monkeypatch)

    # What was rolled back says nothing; it is no longer counted after a second.
    monkeypatch.setattr(local_start, "RECENT_SECONDS", 0.0)
    assert manager.wait(manager.add_immediate_job(probes.give, 1), 10) == 1
    assert Run.objects.count() == 1


def test_a_rolled_back_savepoint_takes_its_job_along(idle, manager, probes):
    idle()

    with transaction.atomic():
        with transaction.atomic():
            manager.add_immediate_job(probes.mark, job_id="undone")
            transaction.set_rollback(True)
        manager.add_immediate_job(probes.give, 2, job_id="done")

    assert manager.wait("done", 10) == 2
    assert [run.job_id for run in Run.objects.all()] == ["done"]


def test_a_busy_worker_is_given_no_more_than_it_has_threads(idle, manager, probes, until):
    service = idle(threads=1)
    blocking = manager.add_immediate_job(probes.wait_for_go)
    assert probes.began.wait(10)

    waiting = manager.add_immediate_job(probes.nothing)

    assert Run.objects.get(job_id=waiting).worker_id == ""
    assert [execution.run.job_id for execution in service.worker.attempts()] == [blocking]
    probes.go_on.set()
    manager.wait(waiting, 10)


@pytest.mark.parametrize("why", ["another's", "silent"])
def test_a_worker_is_not_given_what_it_would_not_claim(idle, why):
    service = idle()
    assert service.worker.local_start.would_begin("mail")
    if why == "another's":
        service.worker.consumers[0].queues = ("default",)
    else:
        # The database may have taken it for dead.
        service.worker.last_heartbeat -= 1000

    assert not service.worker.local_start.would_begin("mail")


def test_a_worker_that_stops_before_the_commit_hands_the_run_back(idle, manager, probes, monkeypatch):
    idle()
    # One under way, which waits for SQLite's lock, would find what is handed back.
    forbid_claims(monkeypatch)
    with transaction.atomic():
        manager.add_immediate_job(probes.give, 3, job_id="x")
        stopping = threading.Thread(target=manager.service.worker.claim_loop.stop)
        stopping.start()
        stopping.join()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.worker_id) == ("READY", 0, "")


def test_a_worker_that_was_taken_for_dead_before_the_commit_hands_the_run_back(
    idle, manager, probes, monkeypatch
):
    service = idle()
    forbid_claims(monkeypatch)
    with transaction.atomic():
        manager.add_immediate_job(probes.give, 3, job_id="x")
        service.worker.id = identity.new_worker_id()

    run = Run.objects.get()
    assert (run.status, run.attempt, run.worker_id) == ("READY", 0, "")


def test_a_run_whose_commit_was_not_answered_begins_after_two_heartbeats(
    idle, manager, probes, settings, make_run, monkeypatch
):
    settings.DJANGO_JOBS = {"HEARTBEAT_SECONDS": 0.1}
    service = idle()
    # The row is there, and nobody was told.
    never_told(service.worker, monkeypatch)
    job_id = manager.add_immediate_job(probes.give, 4)
    assert Run.objects.get().worker_id == service.worker.id

    assert manager.wait(job_id, 15) == 4
    assert Run.objects.get().attempt == 1


def test_a_commit_that_is_told_of_after_all_begins_nothing_twice(idle, manager, probes, monkeypatch, until):
    service = idle()
    worker = service.worker
    untold = never_told(worker, monkeypatch)
    job_id = manager.add_immediate_job(probes.mark)
    # Heartbeats pass before the transaction's other callbacks are through.
    until(lambda: worker.local_start.release_forgotten() or not worker.local_start.promised)
    manager.wait(job_id, 10)
    until(lambda: worker.is_idle)

    (keep,) = untold
    keep()

    assert not worker.attempts()
    assert Run.objects.get().attempt == 1


def test_a_run_that_is_committed_and_not_yet_promised_is_not_taken_for_unknown(
    idle, manager, probes, monkeypatch
):
    service = idle()
    insert = enqueue.insert_unless_paused

    def look_between(run, **options):
        run_id = insert(run, **options)
        # As after an answer that was lost.
        service.worker.local_start.release_unknown()
        return run_id

    monkeypatch.setattr(enqueue, "insert_unless_paused", look_between)
    forbid_claims(monkeypatch)

    assert manager.wait(manager.add_immediate_job(probes.give, 1), 10) == 1


def test_an_insert_that_fails_is_no_longer_waited_for(idle, manager, probes, monkeypatch):
    service = idle()

    def fail(run, **options):
        raise OperationalError("away")

    monkeypatch.setattr(enqueue, "insert_unless_paused", fail)

    with pytest.raises(OperationalError):
        manager.add_immediate_job(probes.nothing)
    assert service.worker.local_start.promised == 0


def test_promises_that_were_rolled_back_are_forgotten(idle, manager, probes, monkeypatch):
    worker = idle().worker
    with transaction.atomic():
        manager.add_immediate_job(probes.mark)
        transaction.set_rollback(True)
    assert worker.local_start.promised == 1
    monkeypatch.setattr(local_start, "PROMISE_SECONDS", 0.0)

    worker.local_start.forget_old()

    assert worker.local_start.promised == 0


def test_a_run_of_a_transaction_that_goes_on_is_not_taken_for_forgotten(idle, manager, probes):
    worker = idle().worker
    with transaction.atomic():
        job_id = manager.add_immediate_job(probes.give, 1)
        # As heartbeats would look, from a thread that sees only what is committed.
        for _ in range(3):
            looking = threading.Thread(
                target=lambda: (worker.local_start.release_forgotten(), connection.close())
            )
            looking.start()
            looking.join(10)
            assert not looking.is_alive()

    assert manager.wait(job_id, 10) == 1
    assert Run.objects.get().attempt == 1


def test_a_worker_without_work_lives_by_its_heartbeat_alone(idle, monkeypatch, settings, until):
    settings.DJANGO_JOBS = {"HEARTBEAT_SECONDS": 0.5}
    idle()
    statements, beat = [], "UPDATE django_jobs_worker"
    real = CursorWrapper.execute

    def execute(self, statement, params=None):
        statements.append(statement)
        return real(self, statement, params)

    monkeypatch.setattr(CursorWrapper, "execute", execute)

    def is_quiet():
        """What came before may still be counted and pruned, once; this is about what goes on."""
        statements.clear()
        until(lambda: sum(text.startswith(beat) for text in statements) >= 6)
        others = [text for text in statements if not text.startswith(beat)]
        if connection.vendor == "mysql" or listener_class("default") is PollListener:
            # An UPDATE returns nothing there, or no word of others' work can be heard.
            others = [text for text in others if not text.startswith("SELECT")]
        return not others

    until(is_quiet, timeout=30)


def test_a_run_that_is_added_right_after_its_queue_was_paused_waits(idle, manager, probes):
    idle()

    manager.pause_queue("mail")
    ids = [manager.using(queue_name="mail").add_immediate_job(probes.mark) for _ in range(20)]

    assert {run.status for run in Run.objects.filter(job_id__in=ids)} == {"READY"}
    assert manager.service.worker.local_start.promised == 0
    manager.resume_queue("mail")
    assert manager.wait(ids[0], 10) == "called"


def test_a_process_that_starts_leaves_a_paused_queue_alone(serve, manager, probes):
    manager.pause_queue("mail")
    ids = [manager.using(queue_name="mail").add_immediate_job(probes.nothing) for _ in range(30)]

    serve()

    manager.wait(manager.add_immediate_job(probes.nothing), 10)
    assert {run.status for run in Run.objects.filter(job_id__in=ids)} == {"READY"}


def test_a_run_of_before_a_restore_does_not_end_the_one_that_has_its_id(
    serve, manager, probes, make_run, until, caplog
):
    service = serve(threads=2)
    manager.add_immediate_job(probes.wait_for_go, job_id="old")
    assert probes.began.wait(10)
    old = Run.objects.get()
    Run.objects.all().delete()
    make_run(pk=old.pk, job_id="new", func="tests.probes.jobs:give", payload=codec.dump_arguments((5,), {}))

    service.worker.wake()
    assert manager.wait("new", 10) == 5
    Run.objects.update(status="RUNNING", result=None, finished_at=None)
    probes.go_on.set()
    until(lambda: service.worker.is_idle)

    assert Run.objects.get().result is None
    assert any(f"run={old.pk}" in message and "old" in message for message in caplog.messages)


def test_a_run_that_a_restore_brings_back_is_not_begun_twice_where_that_is_forbidden(
    serve, manager, probes, until, settings
):
    settings.DJANGO_JOBS = {"HEARTBEAT_SECONDS": 0.1}
    service = serve()
    again = manager.using(at_most_once=False).add_immediate_job(probes.mark, "again")
    once = manager.using(at_most_once=True).add_immediate_job(probes.mark, "once")
    manager.wait(again, 10)
    manager.wait(once, 10)
    until(lambda: service.worker.is_idle)

    Run.objects.update(status="RUNNING", result=None, finished_at=None)

    until(lambda: not Run.objects.unfinished().exists(), timeout=15)
    assert Run.objects.get(job_id=again).status == "SUCCESSFUL"
    ended = Run.objects.get(job_id=once)
    assert (ended.status, ended.attempt) == ("FAILED", 1)
    assert "older state" in ended.error
