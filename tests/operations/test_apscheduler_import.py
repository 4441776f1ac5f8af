import pickle
import sys
import types
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.utils import timezone
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from django_jobs import codec, recurring, signals, triggers
from django_jobs.models import Job, Run
from django_jobs.operations.apscheduler import import_jobs
from django_jobs.registry import schedules
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.triggers import storage
from tests.probes import jobs as probes

PARIS = ZoneInfo("Europe/Paris")


def taken(job_id):
    (found,) = import_jobs.import_jobs([job_id])
    assert found.problem == ""
    return Job.objects.get(pk=job_id)


def test_a_job_is_ours_with_all_that_it_was(old):
    at = timezone.now() + timedelta(hours=1)
    old.add_job(
        probes.add, "interval", minutes=30, args=[1], kwargs={"c": Decimal("2.5")}, id="often", name="adds",
        max_instances=3, coalesce=False, misfire_grace_time=60, next_run_time=at,
    )  # fmt: skip

    job = taken("often")

    assert (job.func, job.name, job.kind) == ("tests.probes.jobs:add", "adds", "recurring")
    assert codec.load_arguments(job.payload) == ((1,), {"c": Decimal("2.5")})
    assert (job.max_instances, job.coalesce, job.misfire_grace_time) == (3, False, 60)
    assert (job.next_run_time, job.status) == (at, "scheduled")
    assert triggers.describe(triggers.loads(job.job_state)) == "every 30 minutes"
    assert DjangoJob._base_manager.count() == 1


TRIGGERS = [
    IntervalTrigger(hours=6, jitter=3, timezone=PARIS),
    IntervalTrigger(weeks=1, start_date=datetime(2090, 1, 1), end_date=datetime(2091, 1, 1), timezone=PARIS),  # noqa: DTZ001 - as users write it
    DateTrigger(datetime(2090, 1, 2, 3, 4, tzinfo=PARIS)),
    CronTrigger(hour="3", minute="30", day_of_week="mon-fri", timezone=PARIS),
    CronTrigger(second="*/10", timezone=UTC),
    CronTrigger(
        year="2090-2099/3", month="jan-mar,6,dec", day="2nd fri,last,last mon,5", hour="1,3-5,8-20/4",
        minute="15/7", week="*/2", timezone=UTC,
    ),
    CronTrigger.from_crontab("*/5 0 1-7 * sun", timezone="America/New_York"),
    CalendarIntervalTrigger(months=1, hour=5, start_date=date(2090, 1, 31), timezone=PARIS),
    OrTrigger([CronTrigger(hour=3, timezone=UTC), CronTrigger(hour=9, timezone=UTC)]),
    AndTrigger([CronTrigger(hour=3, timezone=UTC), OrTrigger([CronTrigger(day_of_week="mon", hour="*", timezone=UTC)])]),
]  # fmt: skip


@pytest.mark.parametrize(
    "trigger", TRIGGERS, ids=[f"{number} {type(one).__name__}" for number, one in enumerate(TRIGGERS)]
)
def test_every_kind_of_trigger_fires_as_before(old, trigger):
    old.add_job(probes.nothing, trigger, id="it")

    job = taken("it")

    assert storage.encode(triggers.loads(job.job_state)) == storage.encode(trigger)
    assert job.next_run_time == DjangoJob._base_manager.get().next_run_time
    assert job.kind == ("scheduled" if isinstance(trigger, DateTrigger) else "recurring")


def test_a_paused_job_stays_paused_until_it_is_resumed(old, manager):
    old.add_job(probes.nothing, "interval", hours=1, id="it", next_run_time=None)

    job = taken("it")

    assert (job.status, job.next_run_time) == ("paused", None)
    assert job.paused_at is not None
    assert manager.resume_job("it")
    assert Job.objects.get().status == "scheduled"


