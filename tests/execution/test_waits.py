import threading
from datetime import timedelta

import pytest
import time_machine
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from django_jobs import signals
from django_jobs.models import Event, Run, Step, Worker
from django_jobs.storage import events, notifications, transitions
from django_jobs.testing import capture_jobs, drain_jobs
from tests.probes import durable
from tests.probes.models import Mark


@pytest.fixture
def when_started():
    """Return a function that has something done to each run's row as it begins."""
    connected = []

    def do(**changes):
        def change(run, **_):
            Run.objects.filter(pk=run.id).update(**changes)

        signals.run_started.connect(change)
        connected.append(change)

    yield do
    for receiver in connected:
        signals.run_started.disconnect(receiver)


def did():
    return [mark.text for mark in Mark.objects.order_by("pk")]


# Sleep


def test_a_run_sleeps_without_a_thread_and_goes_on_with_its_steps_remembered(serve, manager, until):
    service = serve(threads=1)

    job_id = manager.add_immediate_job(durable.sleep_between, 3600)
    until(lambda: Run.objects.get().state == "deferred")

    run = Run.objects.get()
    assert (run.status, run.attempt, run.worker_id, run.started_at) == ("READY", 0, "", None)
    until(lambda: service.worker.attempts() == [])
    transitions.run_now(Q(job_id=job_id), using="default")
    notifications.notify(notifications.RUNS, using="default")
    assert manager.wait(job_id, 20) == 1
    run.refresh_from_db()
    # Neither an attempt, nor a rescue, nor a hand-back.
    assert (run.attempt, run.rescues, run.errors, did()) == (1, 0, None, ["before", "after"])


def test_async_functions_sleep(serve, manager):
    serve()

    assert manager.wait(manager.add_immediate_job(durable.sleep_between_async, 0.2), 10) == "did after"
    assert did() == ["before", "after"]


def test_code_that_catches_exceptions_does_not_keep_a_run_awake(db, manager):
    manager.add_immediate_job(durable.swallow_exceptions_only, 3600)

    assert [one.status for one in drain_jobs()] == ["READY"]
    assert drain_jobs(deferred=True)[-1].result == "woke"


def test_a_function_that_catches_all_begins_again_all_the_same(db, manager):
    manager.add_immediate_job(durable.swallow_the_sleep, 3600)

    assert [one.status for one in drain_jobs()] == ["READY"]
    assert "begins again" in Run.objects.get().log
    assert drain_jobs(deferred=True)[-1].result == "woke"


def test_a_sleep_lasts_its_time_in_a_test_with_frozen_time(db, manager):
    with time_machine.travel("2026-01-01 12:00Z", tick=False) as clock, capture_jobs():
        manager.add_immediate_job(durable.sleep_between, 3600)
        drain_jobs()
        clock.shift(3599)
        assert drain_jobs() == []
        clock.shift(2)
        assert drain_jobs()[-1].status == "SUCCESSFUL"


def test_a_person_who_runs_it_now_ends_a_sleep(db, manager):
    job_id = manager.add_immediate_job(durable.sleep_between, 3600)
    drain_jobs()

    assert transitions.run_now(Q(job_id=job_id), using="default") == 1

    assert drain_jobs()[-1].status == "SUCCESSFUL"


def test_a_sleeping_run_is_cancelled_like_any_other_that_waits(db, manager):
    job_id = manager.add_immediate_job(durable.sleep_between, 3600)
    drain_jobs()

    assert manager.cancel_job(job_id)

    assert Run.objects.get().status == "CANCELLED"
    assert drain_jobs(deferred=True) == []


def test_a_run_that_was_to_stop_while_it_left_its_thread_is_cancelled(serve, manager, until, when_started):
    when_started(cancel_requested=True)
    serve()

    manager.add_immediate_job(durable.sleep_now)

    until(lambda: Run.objects.get().status == "CANCELLED")


