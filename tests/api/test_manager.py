import inspect
import json
import math
import threading
import traceback
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.http import JsonResponse
from django.utils import timezone

from django_jobs import (
    ConflictingIdError,
    JobFailed,
    JobLookupError,
    JobManager,
    Retry,
    get_job_manager,
    signals,
    triggers,
)
from django_jobs.api import wait
from django_jobs.exceptions import FunctionNotAllowed
from django_jobs.models import Job, Run
from django_jobs.storage import conflicts, notifications

pytestmark = pytest.mark.django_db


def test_there_is_one_manager_per_process():
    found = []
    barrier = threading.Barrier(8)

    def get():
        barrier.wait(5)
        found.append(get_job_manager())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(map(id, found))) == 1


def test_the_signatures_are_those_of_the_design():
    expected = {
        "start": "()",
        "add_immediate_job": "(func, /, *args, job_id=None, **kwargs)",
        "add_scheduled_job": "(func, run_at, /, *args, job_id=None, **kwargs)",
        "add_recurring_job": "(func, interval_seconds, /, *args, job_id=None, max_instances=1, **kwargs)",
        "add_cron_job": "(func, expression, /, *args, job_id=None, max_instances=1, timezone=None, **kwargs)",
        "add_job": "(func, trigger, /, *args, job_id=None, max_instances=1, **kwargs)",
        "remove_job": "(job_id)",
        "get_job": "(job_id)",
        "get_jobs": "()",
        "pause_job": "(job_id, *, by='')",
        "resume_job": "(job_id)",
        "run_job": "(job_id)",
        "cancel_job": "(job_id)",
        "retry_job": "(job_id)",
        "wait": "(job_id, timeout=None)",
        "shutdown": "(wait=True)",
    }

    for name, signature in expected.items():
        found = inspect.signature(getattr(get_job_manager(), name))
        plain = found.replace(
            parameters=[p.replace(annotation=p.empty) for p in found.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
        assert str(plain) == signature, name


def test_every_method_has_a_twin_for_async_code():
    names = [
        name
        for name, method in vars(JobManager).items()
        if (callable(method) and not name.startswith(("_", "a"))) or name.startswith("add_")
    ]
    names = [name for name in names if name not in {"lifespan", "serve", "start_after", "using"}]

    for name in names:
        async_version = "await_job" if name == "wait" else f"a{name}"
        assert inspect.iscoroutinefunction(getattr(JobManager, async_version)), name


def test_an_immediate_job_is_one_statement(manager, probes, django_assert_num_queries):
    with django_assert_num_queries(1):
        manager.add_immediate_job(probes.add, 1, b=2)


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


def test_views_can_be_chained_and_leave_the_manager_as_it_is(manager, probes):
    view = manager.using(queue_name="a").using(priority=5)

    view.add_immediate_job(probes.nothing)
    manager.add_immediate_job(probes.nothing)

    assert [(run.queue_name, run.priority) for run in Run.objects.order_by("id")] == [
        ("a", 5),
        ("default", 0),
    ]


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


def test_an_id_that_no_job_can_have_is_not_found(manager):
    impossible = "a\0b"

    for look in (manager.get_job, manager.pause_job, manager.resume_job, manager.cancel_job,
                 manager.retry_job, manager.remove_job):  # fmt: skip
        assert not look(impossible)
    for look in (manager.run_job, manager.wait):
        with pytest.raises(JobLookupError):
            look(impossible)


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


@pytest.mark.filterwarnings("ignore:Accessing the database during app initialization")
@pytest.mark.parametrize("method", ["add_immediate_job", "add_recurring_job", "add_cron_job"])
def test_a_job_without_an_id_is_refused_while_django_starts(manager, probes, monkeypatch, method):
    monkeypatch.setattr(apps, "ready", False)
    schedule = {"add_immediate_job": (), "add_recurring_job": (60,), "add_cron_job": ("@daily",)}[method]

    with pytest.raises(RuntimeError, match="worker_started"):
        getattr(manager, method)(probes.mark, *schedule)
    getattr(manager, method)(probes.mark, *schedule, job_id="x")

    assert Run.objects.count() + Job.objects.count() == 1


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


def test_add_many_of_nothing_is_nothing(manager):
    assert manager.add_many([]) == []


def test_unknown_ids_are_false_and_never_an_error(manager):
    for method in (
        manager.remove_job,
        manager.pause_job,
        manager.resume_job,
        manager.cancel_job,
        manager.retry_job,
    ):
        assert method("nobody") is False
    assert manager.get_job("nobody") is None
    with pytest.raises(JobLookupError):
        manager.run_job("nobody")
    with pytest.raises(JobLookupError):
        manager.wait("nobody", 0)


def test_removing_a_job_ends_its_schedule_and_keeps_its_history(manager, probes, make_run):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    done = make_run(job_id="r", status="SUCCESSFUL")
    waiting = make_run(job_id="r")
    running = make_run(job_id="r", status="RUNNING")

    assert manager.remove_job("r") is True

    assert not Job.objects.exists()
    statuses = {run.pk: run.status for run in Run.objects.all()}
    assert statuses == {done.pk: "SUCCESSFUL", waiting.pk: "CANCELLED", running.pk: "RUNNING"}
    assert manager.remove_job("r") is False


def test_removing_a_waiting_immediate_job_cancels_it(manager, probes):
    job_id = manager.add_immediate_job(probes.mark)

    assert manager.remove_job(job_id) is True
    assert manager.get_job(job_id)["status"] == "cancelled"


def test_a_paused_job_does_not_fire_and_a_resumed_one_goes_on_from_now(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")

    assert manager.pause_job("r") is True
    assert manager.pause_job("r") is True
    assert manager.get_job("r")["status"] == "paused"
    assert manager.get_job("r")["next_run_time"] is None
    assert manager.resume_job("r") is True
    job = Job.objects.get()
    assert job.paused_at is None
    assert timezone.now() < job.next_run_time <= timezone.now() + timedelta(seconds=61)


def test_resuming_a_job_that_is_not_paused_keeps_its_next_run(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    before = Job.objects.get().next_run_time

    assert manager.resume_job("r") is True
    assert Job.objects.get().next_run_time == before


def test_a_scheduled_job_paused_over_its_time_is_due_when_resumed(manager, probes):
    at = timezone.now() + timedelta(seconds=30)
    manager.add_scheduled_job(probes.mark, at, job_id="s")
    manager.pause_job("s")

    manager.resume_job("s")

    assert Job.objects.get().next_run_time == at


def test_a_waiting_immediate_job_can_be_paused(manager, probes):
    job_id = manager.add_immediate_job(probes.mark)

    assert manager.pause_job(job_id) is True
    assert manager.get_job(job_id)["status"] == "paused"
    assert manager.resume_job(job_id) is True
    assert manager.get_job(job_id)["status"] == "queued"


def test_a_deferred_run_is_not_early_when_it_was_paused_and_resumed(manager, probes, make_run):
    at = timezone.now() + timedelta(days=7)
    make_run(job_id="x", run_after=at)

    assert manager.pause_job("x") is True
    assert manager.get_job("x")["status"] == "paused"
    assert manager.resume_job("x") is True
    assert manager.get_job("x")["next_run_time"] == at.isoformat()


def test_a_job_that_is_paused_while_its_run_waits_for_a_retry_is_not_broken(manager, make_run):
    make_run(job_id="x", attempt=1, error="ValueError: no", run_after=timezone.now() + timedelta(hours=1))

    manager.pause_job("x")

    job = manager.get_job("x")
    assert (job["status"], job["reason"], job["error"]) == ("paused", "", "ValueError: no")


def test_a_running_job_can_be_paused_and_resumed(manager, make_run):
    run = make_run(job_id="x", status="RUNNING", attempt=1)

    assert manager.pause_job("x") is True
    assert manager.get_job("x")["status"] == "running"
    assert Run.objects.get(pk=run.pk).held_run_after is not None
    assert manager.resume_job("x") is True
    assert Run.objects.get(pk=run.pk).held_run_after is None


def test_run_job_runs_besides_the_schedule(manager, probes):
    manager.add_recurring_job(probes.mark, 60, "now", job_id="r")
    before = Job.objects.get().next_run_time

    assert manager.run_job("r") == "r"

    run = Run.objects.get()
    assert (run.job_id, run.scheduled_at, run.status) == ("r", None, "READY")
    job = Job.objects.get()
    assert (job.next_run_time, job.last_run) == (before, run)


def test_run_job_runs_a_finished_job_once_more(manager, make_run):
    make_run(job_id="x", status="SUCCESSFUL", queue_name="q")

    manager.run_job("x")

    assert [(run.status, run.queue_name) for run in Run.objects.order_by("id")] == [
        ("SUCCESSFUL", "q"),
        ("READY", "q"),
    ]


def test_an_expired_job_gets_its_time_anew_when_it_is_run_or_retried(manager, make_run):
    run = make_run(job_id="x", status="SKIPPED", options={"expires": 60, "expires_at": 1.0})

    manager.run_job("x")
    fresh = Run.objects.order_by("id").last()
    assert fresh.options["expires_at"] > timezone.now().timestamp()
    fresh.delete()

    assert manager.retry_job("x") is True
    run.refresh_from_db()
    assert run.options["expires_at"] > timezone.now().timestamp()


def test_cancelling_a_scheduled_job_leaves_a_run_that_says_so(manager, probes):
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(days=1), job_id="s")

    assert manager.cancel_job("s") is True

    assert not Job.objects.exists()
    assert manager.get_job("s")["status"] == "cancelled"
    assert manager.cancel_job("s") is False


def test_cancelling_a_recurring_job_ends_its_runs_and_not_its_schedule(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    manager.run_job("r")

    assert manager.cancel_job("r") is True

    assert Run.objects.get().status == "CANCELLED"
    assert manager.get_job("r")["status"] == "scheduled"


def test_retry_makes_a_failed_job_wait_again(manager, make_run):
    run = make_run(job_id="x", status="FAILED", errors=[{"error": "E", "attempt": 1}], error="E")

    assert manager.retry_job("x") is True

    run.refresh_from_db()
    assert (run.status, run.attempt, run.errors[0]["error"]) == ("READY", 1, "E")
    assert manager.retry_job("x") is False


def test_a_job_that_was_added_anew_is_not_retried_beside_itself(manager, probes, make_run):
    failed = make_run(job_id="x", status="FAILED")
    manager.add_immediate_job(probes.mark, job_id="x")

    assert manager.retry_run(failed.pk) is False
    assert Run.objects.unfinished().count() == 1


def test_one_run_is_cancelled_and_its_job_goes_on(manager, probes, make_run):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    first, second = make_run(job_id="r"), make_run(job_id="r")

    assert manager.cancel_run(first.pk) is True
    assert manager.cancel_run(first.pk) is False

    second.refresh_from_db()
    assert second.status == "READY"
    assert manager.get_job("r")["status"] == "scheduled"


def test_resuming_a_job_that_stays_broken_leaves_it_so_with_its_reason(manager, make_job):
    make_job(id="t", signature="not it", broken_reason="an older reason")

    assert manager.resume_job("t") is True

    assert manager.get_job("t")["status"] == "broken"
    assert "SECRET_KEY" in manager.get_job("t")["reason"]


def test_a_job_without_a_time_left_ends_when_it_is_resumed(manager, probes):
    soon = timezone.now() + timedelta(seconds=60)
    manager.add_job(probes.mark, CronTrigger(second="*", timezone=UTC, end_date=soon), job_id="c")
    manager.pause_job("c")
    ended = triggers.dumps(CronTrigger(year=2020, timezone=UTC))
    Job.objects.update(job_state=ended)

    assert manager.resume_job("c") is True

    assert manager.get_job("c") is None


def test_a_snapshot_has_its_shape_and_goes_through_jsonresponse(manager, probes, make_run):
    job_id = manager.add_recurring_job(
        probes.give, 1800, {"when": datetime(2026, 1, 1, tzinfo=UTC), "sum": Decimal("1.50"), "password": "x"},
        job_id="r",
    )  # fmt: skip
    run = make_run(job_id="r", status="SUCCESSFUL", result='{"a":1}', progress={"done": 1})
    Job.objects.update(last_run=run)

    job = manager.get_job(job_id)

    assert json.loads(JsonResponse(job).content) == job
    assert job == {
        "id": "r",
        "name": "give",
        "func": "tests.probes.jobs:give",
        "kind": "recurring",
        "status": "scheduled",
        "reason": "",
        "trigger": "every 30 minutes",
        "next_run_time": Job.objects.get().next_run_time.isoformat(),
        "queue_name": "default",
        "priority": 0,
        "max_instances": 1,
        "args": [{"when": "2026-01-01T00:00:00+00:00", "sum": "1.50", "password": "********************"}],
        "kwargs": {},
        "attempt": 1,
        "result": {"a": 1},
        "error": "",
        "progress": {"done": 1},
        "last_run": {
            "id": run.pk,
            "status": "SUCCESSFUL",
            "attempt": 1,
            "enqueued_at": run.enqueued_at.isoformat(),
            "scheduled_at": None,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at.isoformat(),
            "seconds": (run.finished_at - run.started_at).total_seconds(),
            "result": {"a": 1},
            "error": "",
            "progress": {"done": 1},
            "worker_id": "worker-of-a-test",
        },
    }


def test_secrets_are_not_shown_wherever_they_are_passed(manager, probes):
    ids = [
        manager.add_immediate_job(probes.log_in, "ann", "hunter2"),
        manager.add_immediate_job(probes.log_in, user="ann", password="hunter2"),
        manager.using(sensitive=["user"]).add_immediate_job(probes.log_in, "ann", "hunter2"),
    ]

    shown = json.dumps([manager.get_job(job_id) for job_id in ids[:2]])
    assert "hunter2" not in shown
    assert "ann" in shown
    assert "ann" not in json.dumps(manager.get_job(ids[2]))


def test_get_jobs_lists_what_is_still_to_run_with_few_queries(
    manager, probes, make_run, django_assert_max_num_queries
):
    for number in range(20):
        manager.add_recurring_job(probes.mark, 60, job_id=f"r{number:02}")
        make_run(job_id=f"q{number:02}")
        make_run(job_id=f"done{number:02}", status="SUCCESSFUL")
    manager.pause_job("r00")

    with django_assert_max_num_queries(3):
        jobs = manager.get_jobs()

    assert len(jobs) == 40
    assert jobs[19]["id"] == "r00"
    assert JsonResponse({"jobs": jobs}).status_code == 200


def test_a_model_instance_goes_as_a_reference(serve, manager, probes):
    serve()
    user = User.objects.create(username="ann")

    job_id = manager.add_immediate_job(probes.name_of, user)
    User.objects.filter(pk=user.pk).update(username="anna")

    assert manager.wait(job_id, 10) in {"ann", "anna"}
    user.delete()
    with pytest.raises(JobFailed, match=r"auth\.user with pk"):
        manager.wait(manager.run_job(job_id), 10)


@pytest.mark.django_db(transaction=True)
def test_wait_gives_up_in_time_and_says_what_the_job_waits_for(manager, probes, make_worker, run_async):
    job_id = manager.add_immediate_job(probes.mark)

    with pytest.raises(TimeoutError, match=r"after 0.05 s: .* 'default', which no live worker serves"):
        manager.wait(job_id, 0.05)
    with pytest.raises(TimeoutError, match="no live worker serves"):
        run_async(manager.await_job(job_id, 0.05))
    make_worker(queues=["default"])
    with pytest.raises(TimeoutError, match=r"it waits in the queue 'default'$"):
        manager.wait(job_id, 0)
    manager.pause_queue("default")
    with pytest.raises(TimeoutError, match="'default', which is paused"):
        manager.wait(job_id, 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "RUNNING", "worker_id": "w"}, "it runs in w, and goes on"),
        ({"run_after": None}, "it is paused"),
        (
            {"run_after": None, "error": "BadPayload: signed elsewhere"},
            "it is broken: BadPayload: signed elsewhere",
        ),
        ({"run_after": datetime(2100, 1, 1, tzinfo=UTC)}, "it is to begin at 2100-01-01T00:00:00+00:00"),
    ],
    ids=["running", "paused", "broken", "deferred"],
)
def test_wait_says_where_a_run_stands(manager, make_run, fields, words):
    make_run(job_id="x", **fields)

    with pytest.raises(TimeoutError) as error:
        manager.wait("x", 0)

    assert words in str(error.value)


def test_inside_a_transaction_nothing_is_waited_for_without_an_end(manager, probes, make_run):
    job_id = manager.add_immediate_job(probes.mark)
    make_run(job_id="done", status="SUCCESSFUL")

    with pytest.raises(RuntimeError, match=r"inside atomic\(\).*jobs.drain\(\)"):
        manager.wait(job_id)

    with pytest.raises(TimeoutError, match=r"inside atomic\(\).*jobs.drain\(\)"):
        manager.wait(job_id, 0.05)
    assert manager.wait("done") is None


def test_wait_does_not_take_the_result_of_an_earlier_job_of_the_same_id(manager, probes, make_run):
    make_run(job_id="report", status="SUCCESSFUL", result="1")
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="report")

    with pytest.raises(TimeoutError):
        manager.wait("report", 0)

    manager.run_job("report")
    with pytest.raises(TimeoutError):
        manager.wait("report", 0)
    Run.objects.filter(status="READY").update(status="SUCCESSFUL", attempt=1, result="2")
    assert manager.wait("report", 0) == 2


