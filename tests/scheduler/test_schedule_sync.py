import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_jobs import codec, triggers
from django_jobs.exceptions import BadPayload
from django_jobs.models import Job, Run, ScheduleRevision, SchedulerProcess
from django_jobs.registry import decorators, schedules
from django_jobs.registry.decorators import job
from django_jobs.registry.retry import Retry
from django_jobs.registry.schedules import cron, recurring
from django_jobs.scheduler import declarations, schedule_edits, schedule_sync
from django_jobs.scheduler.schedule_sync import ScheduleSync
from tests.probes import jobs as probes

pytestmark = pytest.mark.django_db
NEW_YEAR = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)


@pytest.fixture
def version(monkeypatch):
    """Return a factory of code versions: what is declared in one, and a process of it when called."""

    class Version:
        def __init__(self, *declare):
            self.declared = {}
            with self:
                for decorate in declare:
                    decorate(probes.give)

        def __enter__(self):
            monkeypatch.setattr(schedules, "_declared", self.declared)
            return self

        def __exit__(self, *_):
            monkeypatch.setattr(schedules, "_declared", {})

        def start(self):
            process = ScheduleSync("default")
            process.version = self
            look(process)
            return process

    return Version


def look(process):
    with process.version:
        return process.look()


def wait_out(process, seconds=31):
    """Let the time pass that a release counts after its last process, as the database sees it."""
    ScheduleRevision.objects.exclude(gone_at=None).update(gone_at=timezone.now() - timedelta(seconds=seconds))
    return look(process)


def every(minutes, job_id="tick", **more):
    more.setdefault("args", [1])
    return recurring(minutes=minutes, job_id=job_id, **more)


def trigger_of(job_id="tick"):
    return triggers.describe(triggers.loads(Job.objects.get(pk=job_id).job_state))


def ids():
    return sorted(Job.objects.values_list("pk", flat=True))


def test_a_declared_schedule_becomes_a_job_with_all_that_it_says(version):
    before = timezone.now()
    version(
        every(30, priority=5, queue_name="slow", max_instances=2, name="Tick", misfire_grace_time=9)
    ).start()

    row = Job.objects.get()
    assert (row.pk, row.kind, row.func, row.name) == ("tick", "recurring", "tests.probes.jobs:give", "Tick")
    assert (row.priority, row.queue_name, row.max_instances, row.misfire_grace_time) == (5, "slow", 2, 9)
    assert codec.load_arguments(row.payload) == ((1,), {})
    codec.verify(row.func, row.payload, row.signature)
    assert timedelta(minutes=29) < row.next_run_time - before < timedelta(minutes=31)
    assert row.declared == {
        "trigger": triggers.rule(triggers.interval(1800)),
        "queue_name": "slow",
        "priority": 5,
        "max_instances": 2,
        "retry": None,
    }
    assert row.overridden == []


def test_options_of_the_function_complete_those_of_its_schedule(version):
    schedule_sync = version()
    with schedule_sync:
        job(priority=3, timeout=60)(recurring(minutes=1, queue_name="mail")(probes.unstorable))
    try:
        schedule_sync.start()
    finally:
        del probes.unstorable.__dict__[decorators._ATTRIBUTE]

    row = Job.objects.get(pk="tests.probes.jobs:unstorable")
    assert (row.priority, row.queue_name, row.options) == (3, "mail", {"timeout": 60})


def test_tags_follow_the_declaration(version):
    version(every(30, tags={"b", "a"})).start().leave()
    assert Job.objects.get().tags == ["a", "b"]

    version(every(30, tags=["c"])).start()

    assert Job.objects.get().tags == ["c"]


def test_a_declared_schedule_fires_and_is_executed(version, serve, until, monkeypatch):
    monkeypatch.setattr(
        schedules, "_declared", version(recurring(seconds=0.2, args=["x"], job_id="t")).declared
    )

    serve()

    run = until(lambda: Run.objects.filter(job_id="t", status="SUCCESSFUL").first())
    assert codec.loads(run.result) == "x"


def test_many_processes_of_one_version_declare_once(version):
    code = version(every(30), cron("0 3 * * *", args=[2], job_id="nightly"))
    first, second = code.start(), code.start()
    look(first)

    assert ids() == ["nightly", "tick"]
    assert SchedulerProcess.objects.count() == 2
    assert ScheduleRevision.objects.exclude(pk="").count() == 1
    assert first.id != second.id