@pytest.mark.django_db(transaction=True)
def test_a_job_that_was_imported_fires_and_is_executed(old, serve, until):
    old.add_job(probes.mark, "interval", hours=1, args=["from before"], id="it", misfire_grace_time=None,
                next_run_time=timezone.now() - timedelta(minutes=5))  # fmt: skip
    import_jobs.import_jobs()

    serve()

    until(lambda: Run.objects.filter(job_id="it", status="SUCCESSFUL").exists())
    assert probes.Mark.objects.get().text == "from before"
    assert Job.objects.get().next_run_time > timezone.now()


def test_what_job_says_of_the_function_holds_from_now_on(old):
    old.add_job(probes.decorated, "interval", hours=1, args=[5], id="it")

    assert taken("it").priority == 7


def test_apschedulers_limit_of_a_second_comes_along_and_can_be_lifted(old):
    old.add_job(probes.nothing, "interval", hours=1, id="it")

    (found,) = import_jobs.find_jobs()
    assert found.row.misfire_grace_time == 1
    assert "more than 1 s late" in found.notes[0]

    import_jobs.import_jobs(late=True)

    assert Job.objects.get().misfire_grace_time is None


def test_doing_it_again_does_nothing(old):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    import_jobs.import_jobs()
    before = Job.objects.values().get()

    assert import_jobs.import_jobs() == []

    assert Job.objects.values().get() == before


def test_looking_changes_nothing(old):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    before = list(DjangoJob._base_manager.values_list("id", "next_run_time", "job_state"))

    assert [found.id for found in import_jobs.find_jobs()] == ["it"]

    assert not Job.objects.exists()
    assert list(DjangoJob._base_manager.values_list("id", "next_run_time", "job_state")) == before


def test_some_jobs_can_be_chosen(old):
    for job_id in ("a", "b", "c"):
        old.add_job(probes.nothing, "interval", hours=1, id=job_id)

    import_jobs.import_jobs(["a", "c"])

    assert sorted(Job.objects.values_list("pk", flat=True)) == ["a", "c"]


def test_history_is_left_alone(old):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    DjangoJobExecution.objects.create(job_id="it", status="Executed", run_time=timezone.now())

    taken("it")

    assert DjangoJobExecution.objects.get().job_id == "it"


def test_added_jobs_are_told_of(old, django_capture_on_commit_callbacks):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    told = []

    def hear(*, job_id, **_):
        told.append(job_id)

    signals.job_added.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        import_jobs.import_jobs()
    signals.job_added.disconnect(hear)

    assert told == ["it"]


def test_a_declaration_takes_over_the_row_of_its_id(old, monkeypatch):
    monkeypatch.setattr(schedules, "_declared", {})
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    recurring(minutes=5, job_id="it", args=["x"])(probes.give)

    ScheduleSync("default").look()

    job = Job.objects.get(pk="it")
    assert (job.func, job.declared is None) == ("tests.probes.jobs:give", False)
    assert triggers.describe(triggers.loads(job.job_state)) == "every 5 minutes"
    assert DjangoJob._base_manager.count() == 1
    assert import_jobs.find_jobs() == []


def test_a_job_that_is_added_takes_over_the_row_of_its_id(old, manager):
    old.add_job(probes.nothing, "interval", hours=1, id="it")

    manager.add_recurring_job(probes.give, 300, "x", job_id="it")

    assert Job.objects.get().func == "tests.probes.jobs:give"
    assert DjangoJob._base_manager.count() == 1


# What is refused


def refused(job_id="it"):
    before = bytes(DjangoJob._base_manager.get(pk=job_id).job_state)
    (found,) = import_jobs.import_jobs([job_id])
    assert not Job.objects.exists()
    assert bytes(DjangoJob._base_manager.get(pk=job_id).job_state) == before
    return found.problem


def test_a_function_that_was_renamed_waits_for_moved(old, settings, monkeypatch):
    renamed = types.FunctionType(probes.give.__code__, {}, "old_name")
    monkeypatch.setattr(probes, "old_name", renamed, raising=False)
    probes.old_name.__module__, probes.old_name.__qualname__ = probes.__name__, "old_name"
    old.add_job(probes.old_name, "interval", hours=1, args=[1], id="it")
    monkeypatch.delattr(probes, "old_name")
    assert "{'tests.probes.jobs:old_name': 'its.new.module:name'}" in refused()

    settings.DJANGO_JOBS = {"MOVED": {"tests.probes.jobs:old_name": "tests.probes.jobs:add"}}

    (found,) = import_jobs.find_jobs()
    assert "its function is now tests.probes.jobs:add" in found.notes
    assert taken("it").func == "tests.probes.jobs:add"


