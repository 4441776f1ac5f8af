import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import triggers
from django_jobs.conf import jobs_settings
from django_jobs.models import Job, Run
from django_jobs.scheduler import clock as clock_module
from django_jobs.scheduler import occurrences
from django_jobs.scheduler.broken import mend_broken, mend_moved
from django_jobs.scheduler.clock import Clock
from django_jobs.scheduler.occurrences import fire_all, fire_due
from django_jobs.storage import transactions
from django_jobs.worker.service import Service
from tests.probes.models import Mark

pytestmark = pytest.mark.django_db(transaction=True)


def ago(**delta):
    return timezone.now() - timedelta(**delta)


def scheduled_times():
    return list(Run.objects.order_by("scheduled_at").values_list("scheduled_at", flat=True))


def test_a_due_job_becomes_one_run_and_moves_on(make_job):
    at = ago(seconds=1)
    job = make_job(next_run_time=at, queue_name="letters", priority=4, options={"timeout": 5})

    assert fire_due("default") == 1

    run = Run.objects.get()
    assert (run.job_id, run.status, run.kind) == (job.id, "READY", "recurring")
    assert (run.queue_name, run.priority, run.options) == ("letters", 4, {"timeout": 5})
    assert (run.func, run.payload, run.signature) == (job.func, job.payload, job.signature)
    assert run.scheduled_at == at
    job.refresh_from_db()
    assert job.next_run_time == at + timedelta(seconds=60)
    assert job.last_run == run


def test_a_job_that_is_not_due_is_left_alone(make_job):
    make_job()

    assert fire_due("default") == 0
    assert not Run.objects.exists()


def test_a_scheduled_job_ends_with_its_firing_and_its_run_remains(make_job):
    make_job(id="once", kind="scheduled", trigger=triggers.at(ago(hours=2)), next_run_time=ago(hours=2))

    fire_due("default")

    assert not Job.objects.exists()
    assert Run.objects.get().job_id == "once"


def test_missed_firings_become_one_run(make_job):
    make_job(next_run_time=ago(minutes=10))

    fire_due("default")

    assert len(scheduled_times()) == 1
    assert Job.objects.get().next_run_time > timezone.now()


def test_without_coalescing_each_missed_firing_is_a_run_of_its_own(make_job):
    make_job(next_run_time=ago(seconds=9 * 60 + 30), coalesce=False, max_instances=100)

    fire_due("default")

    times = scheduled_times()
    assert len(times) == 10
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=1)}


def test_a_clock_that_was_off_for_a_day_catches_up_with_one_run(make_job):
    make_job(id="often", trigger=triggers.interval(1), next_run_time=ago(days=1))
    make_job(id="cron", trigger=triggers.crontab("* * * * *"), next_run_time=ago(days=1))

    fire_due("default")

    assert sorted(run.job_id for run in Run.objects.all()) == ["cron", "often"]
    for run in Run.objects.all():
        assert run.scheduled_at > ago(minutes=2)
    assert not Job.objects.filter(next_run_time__lte=timezone.now() - timedelta(seconds=1)).exists()


def test_a_clock_that_was_off_for_a_day_makes_up_for_each_firing_without_coalescing(make_job):
    first = ago(days=1)
    make_job(next_run_time=first, coalesce=False, max_instances=2000)

    fire_all("default")

    times = scheduled_times()
    assert times == [first + timedelta(minutes=number) for number in range(1441)]


def test_a_backlog_is_made_up_for_in_transactions_of_a_bounded_size(make_job):
    make_job(
        id="backlog",
        trigger=triggers.interval(1),
        next_run_time=ago(days=1),
        coalesce=False,
        max_instances=10**6,
    )
    make_job(id="other", next_run_time=ago(seconds=1))

    fire_due("default")

    assert Run.objects.count() <= occurrences.MOST_TIMES
    assert Job.objects.get(pk="backlog").next_run_time < ago(hours=20)
    # It does not wait until the backlog is made up for.
    assert Run.objects.filter(job_id="other").count() == 1


def test_what_a_backlog_skips_is_one_run_that_says_of_how_many_times(make_job):
    first = ago(hours=1, seconds=30)
    make_job(next_run_time=first, coalesce=False)

    fire_all("default")

    started, skipped = Run.objects.order_by("scheduled_at")
    assert (started.status, started.scheduled_at) == ("READY", first)
    assert skipped.scheduled_at == first + timedelta(hours=1)
    assert skipped.error == (
        "MaxInstances: 1 unfinished, and max_instances is 1; this is for 60 scheduled times since "
        f"{first + timedelta(minutes=1):%Y-%m-%d %H:%M:%S} UTC"
    )