def test_a_restart_changes_nothing(version):
    code = version(every(30))
    code.start().leave()
    row = Job.objects.get()

    code.start()

    again = Job.objects.get()
    assert (again.next_run_time, again.job_state, again.created_at) == (
        row.next_run_time, row.job_state, row.created_at
    )  # fmt: skip


def test_a_changed_declaration_changes_its_job(version):
    version(every(30)).start().leave()
    Job.objects.update(next_run_time=timezone.now() + timedelta(hours=9))

    version(every(10, args=[2], priority=1)).start()

    row = Job.objects.get()
    assert trigger_of() == "every 10 minutes"
    assert codec.load_arguments(row.payload) == ((2,), {})
    assert row.priority == row.declared["priority"] == 1
    assert row.next_run_time < timezone.now() + timedelta(minutes=11)


def test_a_job_keeps_its_next_run_where_its_trigger_is_the_same(version):
    version(every(30)).start().leave()
    due = timezone.now().replace(microsecond=0) + timedelta(minutes=3)
    Job.objects.update(next_run_time=due)

    version(every(30, priority=1)).start()

    assert Job.objects.get().next_run_time == due


def test_a_schedule_that_is_declared_no_more_is_retired_and_its_history_stays(version, make_run):
    version(every(30), every(20, "other")).start().leave()
    make_run(job_id="other", status="SUCCESSFUL")

    version(every(30)).start()

    assert ids() == ["tick"]
    assert Run.objects.filter(job_id="other").count() == 1


def test_what_nothing_declares_any_more_is_retired(version):
    version(every(30)).start().leave()

    version().start()

    assert ids() == []


def test_what_a_running_old_version_declares_stays_until_that_has_ended(version):
    old = version(every(30), every(20, "other")).start()
    new = version(every(10)).start()
    look(old)

    assert ids() == ["other", "tick"]

    old.leave()
    assert look(new) == schedule_sync.LOOK_SECONDS
    assert ids() == ["tick"]


def test_the_newest_version_decides_however_often_an_old_one_is_started(version):
    old_code, new_code = version(every(30)), version(every(10))
    old, new = old_code.start(), new_code.start()
    for _ in range(3):
        old.leave()
        look(new)
        old = old_code.start()
        assert trigger_of() == "every 10 minutes"
        look(old)
        look(new)
        assert trigger_of() == "every 10 minutes"


def test_an_old_process_that_starts_while_all_new_ones_restart_undoes_nothing(version):
    version(every(30)).start().leave()
    new = version(every(10), every(20, "added"))
    new.start().leave()

    old = version(every(30)).start()

    assert trigger_of() == "every 10 minutes"
    assert ids() == ["added", "tick"]
    new.start()
    assert look(old) > 0
    assert trigger_of() == "every 10 minutes"


def test_a_rollback_takes_over_once_the_newer_version_has_been_gone_for_a_lease(version):
    old = version(every(30), every(5, "dropped"))
    old.start().leave()
    new = version(every(10), every(20, "added")).start()
    assert ids() == ["added", "tick"]

    rolled_back = old.start()
    new.leave()
    wait = look(rolled_back)

    assert (trigger_of(), ids()) == ("every 10 minutes", ["added", "dropped", "tick"])
    assert 25 < wait < 31

    assert wait_out(rolled_back) == schedule_sync.LOOK_SECONDS
    assert (trigger_of(), ids()) == ("every 30 minutes", ["dropped", "tick"])


def test_a_newer_version_after_a_rollback_decides_at_once(version):
    old, new = version(every(30)), version(every(10))
    old.start().leave()
    new.start().leave()
    rolled_back = old.start()
    wait_out(rolled_back)
    assert trigger_of() == "every 30 minutes"

    new.start()

    assert trigger_of() == "every 10 minutes"


def test_a_process_that_was_killed_does_not_count(version):
    old, new = version(every(30), every(20, "other")).start(), version(every(30)).start()
    assert ids() == ["other", "tick"]
    SchedulerProcess.objects.filter(pk=old.id).update(expires_at=timezone.now() - timedelta(seconds=1))

    look(new)

    assert ids() == ["tick"]
    assert list(SchedulerProcess.objects.values_list("pk", flat=True)) == [new.id]


def test_a_process_of_this_host_that_is_gone_is_known_at_once(version, monkeypatch):
    version(every(30), every(20, "other")).start()
    new = version(every(30)).start()
    mine = SchedulerProcess.objects.get(pk=new.id).process_key
    SchedulerProcess.objects.exclude(pk=new.id).update(process_key="of a process that ended")
    monkeypatch.setattr("django_jobs.storage.identity.is_gone", lambda key: key != mine)

    look(new)

    assert ids() == ["tick"]