def test_wait_takes_the_firing_of_a_scheduled_job(manager, probes, make_run):
    make_run(job_id="report", status="SUCCESSFUL", result="1")
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="report")
    watch = wait._Watch("report", "default")
    assert watch.ended_run() is None

    Job.objects.get().delete()
    fired = make_run(job_id="report", status="SUCCESSFUL", result="2")

    assert watch.ended_run() == fired


def test_wait_ends_when_the_scheduled_job_is_removed(manager, probes, make_run):
    make_run(job_id="report", status="SUCCESSFUL", result="1")
    manager.add_scheduled_job(probes.mark, timezone.now() + timedelta(hours=1), job_id="report")
    watch = wait._Watch("report", "default")
    assert watch.ended_run() is None

    manager.remove_job("report")

    with pytest.raises(JobLookupError):
        watch.ended_run()


def test_wait_is_for_the_run_beside_which_a_firing_was_skipped(manager, make_job, make_run):
    make_job(id="r")
    run = make_run(job_id="r", kind="recurring", status="RUNNING")
    skipped = {
        "job_id": "r", "kind": "recurring", "status": "SKIPPED", "scheduled_at": timezone.now(),
        "error": "MaxInstances: 1 unfinished, and max_instances is 1",
    }  # fmt: skip
    make_run(**skipped)
    with pytest.raises(TimeoutError):
        manager.wait("r", 0)
    watch = wait._Watch("r", "default")
    assert watch.ended_run() is None

    Run.objects.filter(pk=run.pk).update(status="SUCCESSFUL", result="1")

    assert watch.ended_run() == run
    # Also for those who come late.
    assert manager.wait("r", 0) == 1