def test_what_a_backlog_is_too_late_for_is_one_run_and_the_rest_is_executed(make_job):
    make_job(
        next_run_time=ago(hours=1, seconds=30), coalesce=False, misfire_grace_time=600, max_instances=100
    )

    fire_all("default")

    assert Run.objects.filter(status="READY").count() == 10
    (skipped,) = Run.objects.filter(status="SKIPPED")
    assert "Misfire" in skipped.error
    assert "51 scheduled times" in skipped.error


def test_a_backlog_costs_as_much_for_each_time_however_long_it_is(make_job):
    trigger = triggers.interval(1)
    now = timezone.now()

    times, following = triggers.due(trigger, now - timedelta(days=1), now, coalesce=False, limit=10**6)

    assert len(times) == 86_401
    assert following > now


def test_a_clock_set_forward_fires_the_hour_between_as_one_run_and_goes_on(make_job, set_clock):
    make_job(id="j", next_run_time=ago(seconds=1))
    fire_due("default")

    set_clock(hours=1)
    fire_due("default")

    assert len(scheduled_times()) == 2
    due = Job.objects.get().next_run_time
    assert timedelta(0) <= due - transactions.database_now("default") <= timedelta(minutes=1)


def test_a_clock_set_back_fires_nothing_twice(make_job, set_clock):
    make_job(id="interval", next_run_time=ago(seconds=1))
    make_job(id="cron", trigger=triggers.crontab("* * * * *"), next_run_time=ago(seconds=1))
    fire_due("default")
    before = dict(Job.objects.values_list("id", "next_run_time"))

    set_clock(hours=-1)

    assert fire_due("default") == 0
    assert dict(Job.objects.values_list("id", "next_run_time")) == before
    set_clock(hours=1, minutes=1)
    assert fire_due("default") == 2
    assert Run.objects.count() == 4
    assert len(set(Run.objects.values_list("unique_key", flat=True))) == 4


def test_the_databases_clock_decides_what_is_due_and_not_the_hosts(make_job):
    make_job(next_run_time=timezone.now() + timedelta(minutes=30), trigger=triggers.interval(3600))

    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=True):
        fired = fire_due("default")

    # SQLite has no clock but the host's.
    assert fired == (1 if connection.vendor == "sqlite" else 0)


def test_a_trigger_that_raises_is_set_aside_and_keeps_nobody_from_firing(make_job, monkeypatch):
    make_job(id="bad", next_run_time=ago(seconds=2), misfire_grace_time=77)
    make_job(id="good", next_run_time=ago(seconds=1))
    real = triggers.due

    def due(trigger, next_run_time, now, *, coalesce, limit):
        if now - next_run_time > timedelta(seconds=1.9):
            raise OverflowError("date value out of range")
        return real(trigger, next_run_time, now, coalesce=coalesce, limit=limit)

    monkeypatch.setattr(triggers, "due", due)
    fire_due("default")

    assert [run.job_id for run in Run.objects.all()] == ["good"]
    assert "OverflowError: date value out of range" in Job.objects.get(pk="bad").broken_reason


def test_late_work_runs_late_unless_a_grace_is_set(make_job):
    make_job(id="a", next_run_time=ago(hours=20))
    make_job(id="b", trigger=triggers.interval(86400), next_run_time=ago(hours=20), misfire_grace_time=60)

    fire_due("default")

    assert Run.objects.get(job_id="a").status == "READY"
    skipped = Run.objects.get(job_id="b")
    assert skipped.status == "SKIPPED"
    assert "misfire_grace_time is 60 s" in skipped.error
    assert skipped.finished_at is not None


def test_a_firing_beyond_max_instances_is_recorded_as_skipped(make_job, make_run):
    make_job(id="slow", next_run_time=ago(seconds=1), max_instances=2)
    make_run(job_id="slow", status="RUNNING")
    make_run(job_id="slow")
    make_run(job_id="slow", status="SUCCESSFUL")

    fire_due("default")

    run = Run.objects.order_by("id").last()
    assert (run.status, run.error) == ("SKIPPED", "MaxInstances: 2 unfinished, and max_instances is 2")