def test_a_process_that_was_taken_for_dead_comes_back(version):
    old, new = version(every(30), every(20, "other")).start(), version(every(30)).start()
    SchedulerProcess.objects.filter(pk=old.id).delete()
    look(new)
    assert ids() == ["tick"]

    look(old)

    assert ids() == ["other", "tick"]
    assert SchedulerProcess.objects.filter(pk=old.id).exists()


def test_a_look_at_nothing_new_is_one_query(version, django_assert_num_queries):
    process = version(every(30)).start()

    with django_assert_num_queries(1):
        assert look(process) == 60


def test_a_process_renews_its_word_in_time(version, django_assert_num_queries):
    process = version(every(30)).start()
    SchedulerProcess.objects.update(expires_at=timezone.now() + timedelta(seconds=80))

    with django_assert_num_queries(2):
        look(process)

    assert SchedulerProcess.objects.get().expires_at > timezone.now() + timedelta(seconds=170)


def test_a_process_does_not_wake_itself_by_renewing_its_word(version):
    class ListenerThread:
        wrote = 0

        def unheard(self, work):
            self.wrote += work()

    process = version(every(30)).start()
    process.listener_thread = ListenerThread()
    SchedulerProcess.objects.update(expires_at=timezone.now() + timedelta(seconds=80))

    look(process)

    assert process.listener_thread.wrote == 1


def test_it_looks_when_it_is_due_only(version, django_assert_num_queries):
    process = version(every(30)).start()
    process.look_if_due()

    with django_assert_num_queries(0):
        process.look_if_due()


def test_it_looks_more_often_while_two_versions_run(version):
    old = version(every(30)).start()
    version(every(10)).start()

    look(old)
    assert look(old) == schedule_sync.DEPLOY_SECONDS


def test_a_schedule_that_is_declared_late_is_seen_at_the_next_look(version):
    process = version(every(30)).start()
    with process.version:
        every(20, "late")(probes.give)

    look(process)

    assert ids() == ["late", "tick"]


def test_a_mistake_does_not_end_the_clock_and_is_logged(version, monkeypatch, caplog):
    process = version(every(30)).start()
    monkeypatch.setattr(schedule_sync, "own", lambda: 1 / 0)

    process.look_if_due()

    assert "declared schedules were not looked at" in caplog.text


def test_a_database_that_is_away_is_the_clocks_to_wait_for(version, monkeypatch):
    process = version(every(30)).start()

    def fail():
        raise OperationalError("gone")

    monkeypatch.setattr(schedule_sync, "own", fail)

    with pytest.raises(OperationalError):
        process.look_if_due()


def test_jobs_that_were_added_are_never_touched(version, manager, caplog):
    manager.add_recurring_job(probes.give, 60, 9, job_id="tick")
    manager.add_recurring_job(probes.give, 60, 9, job_id="mine")
    before = list(Job.objects.order_by("pk").values())

    process = version(every(30)).start()
    assert "tick is declared in code, and a job of this id was added" in caplog.text
    process.leave()
    version().start()

    assert list(Job.objects.order_by("pk").values()) == before


def test_adding_a_job_under_a_declared_id_takes_it_over(version, manager):
    process = version(every(30)).start()

    manager.add_recurring_job(probes.give, 60, 9, job_id="tick")
    process.leave()
    version(every(20)).start()

    assert trigger_of() == "every minute"
    assert Job.objects.get().declared is None


def test_a_declared_job_that_was_removed_comes_back_with_the_next_start(version, manager):
    code = version(every(30))
    process = code.start()
    manager.remove_job("tick")
    look(process)
    assert ids() == []

    code.start()

    assert ids() == ["tick"]


def test_a_new_secret_key_signs_declared_jobs_anew(version, settings):
    code = version(every(30))
    code.start().leave()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key of some length, for this test"

    code.start()
    settings.SECRET_KEY_FALLBACKS = []

    row = Job.objects.get()
    codec.verify(row.func, row.payload, row.signature)