def test_wait_says_that_a_firing_was_let_pass_or_had_expired(manager, make_job, make_run):
    make_job(id="r")
    make_run(job_id="r", kind="recurring", status="SUCCESSFUL", result="1")
    make_run(
        job_id="r", kind="recurring", status="SKIPPED", scheduled_at=timezone.now(), error="Misfire: late"
    )
    with pytest.raises(JobFailed, match="Misfire"):
        manager.wait("r", 0)

    make_run(job_id="x", status="RUNNING")
    make_run(job_id="x", status="SKIPPED", attempt=1, error="Expired: not begun in time")
    with pytest.raises(JobFailed, match="Expired"):
        manager.wait("x", 0)


@pytest.mark.django_db(transaction=True)
def test_plain_methods_work_where_an_event_loop_runs(manager, probes, run_async):
    async def view():
        job_id = manager.add_immediate_job(probes.mark, "from async")
        return manager.get_job(job_id)

    assert run_async(view())["status"] == "queued"


def test_the_twins_do_the_same(serve, manager, probes, run_async):
    serve()

    async def view():
        job_id = await manager.aadd_immediate_job(probes.add, 1, b=1)
        assert await manager.await_job(job_id, 10) == 2
        later = timezone.now() + timedelta(days=1)
        scheduled = await manager.aadd_scheduled_job(probes.mark, later)
        with pytest.raises(TimeoutError):
            await manager.await_job(scheduled, 0.05)
        await manager.aadd_recurring_job(probes.mark, 60, job_id="r")
        assert await manager.apause_job("r")
        assert await manager.aremove_job("r")
        return await manager.aget_jobs()

    assert len(run_async(view())) == 1


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