def test_a_job_that_cannot_be_read_is_set_aside_with_its_reason_and_kept(make_job):
    make_job(id="pickled", next_run_time=ago(seconds=1), job_state=b"\x80\x04K\x01.")
    make_job(id="tampered", next_run_time=ago(seconds=1), signature="not it")
    make_job(id="good", next_run_time=ago(seconds=1))

    fire_due("default")
    fire_due("default")

    assert [run.job_id for run in Run.objects.all()] == ["good"]
    assert "pickle" in Job.objects.get(pk="pickled").broken_reason
    assert "SECRET_KEY" in Job.objects.get(pk="tampered").broken_reason
    assert Job.objects.get(pk="good").broken_reason == ""


def test_a_broken_job_fires_again_once_this_process_can_read_it(make_job, settings):
    key = settings.SECRET_KEY
    settings.SECRET_KEY = "another machine's"
    make_job(id="copied", next_run_time=ago(seconds=1))
    settings.SECRET_KEY = key
    fire_due("default")
    assert Job.objects.broken().exists()

    settings.SECRET_KEY_FALLBACKS = ["another machine's"]

    assert mend_broken("default") == ["copied"]
    fire_due("default")
    assert Run.objects.get().job_id == "copied"


def test_a_next_run_that_newer_rules_of_its_zone_put_earlier_is_moved_when_a_clock_starts(make_job):
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    right, stored = (datetime(2026, 7, 2, hour, tzinfo=UTC) for hour in (7, 8))
    nine = {"trigger": triggers.crontab("0 9 * * *", "Europe/Berlin")}
    make_job(id="moved", next_run_time=stored, **nine)
    make_job(id="right", next_run_time=right, **nine)
    make_job(id="chosen", next_run_time=stored, overrides={"next_run_time": stored.isoformat()}, **nine)
    make_job(id="utc", next_run_time=stored, trigger=triggers.crontab("0 7 * * *"))
    make_job(id="paused", next_run_time=None, paused_at=now, **nine)

    assert mend_moved("default", now) == ["moved"]
    assert mend_moved("default", now) == []

    found = dict(Job.objects.values_list("id", "next_run_time"))
    assert found == {"moved": right, "right": right, "chosen": stored, "utc": stored, "paused": None}


def test_the_users_function_is_not_imported_by_the_clock(make_job):
    make_job(func="a.module.that:is_not_there", next_run_time=ago(seconds=1))

    fire_due("default")

    assert Run.objects.get().status == "READY"
    assert Job.objects.get().broken_reason == ""


def test_a_firing_that_another_clock_made_is_not_made_again(make_job):
    at = ago(seconds=1)
    make_job(id="j", next_run_time=at)
    fire_due("default")
    # As if a clock had died between its commit and nothing at all: the job is due again.
    Job.objects.filter(pk="j").update(next_run_time=at)

    make_job(id="other", next_run_time=at)

    fire_due("default")

    assert [run.job_id for run in Run.objects.order_by("id")] == ["j", "other"]
    assert not Job.objects.filter(next_run_time__lte=timezone.now()).exists()


def test_a_clock_that_dies_before_its_commit_leaves_nothing_behind(make_job, monkeypatch):
    at = ago(seconds=1)
    make_job(next_run_time=at)

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(occurrences, "_move", die)
    with pytest.raises(KeyboardInterrupt):
        fire_due("default")

    assert not Run.objects.exists()
    assert Job.objects.get().next_run_time == at


def test_an_error_of_the_database_ends_the_round_instead_of_half_of_it(make_job, monkeypatch):
    make_job(next_run_time=ago(seconds=1))

    def away(*args):
        raise OperationalError("gone away")

    monkeypatch.setattr(occurrences, "_new_runs", away)

    with pytest.raises(OperationalError):
        fire_due("default")


def test_clocks_that_tick_together_fire_each_time_once(make_job):
    for number in range(40):
        make_job(id=f"j{number}", next_run_time=ago(seconds=1))
    barrier = threading.Barrier(4)
    errors = []

    def tick():
        try:
            barrier.wait(10)
            for _ in range(5):
                fire_due("default")
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    assert sorted(run.job_id for run in Run.objects.all()) == sorted(f"j{n}" for n in range(40))