def test_a_definition_that_another_release_wrote_is_not_signed(version):
    old = version(every(30), every(20, "other")).start()
    release = ScheduleRevision.objects.exclude(pk="").get()
    release.definitions["other"]["func"] = "tests.probes.jobs:kill_process"
    release.save()
    Job.objects.filter(pk="other").delete()

    version(every(10)).start()
    look(old)

    row = Job.objects.get(pk="other")
    with pytest.raises(BadPayload):
        codec.verify(row.func, row.payload, row.signature)


def test_a_definition_that_cannot_be_read_leaves_the_others_alone(version, caplog):
    version(every(30), every(20, "other")).start()
    release = ScheduleRevision.objects.exclude(pk="").get()
    release.definitions["other"]["trigger"] = {"type": "moon"}
    release.save()

    version(every(10)).start()

    assert trigger_of() == "every 10 minutes"
    assert "job=other is declared in a way that is not known here" in caplog.text


def test_arguments_without_an_order_make_no_new_release(version, monkeypatch):
    code = version(every(30, args=[{"a", "b"}]))
    code.start()
    real = codec.dump_arguments

    def in_another_order(args, kwargs):
        text = real(args, kwargs)
        return text.replace('["a","b"]', '["b","a"]') if '["a","b"]' in text else text.replace('["b","a"]', '["a","b"]')  # fmt: skip

    monkeypatch.setattr(codec, "dump_arguments", in_another_order)
    code.start()

    assert ScheduleRevision.objects.exclude(pk="").count() == 1


def test_releases_are_forgotten_after_a_month(version):
    version(every(30)).start().leave()
    new = version(every(10)).start()

    wait_out(new, seconds=40 * 86400)
    process = version(every(20)).start()
    look(process)

    assert ScheduleRevision.objects.exclude(pk="").count() == 2


def test_a_process_that_never_looked_has_nothing_to_leave(django_assert_num_queries):
    with django_assert_num_queries(0):
        ScheduleSync("default").leave()


def test_a_service_leaves_when_it_stops(version, serve, manager, monkeypatch):
    monkeypatch.setattr(schedules, "_declared", version(every(30)).declared)
    serve()
    assert SchedulerProcess.objects.count() == 1

    manager.shutdown()

    assert SchedulerProcess.objects.count() == 0
    assert ScheduleRevision.objects.exclude(pk="").get().gone_at is not None
    assert ids() == ["tick"]


def test_a_process_without_a_clock_declares_nothing(version, serve, monkeypatch):
    monkeypatch.setattr(schedules, "_declared", version(every(30)).declared)

    serve(clock=False)

    assert not Job.objects.exists()
    assert not SchedulerProcess.objects.exists()


# What a person changed


@pytest.fixture
def ticking(version):
    version(every(30, priority=1)).start().leave()


def test_a_pause_survives_a_deploy(version, ticking, manager):
    manager.pause_job("tick")

    version(every(10, priority=2)).start()

    row = Job.objects.get()
    assert (row.status, row.next_run_time, row.priority) == ("paused", None, 2)
    assert row.overridden == ["paused"]
    assert trigger_of() == "every 10 minutes"
    manager.resume_job("tick")
    row = Job.objects.get()
    assert row.overridden == []
    assert row.next_run_time < timezone.now() + timedelta(minutes=11)


def test_what_a_person_changed_survives_a_deploy_and_the_rest_follows_the_code(version, ticking):
    schedule_edits.edit("tick", trigger=triggers.crontab("0 4 * * *"), priority=50)

    version(every(10, priority=2, queue_name="mail", args=[3])).start()

    row = Job.objects.get()
    assert row.overridden == ["priority", "trigger"]
    assert (trigger_of(), row.priority, row.queue_name) == ("at 04:00 every day", 50, "mail")
    assert codec.load_arguments(row.payload) == ((3,), {})
    assert row.declared["priority"] == 2
    assert row.next_run_time.hour == 4


def test_a_chosen_next_run_survives_a_deploy_until_it_has_come(version, ticking):
    chosen = timezone.now() + timedelta(hours=5)
    schedule_edits.edit("tick", next_run_time=chosen)
    assert Job.objects.get().overridden == ["next_run_time"]

    version(every(10)).start().leave()
    assert Job.objects.get().next_run_time == chosen
    assert trigger_of() == "every 10 minutes"

    Job.objects.update(next_run_time=chosen + timedelta(minutes=10))  # as the clock does, when it fires
    assert Job.objects.get().overridden == []
    version(every(20)).start()
    assert Job.objects.get().next_run_time < timezone.now() + timedelta(minutes=21)


