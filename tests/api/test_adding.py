import math
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from django_jobs import (
    ConflictingIdError,
    JobFailed,
    Retry,
    recurring,
    signals,
)
from django_jobs.api import enqueue
from django_jobs.exceptions import FunctionNotAllowed
from django_jobs.models import Job, Run
from django_jobs.storage import conflicts, notifications
from tests.probes import signatures

pytestmark = pytest.mark.django_db


def test_an_immediate_job_is_one_statement(manager, probes, django_assert_num_queries):
    with django_assert_num_queries(1):
        manager.add_immediate_job(probes.add, 1, b=2)


def test_ids_that_nobody_chose_follow_each_other_in_an_index():
    moment = datetime(2026, 11, 25, 10, tzinfo=UTC)
    times = [moment + timedelta(milliseconds=number) for number in range(20)]

    ids = []
    for time in times:
        with time_machine.travel(time, tick=False):
            ids.append(enqueue.new_id())

    assert ids == sorted(ids)
    assert {len(job_id) for job_id in ids} == {32}


def test_ids_of_one_instant_differ():
    with time_machine.travel(datetime(2026, 11, 25, 10, tzinfo=UTC), tick=False):
        assert len({enqueue.new_id() for _ in range(100)}) == 100


def test_what_is_added_is_what_was_asked_for(manager, probes):
    job_id = manager.using(
        queue_name="q",
        priority=3,
        retry=Retry(max_attempts=2),
        timeout=timedelta(minutes=1),
        at_most_once=True,
    ).add_immediate_job(probes.add, 1, c=5)

    run = Run.objects.get()
    assert (run.job_id, run.func, run.name) == (job_id, "tests.probes.jobs:add", "add")
    assert (run.queue_name, run.priority, run.kind) == ("q", 3, "immediate")
    assert (run.options["timeout"], run.options["at_most_once"]) == (60, True)
    assert run.options["retry"]["max_attempts"] == 2


def test_the_decorators_options_hold_unless_using_says_otherwise(manager, probes):
    manager.add_immediate_job(probes.decorated)
    manager.using(priority=1).add_immediate_job(probes.decorated)

    first, second = Run.objects.order_by("id")
    assert (first.queue_name, first.priority, first.name) == ("special", 7, "the decorated one")
    assert (second.queue_name, second.priority) == ("special", 1)


def test_a_function_may_be_named(manager):
    manager.add_immediate_job("tests.probes.jobs:Tools.double", 4)

    assert Run.objects.get().func == "tests.probes.jobs:Tools.double"


def test_a_function_may_take_parameters_named_as_ours(manager):
    manager.add_immediate_job("tests.probes.jobs:takes_our_words", func=1, run_at=2, trigger=3, timezone=4)

    assert manager.get_jobs()[0]["kwargs"] == {"func": 1, "run_at": 2, "trigger": 3, "timezone": 4}


def nested():
    def inner():
        pass

    return inner