def test_a_clock_fires_without_waiting_for_jobs_that_another_clock_holds(make_job):
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("SQLite has one writer at a time")
    for name in ("held", *(f"free-{n:02}" for n in range(19))):
        make_job(id=name, next_run_time=ago(seconds=1))
    is_held, may_go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            list(Job.objects.select_for_update().filter(pk="held"))
            is_held.set()
            may_go.wait(20)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(10)
    # A clock that waits would wait for ever: the holder goes when it has fired.
    firing = threading.Thread(target=lambda: (fire_due("default"), may_go.set(), connection.close()))
    firing.start()
    has_fired = may_go.wait(5)
    may_go.set()
    for thread in (firing, holder):
        thread.join(20)

    assert has_fired
    assert sorted(run.job_id for run in Run.objects.all()) == [f"free-{n:02}" for n in range(19)]


def test_firing_costs_the_same_number_of_statements_for_one_job_and_fifty(
    make_job, django_assert_num_queries
):
    make_job(next_run_time=ago(seconds=1))
    with CaptureQueriesContext(connection) as one:
        fire_due("default")
    for _ in range(50):
        make_job(next_run_time=ago(seconds=1))

    with CaptureQueriesContext(connection) as many:
        assert fire_due("default") == 50

    # Savepoints count where the transaction is in one of the test's own.
    assert len(many) == len(one) <= 12


class Turned(Clock):
    """A clock without a thread: the test does its rounds."""

    def turn(self):
        self._must_look = True
        with CaptureQueriesContext(connection) as statements:
            wait = self._process_jobs()
        questions = [
            line for line in statements if "LIMIT 1" in line["sql"] and "next_run_time" in line["sql"]
        ]
        return wait, len(questions), len(statements)


def test_an_idle_round_is_one_statement(make_job):
    make_job()

    wait, questions, statements = Turned("default").turn()

    assert 0 < wait <= jobs_settings().POLL_SECONDS
    assert (questions, statements) == (1, 1)


def test_a_round_that_fires_asks_once_what_is_due_next_and_not_in_its_transaction(make_job, monkeypatch):
    clock = Turned("default")
    make_job(next_run_time=timezone.now() + timedelta(seconds=0.05))
    assert clock.turn()[0] <= 0.05
    time.sleep(0.06)
    asked_in_transaction = []
    ask = occurrences.seconds_until_due
    monkeypatch.setattr(
        occurrences,
        "seconds_until_due",
        lambda using: (asked_in_transaction.append(connection.in_atomic_block), ask(using))[1],
    )

    wait, questions, _ = clock.turn()

    assert Run.objects.count() == 1
    assert wait > 0
    assert (questions, asked_in_transaction) == (1, [False])


def test_rounds_until_a_late_job_has_fired_ask_once_each(make_job):
    clock = Turned("default")
    make_job(next_run_time=ago(seconds=1))

    rounds = [clock.turn(), clock.turn()]

    assert Run.objects.count() == 1
    assert [questions for _, questions, _ in rounds] == [1, 1]
    assert rounds[0][0] == 0


def test_a_clock_refuses_jobs_that_only_apscheduler_would_keep():
    with pytest.raises(NotImplementedError, match="get_job_manager"):
        Clock("default").add_job(print, "interval", seconds=1)


def test_jobs_are_fired_in_time_and_executed(serve, manager, probes, until):
    serve()
    began = datetime.now(UTC)

    manager.add_scheduled_job(probes.mark, began + timedelta(seconds=0.6), "once", job_id="s")
    manager.add_recurring_job(probes.mark, 0.5, "again", job_id="r")

    until(lambda: Mark.objects.filter(text="again").count() >= 3)
    assert Mark.objects.filter(text="once").count() == 1
    late = Run.objects.get(job_id="s").started_at - (began + timedelta(seconds=0.6))
    assert timedelta(0) <= late < timedelta(seconds=2)


def test_a_job_added_while_the_clock_sleeps_fires_on_time(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"POLL_SECONDS": 60}
    serve()
    time.sleep(0.1)

    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(seconds=0.2), job_id="soon")

    assert manager.wait("soon", 10) == "called"


def test_two_services_share_one_schedule(serve, manager, probes, until, transactional_db):
    serve()
    other = Service()
    other.start()
    assert other.wait_started(60)
    try:
        manager.add_recurring_job(probes.mark, 0.2, job_id="r", max_instances=50)
        until(lambda: Run.objects.filter(job_id="r").count() >= 10)
        manager.pause_job("r")
    finally:
        other.stop()

    times = scheduled_times()
    gaps = [round((later - earlier).total_seconds() / 0.2) for earlier, later in pairwise(times)]
    assert len(set(times)) == len(times)
    assert all(gap >= 1 for gap in gaps)