def test_what_a_person_changed_is_remembered_while_a_job_is_not_declared(version, manager):
    version(every(30), every(5, "added", priority=1)).start().leave()
    schedule_edits.edit("added", trigger=triggers.crontab("0 4 * * *"), max_instances=3)
    manager.pause_job("added")
    paused_at = Job.objects.get(pk="added").paused_at

    version(every(30)).start().leave()
    assert ids() == ["tick"]
    version(every(30), every(7, "added", priority=2)).start()

    row = Job.objects.get(pk="added")
    assert row.overridden == ["max_instances", "trigger", "paused"]
    assert (row.priority, row.max_instances, trigger_of("added")) == (2, 3, "at 04:00 every day")
    assert (row.paused_at, row.next_run_time) == (paused_at, None)
    assert ScheduleRevision.objects.get(pk="").definitions == {}


def test_what_a_person_changed_is_forgotten_after_a_month(version, manager):
    version(every(30)).start().leave()
    manager.pause_job("tick")
    version().start().leave()
    lock = ScheduleRevision.objects.get(pk="")
    lock.definitions["tick"]["at"] = (timezone.now() - timedelta(days=31)).isoformat()
    lock.save()

    version(every(10)).start()

    assert Job.objects.get().overridden == []


def test_changing_back_to_what_the_code_says_is_no_override(ticking):
    schedule_edits.edit("tick", priority=9)
    schedule_edits.edit("tick", priority=1)

    assert Job.objects.get().overridden == []


def test_a_job_that_was_added_is_edited_without_overrides(manager):
    manager.add_recurring_job(probes.give, 60, 1, job_id="mine")

    assert schedule_edits.edit("mine", queue_name="mail", max_instances=3)

    row = Job.objects.get()
    assert (row.queue_name, row.max_instances, row.overrides, row.overridden) == ("mail", 3, {}, [])
    assert not schedule_edits.reset("mine")


def test_edits_are_checked(ticking, manager):
    with pytest.raises(ValueError, match="-100 to 100"):
        schedule_edits.edit("tick", priority=1000)
    with pytest.raises(ValueError, match="naive"):
        schedule_edits.edit("tick", next_run_time=datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused
    manager.pause_job("tick")
    with pytest.raises(ValueError, match="resume it first"):
        schedule_edits.edit("tick", next_run_time=datetime(2030, 1, 1, tzinfo=UTC))
    assert not schedule_edits.edit("nobody", priority=1)


def test_another_trigger_decides_on_the_next_run_anew(ticking):
    schedule_edits.edit("tick", next_run_time=timezone.now() + timedelta(hours=5))

    schedule_edits.edit("tick", trigger=triggers.interval(60))

    row = Job.objects.get()
    assert row.overridden == ["trigger"]
    assert row.next_run_time < timezone.now() + timedelta(seconds=61)


def test_a_reset_makes_a_job_what_the_code_declares(version, ticking, manager, make_run):
    declared = Job.objects.get()
    schedule_edits.edit("tick", trigger=triggers.crontab("0 4 * * *"), priority=50, max_instances=4)
    manager.pause_job("tick")
    held = make_run(job_id="tick", run_after=None)

    assert schedule_edits.reset("tick")

    row = Job.objects.get()
    assert (row.priority, row.max_instances, row.status) == (1, 1, "scheduled")
    assert trigger_of() == "every 30 minutes"
    assert row.next_run_time > declared.created_at
    assert row.overridden == []
    assert row.overrides == {}
    held.refresh_from_db()
    assert held.run_after is not None
    assert not schedule_edits.reset("tick")


def test_a_reset_to_a_schedule_that_has_ended_retires_the_job(version, set_clock):
    now = timezone.now()
    version(every(30, start=now, end=now + timedelta(days=1))).start()
    schedule_edits.edit("tick", trigger=triggers.interval(60))

    set_clock(days=2)

    assert schedule_edits.reset("tick")
    assert ids() == []


def test_a_reset_of_the_priority_leaves_the_next_run(ticking):
    due = Job.objects.get().next_run_time
    schedule_edits.edit("tick", priority=50)

    schedule_edits.reset("tick")

    assert Job.objects.get().next_run_time == due


def test_processes_that_start_at_the_same_moment_wait_for_each_other(transactional_db, version):
    codes = [version(every(30), every(5, f"only-{number}")) for number in range(3)]
    told = []
    for code in codes:
        with code:
            told.append(declarations.own())
    starting = threading.Barrier(6)

    def start(number):
        try:
            starting.wait(10)
            schedule_sync.synchronise(f"process-{number}", *told[number % 3], using="default")
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(start, range(6)))

    assert ids() == ["only-0", "only-1", "only-2", "tick"]
    assert sorted(ScheduleRevision.objects.values_list("number", flat=True)) == [0, 1, 2, 3]
    assert SchedulerProcess.objects.count() == 6