def test_a_run_whose_job_was_paused_while_it_ran_sleeps_as_long_and_is_held(
    serve, manager, until, when_started
):
    when_started(held_run_after=timezone.now())
    serve()

    job_id = manager.add_immediate_job(durable.sleep_now)

    until(lambda: Run.objects.get().state == "paused")
    assert Run.objects.get().held_run_after > timezone.now() + timedelta(minutes=50)
    assert manager.resume_job(job_id)
    assert Run.objects.get().state == "deferred"


def test_work_that_expires_while_it_sleeps_goes_on(serve, manager):
    serve()

    job_id = manager.using(expires=0.3).add_immediate_job(durable.sleep_between, 0.5)

    assert manager.wait(job_id, 10) == 1


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (durable.sleep_in_a_step, "is under way"),
        (durable.sleep_in_a_transaction, "sleep() inside transaction.atomic()"),
    ],
)
def test_waiting_in_a_step_or_a_transaction_is_refused(db, manager, function, error):
    manager.add_immediate_job(function)

    (executed,) = drain_jobs()

    assert executed.status == "FAILED"
    assert error in executed.error


def test_what_must_not_begin_twice_cannot_sleep(db, manager):
    manager.using(at_most_once=True).add_immediate_job(durable.sleep_now)

    assert "at_most_once forbids" in drain_jobs()[0].error


def test_sleeping_runs_are_seen_neither_by_claims_nor_by_heartbeats(serve, manager, until, make_run):
    make_run(run_after=None, waits_for="event")
    service = serve()

    assert Run.objects.blocked().count() == 1
    assert Worker.objects.get().pk == service.worker.id
    until(lambda: service.worker.is_idle)


# Events


def test_a_run_waits_for_an_event_and_gets_what_was_sent(serve, manager, until):
    serve()
    job_id = manager.add_immediate_job(durable.wait_for, "signed:17")
    until(lambda: Run.objects.get().state == "sleeping")

    assert manager.send_event("signed:17", {"by": "reader", "at": timedelta(hours=1)}) == 1

    assert manager.wait(job_id, 10) == {"by": "reader", "at": timedelta(hours=1)}
    run = Run.objects.get()
    assert (run.attempt, run.rescues, run.errors) == (1, 0, None)
    assert not Event.objects.exists()


def test_async_functions_wait_for_events(serve, manager, until, run_async):
    serve()
    job_id = manager.add_immediate_job(durable.wait_for_async, "signed:17")
    until(lambda: Run.objects.get().state == "sleeping")

    assert run_async(manager.asend_event("signed:17", 5)) == 1

    assert manager.wait(job_id, 10) == 5


def test_an_event_that_nobody_waits_for_yet_is_kept_for_one_run(db, manager):
    assert manager.send_event("signed:17", "first") == 0
    manager.send_event("signed:17", "second")
    for _ in range(3):
        manager.add_immediate_job(durable.wait_for, "signed:17")

    assert [one.result for one in drain_jobs()] == ["first", "second", None]
    assert not Event.objects.exists()
    assert Run.objects.blocked().count() == 1


def test_an_event_reaches_all_runs_that_wait_for_it(db, manager):
    for _ in range(3):
        manager.add_immediate_job(durable.wait_for, "open")
    manager.add_immediate_job(durable.wait_for, "Open")
    drain_jobs()

    assert manager.send_event("open", 1) == 3

    assert [one.result for one in drain_jobs()] == [1, 1, 1]


def test_each_wait_for_a_name_is_for_the_next_event_of_it(db, manager):
    manager.add_immediate_job(durable.wait_twice, "tick")
    drain_jobs()
    manager.send_event("tick", 1)
    drain_jobs()

    manager.send_event("tick", 2)

    assert drain_jobs()[-1].result == [1, 2]


def test_an_event_of_a_transaction_that_is_rolled_back_was_never_sent(serve, manager, until):
    serve()
    manager.add_immediate_job(durable.wait_for, "signed:17")
    until(lambda: Run.objects.get().state == "sleeping")

    with transaction.atomic():
        assert manager.send_event("signed:17") == 1
        transaction.set_rollback(True)

    assert Run.objects.get().state == "sleeping"
    assert not Step.objects.filter(finished_at__isnull=False).exists()