def test_signals_tell_of_jobs(manager, probes, django_capture_on_commit_callbacks):
    events = []

    def hear(signal, job_id, **_):
        events.append((next(n for n, s in vars(signals).items() if s is signal), job_id))

    for signal in (signals.job_added, signals.job_changed, signals.job_removed):
        signal.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        manager.add_recurring_job(probes.mark, 60, job_id="r")
        manager.pause_job("r")
        manager.remove_job("r")

    assert events == [("job_added", "r"), ("job_changed", "r"), ("job_removed", "r")]


def test_signals_tell_of_a_scheduled_job_that_is_cancelled_or_replaced(
    manager, probes, django_capture_on_commit_callbacks
):
    events = []

    def hear_removed(job_id, **_):
        events.append(("removed", job_id))

    def hear_cancelled(runs, **_):
        events.append(("cancelled", *(run_id for run_id, _ in runs)))

    signals.job_removed.connect(hear_removed)
    signals.runs_cancelled.connect(hear_cancelled)
    later = timezone.now() + timedelta(days=1)
    with django_capture_on_commit_callbacks(execute=True):
        manager.add_scheduled_job(probes.mark, later, job_id="s")
        manager.cancel_job("s")
    cancelled = Run.objects.get().pk
    with django_capture_on_commit_callbacks(execute=True):
        manager.add_scheduled_job(probes.mark, later, job_id="t")
        manager.using(on_conflict="replace").add_immediate_job(probes.mark, job_id="t")

    assert events == [("cancelled", cancelled), ("removed", "s"), ("removed", "t")]


def test_a_job_that_runs_once_does_not_replace_a_recurring_one(manager, probes):
    manager.add_recurring_job(probes.mark, 60, job_id="r")
    replacing = manager.using(on_conflict="replace")

    with pytest.raises(ConflictingIdError):
        replacing.add_immediate_job(probes.mark, job_id="r")
    with pytest.raises(ConflictingIdError):
        replacing.add_scheduled_job(probes.mark, timezone.now(), job_id="r")

    assert manager.get_job("r")["kind"] == "recurring"


def test_errors_of_a_call_do_not_speak_of_event_loops(manager, probes):
    with pytest.raises(ValueError, match="aware") as caught:
        manager.add_scheduled_job(probes.nothing, datetime(2030, 1, 1))  # noqa: DTZ001 - it is what is refused

    assert "no running event loop" not in "".join(traceback.format_exception(caught.value))
