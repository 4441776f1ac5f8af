"""What is Celery's alone: messages that are late, lost, doubled or refused, and the ends of its processes."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from django_jobs.integrations.celery import messages
from django_jobs.integrations.celery.dispatcher import Dispatcher
from django_jobs.models import Run, Worker
from django_jobs.storage import claims, identity, leases, outbox, outcomes, release, transitions
from django_jobs.storage.records import Outcome
from tests.execution.engines import celery_apps
from tests.execution.engines.conftest import QUICK
from tests.probes.models import Mark

FUNCTIONS = "tests.probes.conformance"
AN_HOUR, FIVE_MINUTES = timedelta(hours=1), timedelta(minutes=5)

on_each_broker = pytest.mark.parametrize("broker", ["rabbitmq", "redis"])


def stored(job_id):
    return Run.objects.get(job_id=job_id)


def send(fleet, run_id, attempt):
    """Send a message as a dispatcher does that knows no better."""
    list(messages.send(fleet.app, fleet.queue_name, [outbox.Dispatch(run_id, attempt, 0)]))


def elsewhere(call):
    """Return what something comes to on another thread, and its connection."""

    def work():
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(30)


# Messages


@on_each_broker
def test_a_second_message_is_refused(fleet_on, serve, manager, broker, until):
    fleet = fleet_on(broker)
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)
    first = fleets.add_immediate_job(f"{FUNCTIONS}:mark", "first")
    manager.wait(first, 60)

    run = stored(first)
    for attempt in (1, 1, 2):
        send(fleet, run.pk, attempt)
    manager.wait(fleets.add_immediate_job(f"{FUNCTIONS}:mark", "last"), 60)
    until(lambda: fleet.waiting() == 0, timeout=60)

    assert stored(first).attempt == 1
    assert sorted(Mark.objects.values_list("text", flat=True)) == ["first", "last"]


@on_each_broker
def test_two_messages_at_once_execute_a_run_once(fleet_on, manager, broker, until):
    fleet = fleet_on(broker)
    job_id = manager.using(queue_name=fleet.queue_name).add_immediate_job(f"{FUNCTIONS}:mark", "once")

    for _ in range(6):
        send(fleet, stored(job_id).pk, 1)

    assert manager.wait(job_id, 60) == "once"
    until(lambda: fleet.waiting() == 0, timeout=60)
    assert stored(job_id).attempt == Mark.objects.count() == 1


@on_each_broker
def test_a_lost_message_is_sent_again(new_fleet, serve, manager, broker, until):
    fleet = new_fleet(broker, REDISPATCH_SECONDS=2)
    serve()
    job_id = manager.using(queue_name=fleet.queue_name).add_immediate_job(f"{FUNCTIONS}:add", 1)
    until(lambda: fleet.waiting() == 1, timeout=60)

    assert fleet.purge() == 1
    until(lambda: fleet.waiting() == 1, timeout=60)

    fleet.start()
    assert manager.wait(job_id, 60) == 3
    assert stored(job_id).attempt == 1


@on_each_broker
def test_a_message_is_sent_after_commit_and_none_after_a_rollback(new_fleet, serve, manager, broker, until):
    fleet = new_fleet(broker)
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)

    with transaction.atomic():
        fleets.add_immediate_job(f"{FUNCTIONS}:mark", "undone")
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = fleets.add_immediate_job(f"{FUNCTIONS}:mark", "kept")
        if connection.vendor != "sqlite":
            # Where others can look while a transaction is open, they see nothing to tell of.
            assert elsewhere(lambda: Dispatcher("default", [fleet.queue_name]).has_nothing_due())
        assert fleet.purge() == 0

    until(lambda: fleet.waiting() == 1, timeout=60)
    fleet.start()
    assert manager.wait(kept, 60) == "kept"
    assert [mark.text for mark in Mark.objects.all()] == ["kept"]


def test_a_message_says_which_run_and_nothing_of_what_it_calls(new_fleet, serve, manager, until):
    fleet = new_fleet("redis")
    serve()
    job_id = manager.using(queue_name=fleet.queue_name).add_immediate_job(f"{FUNCTIONS}:mark", "a secret")
    until(lambda: fleet.waiting() == 1, timeout=60)

    with fleet.app.connection_for_read() as conn:
        message = conn.SimpleQueue(fleet.queue_name).get(timeout=60)
        message.ack()

    assert message.payload[:2] == [[stored(job_id).pk, 1], {}]
    assert "secret" not in str(message.payload)
    assert message.headers["task"] == "django_jobs.execute"
    assert message.content_type == "application/json"


@on_each_broker
def test_while_a_broker_is_away_runs_wait_and_it_is_said_once(
    new_fleet, serve, manager, broker, until, monkeypatch, caplog
):
    caplog.set_level("INFO", logger="django_jobs")
    fleet = new_fleet(broker)
    away = {"rabbitmq": "amqp://guest:guest@127.0.0.1:1//", "redis": "redis://127.0.0.1:1/0"}[broker]
    monkeypatch.setattr(celery_apps, broker, celery_apps.make_app(broker, away))
    serve()

    job_id = manager.using(queue_name=fleet.queue_name).add_immediate_job(f"{FUNCTIONS}:add", 1)
    until(lambda: "takes no messages" in caplog.text, timeout=60)
    until(lambda: stored(job_id).dispatched_at is None, timeout=60)
    assert stored(job_id).status == "READY"
    monkeypatch.setattr(celery_apps, broker, fleet.app)

    until(lambda: "takes messages again" in caplog.text, timeout=60)
    until(lambda: fleet.waiting() == 1, timeout=60)
    assert caplog.text.count("takes no messages") == 1


@pytest.mark.parametrize(
    ("most", "expected"), [(None, [None, None, None]), (10, [0, 5, 10]), (255, [0, 128, 255])]
)
def test_priorities_are_rabbitmqs_where_its_queues_have_some(most, expected):
    app = celery_apps.make_app("own", celery_apps.URLS["rabbitmq"])
    app.conf.task_queue_max_priority = most

    priority_of = messages.broker_priorities(app)

    assert [priority_of(priority) for priority in (-100, 0, 100)] == expected


def test_priorities_are_upside_down_on_redis():
    priority_of = messages.broker_priorities(celery_apps.redis)

    assert [priority_of(priority) for priority in (-100, 0, 100)] == [9, 4, 0]


# The mark of what was dispatched


@pytest.fixture
def make_due(make_run):
    """Return a function that makes a run of the queue "fleet" that has been due for a while."""

    def make(**fields):
        fields.setdefault("run_after", timezone.now() - timedelta(minutes=1))
        return make_run(queue_name=fields.pop("queue_name", "fleet"), **fields)

    return make


def taken(**options):
    found = outbox.take("fleet", lost_after=options.pop("lost_after", AN_HOUR), using="default", **options)
    return [(dispatch.run_id, dispatch.attempt) for dispatch in found.dispatches]


def test_only_what_is_due_in_its_queue_is_told_of_by_priority(make_due):
    low, high = make_due(priority=-5), make_due(priority=5, attempt=2)
    make_due(queue_name="other")
    make_due(run_after=None)
    make_due(run_after=timezone.now() + timedelta(minutes=1))
    make_due(status="RUNNING")

    assert taken() == [(high.pk, 3), (low.pk, 1)]
    assert taken() == []


def test_what_nobody_took_is_told_of_again_when_its_message_must_be_lost(make_due):
    run = make_due(dispatched_at=timezone.now() - timedelta(minutes=10))

    assert taken() == []
    assert taken(lost_after=timedelta(minutes=5)) == [(run.pk, 1)]
    assert taken(lost_after=timedelta(minutes=5)) == []


def test_what_was_not_sent_is_told_of_again_at_once(make_due):
    run = make_due()
    taken()

    outbox.forget([run.pk], using="default")

    assert taken() == [(run.pk, 1)]


def test_no_more_messages_are_under_way_than_a_queue_may_have(make_due, monkeypatch):
    monkeypatch.setattr(outbox, "MOST_UNDER_WAY", 3)
    runs = [make_due() for _ in range(5)]

    assert len(taken()) == 3
    assert outbox.take("fleet", lost_after=AN_HOUR, using="default") == outbox.Taken([], is_full=True)

    Run.objects.filter(pk=runs[0].pk).update(status="SUCCESSFUL")
    assert taken() == [(runs[3].pk, 1)]


def age(run, by):
    """Put back when a run was told of."""
    run.refresh_from_db()
    told_at, redispatch_at = run.dispatched_at - by, run.redispatch_at and run.redispatch_at - by
    Run.objects.filter(pk=run.pk).update(dispatched_at=told_at, redispatch_at=redispatch_at)


def waited_for(run):
    run.refresh_from_db()
    return run.redispatch_at - run.dispatched_at


def tell_often(run):
    """Tell of a run until its next message is waited for twenty minutes."""
    for _ in range(3):
        taken(lost_after=FIVE_MINUTES)
        age(run, AN_HOUR)
    assert waited_for(run) == timedelta(minutes=20)


def test_each_message_of_an_attempt_is_waited_for_twice_as_long_as_the_one_before_up_to_a_day(make_due):
    run = make_due()
    waits = []

    for _ in range(11):
        assert taken(lost_after=FIVE_MINUTES) == [(run.pk, 1)]
        waits.append(waited_for(run).total_seconds())
        age(run, waited_for(run) - timedelta(seconds=30))
        assert taken(lost_after=FIVE_MINUTES) == []
        assert not outbox.is_any_due(["fleet"], lost_after=FIVE_MINUTES, using="default")
        age(run, timedelta(seconds=31))
        assert outbox.is_any_due(["fleet"], lost_after=FIVE_MINUTES, using="default")

    assert waits == [300 * 2**n for n in range(9)] + [86400, 86400]


def test_a_wait_that_is_set_to_more_than_a_day_stays_as_long(make_due):
    run, two_days = make_due(), timedelta(days=2)

    for _ in range(3):
        assert taken(lost_after=two_days) == [(run.pk, 1)]
        assert waited_for(run) == two_days
        age(run, timedelta(days=2, seconds=1))


def test_runs_of_one_batch_are_waited_for_each_by_its_own_messages(make_due):
    an_hour_ago = timezone.now() - AN_HOUR
    often = make_due(dispatched_at=an_hour_ago, redispatch_at=an_hour_ago + 8 * FIVE_MINUTES)
    once = make_due(dispatched_at=an_hour_ago, redispatch_at=an_hour_ago + FIVE_MINUTES)
    never = make_due()

    told = taken(lost_after=FIVE_MINUTES)

    assert told == [(run.pk, 1) for run in (often, once, never)]
    assert [waited_for(run) for run in (often, once, never)] == [
        16 * FIVE_MINUTES, 2 * FIVE_MINUTES, FIVE_MINUTES,
    ]  # fmt: skip


def test_a_message_that_is_waited_for_longer_is_still_under_way(make_due, monkeypatch):
    monkeypatch.setattr(outbox, "MOST_UNDER_WAY", 1)
    run = make_due()
    for _ in range(2):
        taken(lost_after=FIVE_MINUTES)
        age(run, timedelta(minutes=6))
    make_due()

    found = outbox.take("fleet", lost_after=FIVE_MINUTES, using="default")

    assert found == outbox.Taken([], is_full=True)


def not_sent(run, worker):
    outbox.forget([run.pk], using="default")


def refused(run, worker):
    Run.objects.filter(pk=run.pk).update(run_after=None)
    claims.claim_dispatched(run.pk, 1, worker.pk, using="default")
    Run.objects.filter(pk=run.pk).update(run_after=timezone.now())


def held_and_released(run, worker):
    transitions.hold(Q(pk=run.pk), using="default")
    transitions.unhold(Q(pk=run.pk), using="default")


def cancelled_and_retried(run, worker):
    transitions.cancel(Q(pk=run.pk), using="default")
    transitions.retry(run.pk, using="default")


def claimed_and_handed_back(run, worker):
    claims.claim_dispatched(run.pk, 1, worker.pk, using="default")
    release.release_claims(worker.pk, claims.held(worker.pk, using="default"), using="default")


def claimed_by_a_thread_and_handed_back(run, worker):
    claims.claim(worker.pk, limit=10, using="default")
    release.release_claims(worker.pk, claims.held(worker.pk, using="default"), using="default")


def claimed_by_the_caller_and_handed_back(run, worker):
    claims.claim_one(run.pk, worker.pk, using="default")
    release.release_claims(worker.pk, claims.held(worker.pk, using="default"), using="default")


def failed_and_tried_again(run, worker):
    claimed = claims.claim_dispatched(run.pk, 1, worker.pk, using="default")
    now = timezone.now()
    outcomes.finish([(claimed, Outcome("READY", now, now, error="E: x", retry_in=0))], using="default")


def rescued(run, worker):
    claims.claim_dispatched(run.pk, 1, worker.pk, using="default")
    leases.rescue(max_rescues=3, gone=[worker.pk], using="default")


@pytest.mark.parametrize(
    ("event", "attempt"),
    [
        (not_sent, 1),
        (refused, 1),
        (held_and_released, 1),
        (cancelled_and_retried, 1),
        (claimed_and_handed_back, 1),
        (claimed_by_a_thread_and_handed_back, 1),
        (claimed_by_the_caller_and_handed_back, 1),
        (failed_and_tried_again, 2),
        (rescued, 2),
    ],
)
def test_what_has_another_reason_to_be_told_of_is_told_of_at_once_and_as_if_for_the_first_time(
    make_due, make_worker, event, attempt
):
    worker, run = make_worker(), make_due()
    tell_often(run)
    age(run, -AN_HOUR)
    assert taken(lost_after=FIVE_MINUTES) == []

    event(run, worker)

    assert taken(lost_after=FIVE_MINUTES) == [(run.pk, attempt)]
    assert waited_for(run) == FIVE_MINUTES


def test_all_that_waits_in_a_queue_is_told_of_again_when_it_is_resumed(make_due, manager, settings):
    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}}
    run = make_due()
    tell_often(run)
    age(run, -AN_HOUR)

    assert not manager.resume_queue("fleet")
    assert taken(lost_after=FIVE_MINUTES) == []
    manager.pause_queue("fleet")
    assert manager.resume_queue("fleet")

    assert taken(lost_after=FIVE_MINUTES) == [(run.pk, 1)]
    assert waited_for(run) == FIVE_MINUTES


def test_marks_of_the_version_before_count_as_they_did_there(make_due):
    def minutes_ago(minutes):
        return timezone.now() - timedelta(minutes=minutes)

    lost = make_due(dispatched_at=minutes_ago(6))
    make_due(dispatched_at=minutes_ago(4))
    # It went on with marks of ours: sent again, and forgot.
    make_due(dispatched_at=minutes_ago(4), redispatch_at=minutes_ago(5))
    lost_again = make_due(dispatched_at=minutes_ago(6), redispatch_at=minutes_ago(7))
    forgotten = make_due(dispatched_at=None, redispatch_at=timezone.now() + AN_HOUR)

    told = taken(lost_after=FIVE_MINUTES)

    assert told == [(run.pk, 1) for run in (lost, lost_again, forgotten)]
    assert [waited_for(run) for run in (lost, lost_again, forgotten)] == [
        2 * FIVE_MINUTES, FIVE_MINUTES, FIVE_MINUTES,
    ]  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_several_dispatchers_tell_of_a_run_once(make_due):
    runs = [make_due() for _ in range(200)]
    barrier = threading.Barrier(4)
    found = []

    def take():
        try:
            barrier.wait(10)
            while batch := taken():
                found.extend(batch)
        finally:
            connection.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(found) == [(run.pk, 1) for run in runs]


def test_a_look_that_finds_nothing_asks_and_does_not_lock(db, django_assert_num_queries):
    with django_assert_num_queries(2) as queries:
        assert taken() == []

    assert not any("UPDATE" in query["sql"] for query in queries)


def test_a_claim_is_for_the_attempt_that_the_message_says(make_due, make_worker, django_assert_num_queries):
    worker, run = make_worker(), make_due(dispatched_at=timezone.now(), attempt=1)

    assert claims.claim_dispatched(run.pk, 1, worker.pk, using="default") is None
    assert claims.claim_dispatched(run.pk, 3, worker.pk, using="default") is None
    run.refresh_from_db()
    assert run.dispatched_at is not None
    with django_assert_num_queries(2):
        claimed = claims.claim_dispatched(run.pk, 2, worker.pk, using="default")

    assert (claimed.id, claimed.attempt, claimed.worker_id) == (run.pk, 2, worker.pk)
    assert claims.claim_dispatched(run.pk, 2, worker.pk, using="default") is None
    run.refresh_from_db()
    assert (run.status, run.dispatched_at, run.redispatch_at) == ("RUNNING", None, None)


def test_a_claim_that_comes_to_nothing_lets_the_run_be_told_of_again(make_due, make_worker, manager):
    worker, run = make_worker(), make_due(dispatched_at=timezone.now())
    manager.pause_queue("fleet")

    assert claims.claim_dispatched(run.pk, 1, worker.pk, using="default") is None

    manager.resume_queue("fleet")
    assert taken() == [(run.pk, 1)]
    dead = make_worker(stopped_at=timezone.now())
    assert claims.claim_dispatched(run.pk, 1, dead.pk, using="default") is None
    assert taken() == [(run.pk, 1)]


# Celery's processes


@on_each_broker
def test_a_killed_fleet_is_rescued_and_its_runs_dispatched_again(new_fleet, serve, manager, broker, until):
    # What it had fetched and not begun is lost with it on Redis.
    fleet = new_fleet(broker, REDISPATCH_SECONDS=4)
    fleet.start()
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)
    ids = [fleets.add_immediate_job(f"{FUNCTIONS}:rest", 1) for _ in range(6)]
    until(lambda: Run.objects.running().count() == 2, timeout=60)

    fleet.kill()
    until(lambda: not Run.objects.running().exists(), timeout=60)
    fleet.start()

    assert [manager.wait(job_id, 60) for job_id in ids] == [1] * 6
    assert sorted(Run.objects.values_list("rescues", flat=True)) == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "options",
    [("-P", "prefork", "-c", "2"), ("-P", "threads", "-c", "3"), ("-P", "solo")],
    ids=lambda o: o[1],
)
def test_a_warm_shutdown_finishes_what_runs_and_says_goodbye(new_fleet, serve, manager, options, until):
    fleet = new_fleet("redis", *options)
    fleet.start()
    serve()
    job_id = manager.using(queue_name=fleet.queue_name).add_immediate_job(f"{FUNCTIONS}:rest", 1)
    until(lambda: stored(job_id).status == "RUNNING", timeout=60)

    fleet.terminate()

    assert stored(job_id).status == "SUCCESSFUL"
    rows = Worker.objects.filter(queues=[fleet.queue_name])
    assert {(row.stopped_at is not None, row.was_lost) for row in rows} == {(True, False)}


def test_a_pool_of_threads_is_one_worker_with_as_many_slots(new_fleet, serve, manager, until):
    fleet = new_fleet("redis", "-P", "threads", "-c", "3")
    fleet.start()
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)
    ids = [fleets.add_immediate_job(f"{FUNCTIONS}:work_and_tell") for _ in range(3)]

    until(lambda: Run.objects.running().count() == 3, timeout=60)
    assert set(Run.objects.values_list("worker_id", flat=True)) == set(
        Worker.objects.filter(queues=[fleet.queue_name], threads=3).values_list("pk", flat=True)
    )

    for job_id in ids:
        manager.cancel_job(job_id)
    until(lambda: Run.objects.filter(status="CANCELLED").count() == 3, timeout=60)


def test_a_process_that_celery_replaces_is_a_worker_that_stopped(new_fleet, serve, manager, until):
    fleet = new_fleet("redis", "-P", "prefork", "-c", "1", "--max-tasks-per-child", "1")
    fleet.start()
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)

    first = manager.wait(fleets.add_immediate_job(f"{FUNCTIONS}:process_id"), 60)
    second = manager.wait(fleets.add_immediate_job(f"{FUNCTIONS}:process_id"), 60)

    assert first != second
    until(lambda: Worker.objects.filter(pid=first, stopped_at__isnull=False), timeout=60)
    assert Worker.objects.get(pid=first).was_lost is False


def test_a_worker_that_was_taken_for_dead_goes_on_with_its_next_message(fleet_on, serve, manager):
    fleet = fleet_on("redis")
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)
    manager.wait(fleets.add_immediate_job(f"{FUNCTIONS}:add", 1), 60)

    Worker.objects.filter(queues=[fleet.queue_name]).update(stopped_at=timezone.now(), was_lost=True)

    assert manager.wait(fleets.add_immediate_job(f"{FUNCTIONS}:add", 1), 60) == 3


def test_celerys_soft_time_limit_is_a_time_limit(new_fleet, serve, manager, until):
    fleet = new_fleet("redis", "-P", "prefork", "-c", "1", "--soft-time-limit", "1")
    fleet.start()
    serve()
    job_id = manager.using(queue_name=fleet.queue_name, timeout=100).add_immediate_job(f"{FUNCTIONS}:work")

    until(lambda: stored(job_id).status == "FAILED", timeout=60)

    assert stored(job_id).error.startswith("RunTimeout")


def test_runs_of_celery_are_claimed_by_nobody_else(settings, serve, manager, until):
    settings.DJANGO_JOBS = {
        **QUICK, "ENGINES": {"fleet": "celery"}, "CELERY_APP": "tests.execution.engines.celery_apps.nowhere",
    }  # fmt: skip
    service = serve()
    job_id = manager.using(queue_name="fleet").add_immediate_job(f"{FUNCTIONS}:add", 1)

    manager.wait(manager.add_immediate_job(f"{FUNCTIONS}:add", 1), 60)
    (dispatcher,) = service.components
    until(lambda: dispatcher.is_broker_away, timeout=60)

    assert stored(job_id).status == "READY"
    assert service.worker.has_nothing_due()
    # It notes that the broker is away before it takes the mark back.
    until(lambda: not dispatcher.has_nothing_due(), timeout=60)


def test_a_process_of_celerys_that_is_killed_is_rescued_while_others_go_on(fleet_on, serve, manager, until):
    fleet = fleet_on("rabbitmq")
    serve()
    fleets = manager.using(queue_name=fleet.queue_name)
    job_id = fleets.add_immediate_job(f"{FUNCTIONS}:rest", 3)
    until(lambda: stored(job_id).status == "RUNNING", timeout=60)
    row = Worker.objects.get(pk=stored(job_id).worker_id)

    os.kill(row.pid, signal.SIGKILL)

    assert manager.wait(job_id, 60) == 3
    assert stored(job_id).rescues == 1
    assert identity.is_gone(row.process_key)