def test_a_clock_makes_a_round_whenever_what_comes_before_it_asks_for_one(transactional_db):
    rounds = threading.Semaphore(0)

    def before_round():
        rounds.release()
        return 0.05

    clock = Clock("default", before_round=before_round)
    clock.has_maintainer = True
    clock.start()
    try:
        # Nothing is due: by itself it would make one.
        for _ in range(3):
            assert rounds.acquire(timeout=60)
    finally:
        clock.shutdown()


def test_a_clock_beside_maintenance_asks_for_due_jobs_only_when_told(transactional_db, monkeypatch, make_job):
    rounds, asked = threading.Semaphore(0), threading.Semaphore(0)

    def before_round():
        rounds.release()
        return 0.05

    clock = Clock("default", before_round=before_round)
    clock.has_maintainer = True
    ask = clock.seconds_until_due

    def counted():
        asked.release()
        return ask()

    monkeypatch.setattr(clock, "seconds_until_due", counted)
    clock.start()
    try:
        assert asked.acquire(timeout=60)
        for _ in range(5):
            assert rounds.acquire(timeout=60)
        assert not asked.acquire(blocking=False)

        make_job(id="later", next_run_time=timezone.now() + timedelta(hours=1))
        clock.expect_due(3600)
        assert asked.acquire(timeout=60)
        while rounds.acquire(blocking=False):
            pass
        # It has answered: another round has begun.
        assert rounds.acquire(timeout=60)
        # The same news again is none.
        clock.expect_due(3600)
        for _ in range(5):
            assert rounds.acquire(timeout=60)
        assert not asked.acquire(blocking=False)
    finally:
        clock.shutdown()


@pytest.mark.parametrize("mistake", [SystemExit("a receiver"), KeyboardInterrupt(), LookupError("ours")])
def test_nothing_that_is_raised_on_its_thread_ends_a_clock(transactional_db, settings, caplog, mistake):
    rounds, raised = threading.Semaphore(0), []

    def before_round():
        if not raised:
            raised.append(mistake)
            raise mistake
        rounds.release()
        return 0.05

    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "POLL_SECONDS": 0.01}
    clock = Clock("default", before_round=before_round)
    clock.start()
    try:
        assert rounds.acquire(timeout=60)
        assert rounds.acquire(timeout=60)
        assert clock.is_alive
        assert clock.problem == ""
    finally:
        clock.shutdown()

    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "the clock thread failed, and goes on"
    ]
    assert clock.problem == ""


def test_a_clock_that_fails_says_so_until_a_round_works(transactional_db, settings, until):
    is_mended = threading.Event()

    def before_round():
        if not is_mended.is_set():
            raise LookupError("a mistake")
        return 60.0

    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "POLL_SECONDS": 0.01}
    clock = Clock("default", before_round=before_round)
    clock.start()
    try:
        until(lambda: clock.problem == "the clock thread fails: LookupError: a mistake")
        is_mended.set()
        until(lambda: clock.problem == "")
    finally:
        clock.shutdown()


@pytest.mark.parametrize("place", ["mend_broken", "BackgroundScheduler._main_loop"])
def test_a_mistake_beside_the_rounds_does_not_end_a_clock(transactional_db, monkeypatch, place, until):
    raised, rounds = [], threading.Semaphore(0)
    kind, _, name = place.rpartition(".")
    owner = getattr(clock_module, kind) if kind else clock_module
    real = getattr(owner, name)

    def fail_once(*args):
        if not raised:
            raised.append(args)
            raise SystemExit("out")
        return real(*args)

    monkeypatch.setattr(owner, name, fail_once)
    monkeypatch.setattr(clock_module, "MISTAKE_SECONDS", 0.01)
    clock = Clock("default", before_round=lambda: rounds.release() or 0.05)
    clock.start()
    try:
        assert rounds.acquire(timeout=60)
        assert raised
    finally:
        clock.shutdown()


def test_a_clock_that_is_held_back_fires_nothing_until_it_is_not(transactional_db, make_job, until):
    job, is_held, rounds = make_job(next_run_time=timezone.now()), threading.Event(), threading.Semaphore(0)
    is_held.set()
    clock = Clock("default", before_round=lambda: rounds.release() or 0.02, holds_back=is_held.is_set)
    clock.start()
    try:
        for _ in range(3):
            assert rounds.acquire(timeout=60)
        assert not Run.objects.exists()
        is_held.clear()
        until(lambda: Run.objects.filter(job_id=job.pk).exists())
    finally:
        clock.shutdown()