def test_limits_of_a_declaration_are_its_jobs_and_a_restart_changes_nothing(version):
    code = version(
        recurring(hours=6, start=datetime(2026, 1, 1, 3, tzinfo=UTC), jitter=60, args=[1], job_id="interval"),
        cron("0 3 1 * mon", jitter=5, start=NEW_YEAR, end=datetime(2126, 1, 1, tzinfo=UTC), args=[1], job_id="cron"),
        recurring(triggers.calendar(months=1, start=NEW_YEAR.date(), at="06:00"), args=[1], job_id="calendar"),
    )  # fmt: skip
    first = code.start()
    before = list(Job.objects.order_by("pk").values())
    first.leave()

    code.start()

    assert list(Job.objects.order_by("pk").values()) == before
    assert trigger_of("calendar") == f"every month on day 1 at 06:00, from {NEW_YEAR:%Y-%m-%d}"
    assert Job.objects.get(pk="calendar").next_run_time == NEW_YEAR.replace(hour=6)
    assert Job.objects.get(pk="interval").next_run_time.hour in {3, 9, 15, 21}


def test_a_schedule_that_has_ended_makes_no_job(version):
    over = {"start": datetime(2020, 1, 1, tzinfo=UTC), "times": 3}

    version(every(30, **over)).start().leave()

    assert ids() == []


def test_a_schedule_that_is_declared_to_have_ended_is_retired(version):
    version(every(30)).start().leave()

    version(every(30, end=datetime(2020, 1, 1, tzinfo=UTC))).start()

    assert ids() == []


def test_the_log_says_which_zone_expressions_without_one_go_by(
    version, caplog, django_capture_on_commit_callbacks
):
    caplog.set_level("INFO")
    with django_capture_on_commit_callbacks(execute=True):
        version(cron("0 3 * * *", args=[1])).start().leave()
    with django_capture_on_commit_callbacks(execute=True):
        version(cron("0 3 * * *", timezone="Europe/Berlin", args=[1], job_id="other")).start()

    added, changed = [line for line in caplog.messages if line.startswith("declared schedules")]
    assert added.endswith("; cron expressions without a time zone go by UTC (CRON_TIME_ZONE)")
    assert "go by" not in changed


def test_a_retry_policy_that_a_person_chose_survives_deploys_and_goes_back(version):
    version(every(30, retry=Retry(max_attempts=2), timeout=9)).start().leave()
    schedule_edits.edit("tick", retry=Retry(max_attempts=7))
    assert Job.objects.get().overridden == ["retry"]

    version(every(30, retry=Retry(max_attempts=3), timeout=8)).start().leave()
    row = Job.objects.get()
    assert (row.options["retry"]["max_attempts"], row.options["timeout"]) == (7, 8)
    assert row.declared["retry"]["max_attempts"] == 3

    assert schedule_edits.reset("tick")
    row = Job.objects.get()
    assert (row.options["retry"]["max_attempts"], row.overridden) == (3, [])


def test_no_retry_can_be_chosen_and_is_remembered_while_a_job_is_not_declared(version):
    version(every(30, retry=Retry())).start().leave()
    schedule_edits.edit("tick", retry=None)
    version().start().leave()

    version(every(30, retry=Retry())).start()

    row = Job.objects.get()
    assert (row.options, row.overridden) == (None, ["retry"])


def test_a_retry_policy_is_overridden_of_a_job_that_an_earlier_version_declared(version):
    version(every(30, retry=Retry(max_attempts=2))).start().leave()
    row = Job.objects.get()
    del row.declared["retry"]
    row.save()

    schedule_edits.edit("tick", retry=None)
    schedule_edits.reset("tick")

    assert Job.objects.get().options["retry"]["max_attempts"] == 2


def test_who_paused_a_job_is_remembered_while_it_is_not_declared(version, manager):
    version(every(30)).start().leave()
    manager.pause_job("tick", by="ada")
    version().start().leave()

    version(every(30)).start()

    assert Job.objects.get().paused_by == "ada"
    schedule_edits.reset("tick")
    assert Job.objects.get().paused_by == ""