def test_a_function_of_another_module_is_refused(old):
    old.add_job(sys.getrecursionlimit, "interval", hours=1, id="it")

    assert "belongs to no installed app" in refused()


def test_a_lambda_never_comes_into_the_table(old):
    with pytest.raises(ValueError, match="cannot be serialized"):
        old.add_job(lambda: None, "interval", hours=1, id="it")

    assert import_jobs.find_jobs() == []


def test_arguments_that_are_objects_are_refused_by_name(old, admin_user):
    old.add_job(probes.give, "interval", hours=1, args=[admin_user], id="it")

    assert "django.db.models.base.model_unpickle" in refused()


def test_a_trigger_as_an_argument_is_refused(old):
    old.add_job(probes.give, "interval", hours=1, args=[IntervalTrigger(seconds=1)], id="it")

    assert "IntervalTrigger" in refused()


class OwnTrigger(IntervalTrigger):
    """A project's own."""


def test_a_trigger_of_the_projects_own_is_refused(old):
    old.add_job(probes.nothing, OwnTrigger(hours=1), id="it")

    assert "OwnTrigger" in refused()


def test_arguments_that_do_not_fit_the_function_any_more_are_refused(old, monkeypatch):
    old.add_job(probes.add, "interval", hours=1, args=[1], id="it")
    state = pickle.loads(DjangoJob._base_manager.get().job_state)
    DjangoJob._base_manager.update(job_state=pickle.dumps({**state, "args": ()}))

    assert "missing a required argument: 'a'" in refused()


class Hostile:
    def __reduce__(self):
        return probes.mark, ("called by a pickle",)


@pytest.mark.parametrize("where", ["func", "args", "trigger", "name", "whole"])
def test_a_hostile_pickle_is_named_and_does_not_run(old, where):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    state = pickle.loads(DjangoJob._base_manager.get().job_state)
    hostile = Hostile() if where == "whole" else {**state, where: [Hostile()]}
    DjangoJob._base_manager.update(job_state=pickle.dumps(hostile))

    assert "its pickle names tests.probes.jobs.mark" in refused()

    assert not probes.Mark.objects.exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 2}, "not that of a job of APScheduler 3"),
        ({"max_instances": "many"}, "max_instances is 'many'"),
        ({"misfire_grace_time": -1}, "misfire_grace_time is -1"),
        ({"trigger": None}, "its trigger is a NoneType"),
        ({"args": 5}, "not iterable"),
        ({"func": "os:system"}, "belongs to no installed app"),
        ({"func": "tests.probes.jobs:time.sleep"}, "which tests.probes.jobs only imports"),
        ({"func": 5}, "not of the form"),
    ],
    ids=str,
)
def test_a_row_that_was_tampered_with_is_refused_and_kept(old, changes, problem):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    state = pickle.loads(DjangoJob._base_manager.get().job_state)
    DjangoJob._base_manager.update(job_state=pickle.dumps({**state, **changes}))

    assert problem in refused()


@pytest.mark.parametrize("missing", ["func", "trigger", "args", "coalesce", "executor"])
def test_a_row_that_lacks_something_is_refused_and_kept(old, missing):
    old.add_job(probes.nothing, "interval", hours=1, id="it")
    state = pickle.loads(DjangoJob._base_manager.get().job_state)
    del state[missing]
    DjangoJob._base_manager.update(job_state=pickle.dumps(state))

    assert f"its pickle is not that of a job: KeyError('{missing}')" in refused()


def test_an_id_whose_immediate_job_is_unfinished_waits_for_it(old, manager):
    manager.add_immediate_job(probes.nothing, job_id="it")
    old.add_job(probes.nothing, "interval", hours=1, id="it")

    assert "it" in refused()