def test_an_event_that_is_not_sent_in_time_is_a_timeout_in_all_attempts(serve, manager, until):
    serve()

    job_id = manager.add_immediate_job(durable.wait_for, "signed:17", timeout=0.3)

    assert manager.wait(job_id, 10) == "TimeoutError: the event 'signed:17' was not sent in time"
    assert manager.send_event("signed:17") == 0


def test_an_event_ends_a_wait_before_its_time(db, manager):
    manager.add_immediate_job(durable.wait_for, "signed:17", timeout=3600)
    drain_jobs()
    assert Run.objects.get().state == "deferred"

    manager.send_event("signed:17", "in time")

    assert drain_jobs()[-1].result == "in time"


def test_an_event_waits_with_a_paused_run_for_its_resume(db, manager):
    job_id = manager.add_immediate_job(durable.wait_for, "signed:17")
    drain_jobs()
    manager.pause_job(job_id)

    assert manager.send_event("signed:17", 1) == 1

    assert Run.objects.get().state == "paused"
    manager.resume_job(job_id)
    assert drain_jobs()[-1].result == 1


def test_resuming_a_run_that_waits_for_an_event_leaves_it_waiting(db, manager):
    job_id = manager.add_immediate_job(durable.wait_for, "signed:17")
    drain_jobs()
    manager.pause_job(job_id)
    manager.resume_job(job_id)

    assert Run.objects.get().state == "sleeping"
    assert drain_jobs(deferred=True) == []


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_a_run_that_begins_to_wait_while_the_event_is_sent_does_not_miss_it(serve, manager, until):
    serve()
    with transaction.atomic():
        assert manager.send_event("signed:17", "sent before") == 0
        job = threading.Thread(target=_add, args=(manager,))
        job.start()
        job.join()
        # It waits by now, and has not seen what is not committed.
        until(lambda: Run.objects.filter(waits_for="event").exists())

    until(lambda: Run.objects.get().status == "SUCCESSFUL")
    assert Run.objects.get().result == '"sent before"'


def _add(manager):
    manager.add_immediate_job(durable.wait_for, "signed:17")
    connection.close()


def test_an_event_that_comes_while_a_run_leaves_its_thread_begins_it_again(
    serve, manager, until, monkeypatch
):
    original = events.receive

    def receive(run, step_id, *, using):
        found = original(run, step_id, using=using)
        if found.finished_at is None:
            manager.send_event("signed:17", "just then")
        return found

    monkeypatch.setattr(events, "receive", receive)
    serve()

    job_id = manager.add_immediate_job(durable.wait_for, "signed:17")

    assert manager.wait(job_id, 10) == "just then"


def test_an_event_that_its_sender_could_not_deliver_is_delivered_by_pruning(db, manager):
    manager.add_immediate_job(durable.wait_for, "signed:17")
    drain_jobs()
    step = Step.objects.get()
    Step.objects.update(event=None)
    manager.send_event("signed:17", "late")
    Step.objects.update(event=step.event)

    events.prune(7, using="default")

    assert drain_jobs()[-1].result == "late"


def test_events_are_kept_for_a_while(db, manager):
    manager.send_event("old")
    Event.objects.update(sent_at=timezone.now() - timedelta(days=8))
    manager.send_event("new")

    assert events.prune(7, using="default") == 1

    assert Event.objects.get().name == "new"


def test_a_changed_event_is_never_believed(db, manager):
    manager.send_event("signed:17", "true")
    Event.objects.update(payload='"forged"')
    manager.add_immediate_job(durable.wait_for, "signed:17")

    assert "signature" in drain_jobs()[0].error
    assert Run.objects.get().state == "broken"


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00", 17])
def test_an_event_has_a_name(db, manager, name):
    with pytest.raises(ValueError, match="1 to 200 characters"):
        manager.send_event(name)


def test_an_event_is_no_larger_than_arguments(db, manager, settings):
    settings.DJANGO_JOBS = {"MAX_PAYLOAD_BYTES": 100}

    with pytest.raises(ValueError, match="MAX_PAYLOAD_BYTES"):
        manager.send_event("large", "x" * 200)