@pytest.mark.parametrize(
    ("add", "error", "words"),
    [
        (lambda m: m.add_immediate_job(lambda: 1), ValueError, "lambda.*top level"),
        (lambda m: m.add_immediate_job(nested()), ValueError, "defined inside another function"),
        (lambda m: m.add_immediate_job(5), TypeError, "needs a function"),
        (lambda m: m.add_immediate_job("no colon"), ValueError, "package.module:function"),
        (lambda m: m.add_immediate_job("tests.probes.jobs:gone"), ValueError, "has no gone"),
        (lambda m: m.add_immediate_job("tests.no_such_module:f"), FunctionNotAllowed, "no installed app"),
        (lambda m: m.add_immediate_job("os:getcwd"), FunctionNotAllowed, "ALLOWED_MODULES"),
        (lambda m: m.add_immediate_job("tests.probes.jobs:add"), TypeError, r"add\(a, b=2.*missing.*'a'"),
        (lambda m: m.add_immediate_job("tests.probes.jobs:add", 1, z=1), TypeError, "'z'"),
        (
            lambda m: m.add_immediate_job("tests.probes.jobs:give", {"rows": [1, object()]}),
            TypeError,
            r"argument 1\['rows'\]\[1\].*object",
        ),
        (
            lambda m: m.add_immediate_job("tests.probes.jobs:give", value=Path("x").open),
            TypeError,
            r"argument 'value'.*method",
        ),
        (
            lambda m: m.add_immediate_job("tests.probes.jobs:give", "x" * 1_100_000),
            ValueError,
            "MAX_PAYLOAD_BYTES",
        ),
        (
            lambda m: m.add_immediate_job("tests.probes.jobs:nothing", job_id="x" * 256),
            ValueError,
            "255.*256",
        ),
        (lambda m: m.add_immediate_job("tests.probes.jobs:nothing", job_id=""), ValueError, "1 to 255"),
        (lambda m: m.add_immediate_job("tests.probes.jobs:nothing", job_id=7), TypeError, "string, not int"),
        (
            lambda m: m.add_scheduled_job("tests.probes.jobs:nothing", datetime(2030, 1, 1)),  # noqa: DTZ001
            ValueError,
            "naive.*make_aware",
        ),
        (lambda m: m.add_scheduled_job("tests.probes.jobs:nothing", "tomorrow"), TypeError, "aware datetime"),
        (lambda m: m.add_recurring_job("tests.probes.jobs:nothing", 0), ValueError, "0"),
        (lambda m: m.add_recurring_job("tests.probes.jobs:nothing", -5), ValueError, "-5"),
        (
            lambda m: m.add_recurring_job("tests.probes.jobs:nothing", 5, max_instances=0),
            ValueError,
            "max_instances.*at least 1",
        ),
        (lambda m: m.add_cron_job("tests.probes.jobs:nothing", "61 3 * * *"), ValueError, "minute 61.*0-59"),
        (lambda m: m.add_cron_job("tests.probes.jobs:nothing", "* *"), ValueError, "expected 5 fields"),
        (
            lambda m: m.add_cron_job("tests.probes.jobs:nothing", "0 3 * * *", timezone="Mars/Olympus"),
            ValueError,
            "Mars/Olympus",
        ),
        (lambda m: m.add_job("tests.probes.jobs:nothing", "interval"), ValueError, "str"),
        (lambda m: m.using(priority=101), ValueError, "-100 to 100"),
        (lambda m: m.using(timeout=0), ValueError, "more than 0"),
        (lambda m: m.using(on_conflict="ignore"), ValueError, "replace"),
        (lambda m: m.using(retry=3), TypeError, "Retry"),
        (lambda m: m.using(queue_name="x" * 101), ValueError, "100"),
        (lambda m: m.using(sensitive="password"), TypeError, "list"),
        (lambda m: m.using(sensitive=["a\0b"]), TypeError, "list of parameter names"),
        (lambda m: m.using(timeout=float("nan")), ValueError, "math.inf for no limit"),
        (lambda m: m.using(timeout=10**400), ValueError, "at most 1000000000,"),
        (lambda m: m.using(timeout="60"), TypeError, "timeout must be seconds or a timedelta, not '60'"),
        (lambda m: m.using(expires=True), TypeError, "expires must be seconds or a timedelta, not True"),
        (lambda m: m.using(name="x" * 256), ValueError, "name must have 0 to 255 characters, not 256"),
        (lambda m: m.using(name="a\0b"), ValueError, "name must not.*NUL"),
        (lambda m: m.using(queue_name="a\0b"), ValueError, "queue_name must not.*NUL"),
        (lambda m: m.using(queue_name=7), TypeError, "queue_name must be a string, not int"),
        (lambda m: m.using(misfire_grace_time=2**31), ValueError, "at most 2147483647"),
        (lambda m: m.using(coalesce=0), TypeError, "coalesce must be True or False, not 0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_stored(manager, add, error, words):
    with pytest.raises(error, match=words):
        add(manager)

    assert not Run.objects.exists()
    assert not Job.objects.exists()


def test_infinity_undoes_the_functions_own_limits(manager, probes):
    manager.using(timeout=math.inf, expires=math.inf).add_immediate_job(probes.limited, job_id="x")
    manager.add_immediate_job(probes.limited, job_id="y")

    assert not Run.objects.get(job_id="x").options
    assert Run.objects.get(job_id="y").options.keys() >= {"timeout", "expires"}


def test_a_method_of_an_instance_is_refused_and_a_static_one_is_not(manager, probes):
    with pytest.raises(ValueError, match="method of an instance"):
        manager.add_immediate_job(probes.Tools().method)

    manager.add_immediate_job(probes.Tools.double, 2)


def test_an_unfinished_id_conflicts(manager, probes):
    manager.add_immediate_job(probes.mark, job_id="x")
    later = timezone.now() + timedelta(days=1)

    with pytest.raises(ConflictingIdError):
        manager.add_immediate_job(probes.mark, job_id="x")
    with pytest.raises(ConflictingIdError):
        manager.add_scheduled_job(probes.mark, later, job_id="x")
    with pytest.raises(ConflictingIdError):
        manager.add_recurring_job(probes.mark, 60, job_id="x")
    manager.add_scheduled_job(probes.mark, later, job_id="y")
    with pytest.raises(ConflictingIdError):
        manager.add_immediate_job(probes.mark, job_id="y")
    with pytest.raises(ConflictingIdError):
        manager.add_scheduled_job(probes.mark, later, job_id="y")

    assert Run.objects.count() == Job.objects.count() == 1


def test_a_conflict_leaves_the_callers_transaction_alive(manager, probes):
    with transaction.atomic():
        manager.add_immediate_job(probes.mark, job_id="x")
        with pytest.raises(ConflictingIdError):
            manager.add_immediate_job(probes.mark, job_id="x")
        manager.add_immediate_job(probes.mark, job_id="y")

    assert Run.objects.count() == 2


def test_a_finished_id_may_be_used_again(manager, probes, make_run):
    make_run(job_id="x", status="SUCCESSFUL")

    assert manager.add_immediate_job(probes.mark, job_id="x") == "x"


@pytest.mark.django_db(transaction=True)
def test_of_two_processes_that_add_one_id_at_once_one_is_told_of_the_conflict(manager, probes):
    barrier = threading.Barrier(4)
    outcomes = []

    def add():
        try:
            barrier.wait(10)
            outcomes.append(manager.add_immediate_job(probes.mark, job_id="x"))
        except ConflictingIdError:
            outcomes.append("conflict")
        finally:
            connection.close()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(outcomes) == ["conflict"] * 3 + ["x"]
    assert Run.objects.count() == 1


def test_on_conflict_skip_keeps_the_first(manager, probes):
    manager.add_immediate_job(probes.mark, "first", job_id="x")

    assert manager.using(on_conflict="skip").add_immediate_job(probes.mark, "second", job_id="x") == "x"

    assert manager.get_job("x")["args"] == ["first"]
    assert Run.objects.count() == 1


def test_on_conflict_replace_keeps_the_last(manager, probes):
    manager.add_immediate_job(probes.mark, "first", job_id="x")

    manager.using(on_conflict="replace").add_immediate_job(probes.mark, "second", job_id="x")

    assert manager.get_job("x")["args"] == ["second"]
    assert [run.status for run in Run.objects.order_by("id")] == ["CANCELLED", "READY"]
    later = timezone.now() + timedelta(days=1)
    manager.using(on_conflict="replace").add_scheduled_job(probes.mark, later, "third", job_id="x")
    assert manager.get_job("x")["args"] == ["third"]


@pytest.mark.parametrize(("on_conflict", "kept"), [("skip", "theirs"), ("replace", "ours")])
def test_on_conflict_holds_for_an_id_that_is_taken_after_the_look(
    manager, probes, monkeypatch, on_conflict, kept
):
    later = timezone.now() + timedelta(days=1)
    look = conflicts.resolve_conflict

    def somebody_is_quicker(*args, **kwargs):
        monkeypatch.setattr(conflicts, "resolve_conflict", look)
        has_room = look(*args, **kwargs)
        manager.add_scheduled_job(probes.mark, later, "theirs", job_id="x")
        return has_room

    monkeypatch.setattr(conflicts, "resolve_conflict", somebody_is_quicker)

    manager.using(on_conflict=on_conflict).add_scheduled_job(probes.mark, later, "ours", job_id="x")

    assert manager.get_job("x")["args"] == [kept]


def test_a_running_job_that_is_replaced_goes_on(manager, probes, make_run):
    running = make_run(job_id="x", status="RUNNING", unique_key="i:x")

    manager.using(on_conflict="replace").add_immediate_job(probes.mark, job_id="x")

    running.refresh_from_db()
    assert running.status == "RUNNING"
    assert Run.objects.count() == 2


def test_declaring_a_recurring_job_again_updates_it_and_keeps_its_next_run(manager, probes):
    manager.add_recurring_job(probes.mark, 60, "a", job_id="r")
    before = Job.objects.get().next_run_time

    manager.using(priority=2).add_recurring_job(probes.mark, 60, "b", job_id="r", max_instances=3)

    job = Job.objects.get()
    assert job.next_run_time == before
    assert (job.priority, job.max_instances) == (2, 3)
    assert manager.get_job("r")["args"] == ["b"]


def test_another_interval_gives_a_recurring_job_another_next_run(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    before = Job.objects.get().next_run_time

    manager.add_recurring_job(probes.mark, 7200, job_id="r")

    assert Job.objects.get().next_run_time > before + timedelta(hours=1)


def test_declaring_a_paused_job_again_keeps_its_pause(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    manager.pause_job("r")

    manager.add_recurring_job(probes.mark, 60, job_id="r")
    manager.add_recurring_job(probes.mark, 90, job_id="r")

    assert manager.get_job("r")["status"] == "paused"


@pytest.mark.parametrize(
    ("trigger", "kind", "words"),
    [
        (DateTrigger(datetime(2040, 1, 1, tzinfo=UTC)), "scheduled", "once at 2040-01-01 00:00 UTC"),
        (IntervalTrigger(hours=2, timezone=UTC), "recurring", "every 2 hours"),
        (CronTrigger(hour=3, minute=30, timezone=UTC), "recurring", "at 03:30 every day"),
        (
            CalendarIntervalTrigger(months=1, start_date=date(2026, 1, 1), timezone=UTC),
            "recurring",
            "every month on day 1 at 00:00",
        ),
        (
            AndTrigger([CronTrigger(day="1-7", timezone=UTC), CronTrigger(day_of_week="mon", timezone=UTC)]),
            "recurring",
            " and ",
        ),
        (
            OrTrigger([CronTrigger(hour=3, timezone=UTC), IntervalTrigger(hours=5, timezone=UTC)]),
            "recurring",
            " or ",
        ),
    ],
)
def test_any_trigger_of_apscheduler_will_do(manager, probes, trigger, kind, words):
    job_id = manager.add_job(probes.mark, trigger)

    job = manager.get_job(job_id)
    assert (job["kind"], job["status"]) == (kind, "scheduled")
    assert words in job["trigger"]
    assert datetime.fromisoformat(job["next_run_time"]) > timezone.now()


def test_a_cron_job_means_what_cron_means_by_weekdays(manager, probes):
    manager.add_cron_job(probes.mark, "30 3 * * 0", job_id="sunday", timezone="Europe/Berlin")

    job = manager.get_job("sunday")
    assert datetime.fromisoformat(job["next_run_time"]).weekday() == 6
    assert job["trigger"] == "at 03:30 on Sunday (Europe/Berlin)"


def test_a_scheduled_job_may_be_given_the_time_from_now(manager, probes):
    before = timezone.now()

    manager.add_scheduled_job(probes.mark, timedelta(minutes=1), job_id="a")
    probes.decorated.schedule(timedelta(minutes=1), 2)

    for job in Job.objects.all():
        assert before + timedelta(minutes=1) <= job.next_run_time <= timezone.now() + timedelta(minutes=1)
        assert job.kind == "scheduled"
    with pytest.raises(ValueError, match="out of the calendar"):
        manager.add_scheduled_job(probes.mark, timedelta.max)


def test_add_many_names_the_job_whose_function_is_not_allowed(manager, probes):
    with pytest.raises(FunctionNotAllowed, match="job 1 of add_many"):
        manager.add_many([(probes.mark, []), ("json:loads", ["1"])])


def test_max_instances_of_the_call_goes_before_that_of_using(manager, probes):
    several = manager.using(max_instances=5)

    several.add_recurring_job(probes.mark, 60, job_id="one", max_instances=1)
    several.add_recurring_job(probes.mark, 60, job_id="five")

    assert dict(Job.objects.values_list("id", "max_instances")) == {"one": 1, "five": 5}


def test_on_conflict_is_heeded_for_a_recurring_job(manager, probes):
    def add(**options):
        manager.using(**options).add_cron_job(probes.nothing, "0 3 * * *", job_id="r")
        return Job.objects.get().name

    manager.using(on_conflict="raise").add_recurring_job(probes.mark, 60, job_id="r")

    assert add(on_conflict="skip") == "mark"
    with pytest.raises(ConflictingIdError):
        add(on_conflict="raise")
    assert Job.objects.get().name == "mark"
    assert add(on_conflict="replace") == "nothing"


def test_add_many_is_all_or_nothing(manager, probes):
    with pytest.raises(TypeError, match="job 1 of add_many"):
        manager.add_many([(probes.add, [1]), (probes.add, [])])

    assert not Run.objects.exists()


def test_add_many_adds_in_order_with_few_statements(manager, probes, django_assert_max_num_queries):
    jobs = [(probes.add, [n], {"c": n}) for n in range(650)]

    with django_assert_max_num_queries(5):
        ids = manager.using(priority=3).add_many([*jobs, probes.nothing, ("tests.probes.jobs:nothing",)])

    runs = list(Run.objects.order_by("id"))
    assert [run.job_id for run in runs] == ids
    assert len(set(ids)) == 652
    assert {run.priority for run in runs} == {3}
    assert manager.get_job(ids[649])["kwargs"] == {"c": 649}


def test_add_many_reads_a_generator_while_it_inserts(manager, probes, monkeypatch):
    monkeypatch.setattr(enqueue, "MANY", 10)
    inserted = []

    def jobs():
        for number in range(25):
            inserted.append(Run.objects.count())
            yield probes.give, (number,)

    ids = manager.add_many(jobs())

    assert inserted == [0] * 10 + [10] * 10 + [20] * 5
    assert list(Run.objects.order_by("id").values_list("job_id", flat=True)) == ids


def test_add_many_adds_nothing_when_a_generator_fails_late(manager, probes, monkeypatch):
    monkeypatch.setattr(enqueue, "MANY", 10)

    def jobs():
        for number in range(25):
            yield (probes.give, (number,)) if number < 24 else (probes.give, ())

    with pytest.raises(TypeError, match="job 24 of add_many"):
        manager.add_many(jobs())

    assert not Run.objects.exists()


def test_add_many_of_nothing_is_nothing(manager):
    assert manager.add_many([]) == []


def test_a_model_instance_goes_as_a_reference(serve, manager, probes):
    serve()
    user = User.objects.create(username="ann")

    job_id = manager.add_immediate_job(probes.name_of, user)
    User.objects.filter(pk=user.pk).update(username="anna")

    assert manager.wait(job_id, 10) in {"ann", "anna"}
    user.delete()
    with pytest.raises(JobFailed, match=r"auth\.user with pk"):
        manager.wait(manager.run_job(job_id), 10)


def test_jobs_added_in_a_transaction_are_told_of_when_it_commits(
    manager, probes, django_capture_on_commit_callbacks
):
    heard = []
    notifications.subscribe(heard.append)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            manager.add_immediate_job(probes.mark)
            manager.add_recurring_job(probes.mark, 60)
            assert heard == []
    finally:
        notifications.unsubscribe(heard.append)

    assert heard[:2] == ["runs", "jobs"]


def test_a_job_that_runs_once_does_not_replace_a_recurring_one(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    replacing = manager.using(on_conflict="replace")

    with pytest.raises(ConflictingIdError):
        replacing.add_immediate_job(probes.mark, job_id="r")
    with pytest.raises(ConflictingIdError):
        replacing.add_scheduled_job(probes.mark, timezone.now(), job_id="r")

    assert manager.get_job("r")["kind"] == "recurring"


@pytest.mark.filterwarnings("ignore:Accessing the database during app initialization")
@pytest.mark.parametrize("method", ["add_immediate_job", "add_recurring_job", "add_cron_job"])
def test_a_job_without_an_id_is_refused_while_django_starts(manager, probes, monkeypatch, method):
    monkeypatch.setattr(apps, "ready", False)
    schedule = {"add_immediate_job": (), "add_recurring_job": (60,), "add_cron_job": ("@daily",)}[method]

    with pytest.raises(RuntimeError, match="worker_started"):
        getattr(manager, method)(probes.mark, *schedule)
    getattr(manager, method)(probes.mark, *schedule, job_id="x")

    assert Run.objects.count() + Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"max_instances": 1}, r"use unique=Unique\(key\)"),
        ({"coalesce": False}, "misses no firings"),
        ({"misfire_grace_time": 5}, "use expires"),
    ],
)
def test_options_of_schedules_are_refused_for_immediate_jobs(manager, probes, options, instead):
    several = manager.using(**options)

    with pytest.raises(TypeError, match=instead):
        several.add_immediate_job(probes.nothing)
    with pytest.raises(TypeError, match=instead):
        several.add_many([(probes.nothing,)])
    with pytest.raises(TypeError, match=instead):
        probes.decorated.using(**options).enqueue()

    assert not Run.objects.exists()
    several.add_recurring_job(probes.nothing, 60, job_id="recurring")
    assert Job.objects.filter(pk="recurring").exists()


def test_an_immediate_job_whose_decorator_says_what_only_schedules_heed_is_refused(manager):
    with pytest.raises(TypeError, match=r"max_instances in @job of .*:defaults .* use unique=Unique\(key\)"):
        manager.add_immediate_job(signatures.defaults)

    manager.add_recurring_job(signatures.defaults, 60, job_id="r")
    assert Job.objects.get().max_instances == 2


def test_a_function_whose_decorator_limits_its_declared_schedule_can_be_enqueued(manager):
    recurring(minutes=5)(signatures.defaults)

    manager.add_immediate_job(signatures.defaults)

    assert Run.objects.exists()


@pytest.mark.parametrize("options", [{"max_instances": 2}, {"coalesce": False}])
def test_options_of_recurring_jobs_are_refused_for_those_that_run_once(manager, probes, options):
    with pytest.raises(TypeError, match="is for recurring jobs"):
        manager.using(**options).add_scheduled_job(probes.nothing, timedelta(hours=1))
    with pytest.raises(TypeError, match="max_instances is for recurring jobs"):
        manager.add_job(probes.nothing, DateTrigger(timezone.now()), max_instances=2)


def test_a_receiver_of_worker_started_adds_a_job_once_for_workers_that_start_together(manager, probes):
    def warm_up(**kwargs):
        manager.using(on_conflict="skip").add_immediate_job(probes.nothing, job_id="warm-up")

    signals.worker_started.connect(warm_up)
    try:
        for worker_id in ("a", "b"):
            signals.emit(signals.worker_started, worker_id=worker_id, queues=[], threads=1, has_clock=True)
    finally:
        signals.worker_started.disconnect(warm_up)

    assert Run.objects.filter(job_id="warm-up").count() == 1


def test_an_expression_fires_twice_at_a_repeated_time_where_that_is_chosen(manager, probes):
    for repeats in (False, True):
        job_id = manager.add_cron_job(
            probes.nothing, "30 2 * * *", job_id=f"r{repeats}", timezone="Europe/Berlin", repeats=repeats
        )
        words = manager.get_job(job_id)["trigger"]
        assert words.endswith("twice where the clocks repeat a time") is repeats
