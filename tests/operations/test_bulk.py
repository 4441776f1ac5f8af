from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from django_jobs.conf import jobs_settings
from django_jobs.models import Run, Status
from django_jobs.operations import bulk
from django_jobs.operations.run_query import Criteria, pages
from django_jobs.testing import drain_jobs


@pytest.fixture
def boss(db):
    return User.objects.create(username="boss", is_staff=True, is_superuser=True)


@pytest.fixture
def do(boss):
    """Return a function that does something to all runs that match, as the job would."""

    def act(action, *, up_to=None, user=boss, **criteria):
        last = Run.objects.latest("pk").pk if up_to is None else up_to
        return bulk.act_on_matching(action, Criteria(**criteria).plain(), last, user.pk)

    return act


def statuses(*runs):
    return [Run.objects.get(pk=run.pk).status for run in runs]


def words_about(run):
    return list(LogEntry.objects.filter(object_id=str(run.pk)).values_list("change_message", flat=True))


def test_all_failed_runs_of_a_queue_are_tried_again(do, make_run, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 2)
    failed = [make_run(status=Status.FAILED, queue_name="mail") for _ in range(5)]
    others = [make_run(status=Status.FAILED), make_run(status=Status.SUCCESSFUL, queue_name="mail")]

    done = do("retry", queue="mail")

    assert done == {"changed": 5, "left": 0}
    assert statuses(*failed) == ["READY"] * 5
    assert statuses(*others) == ["FAILED", "SUCCESSFUL"]
    assert words_about(failed[0]) == ["Retried: FAILED → READY"]
    assert words_about(others[0]) == []


def test_held_runs_are_released_and_waiting_ones_left(do, make_run):
    held, waiting = make_run(run_after=None, error="BadPayload: x"), make_run()

    assert do("retry") == {"changed": 1, "left": 0}
    held.refresh_from_db()
    assert held.run_after is not None
    assert words_about(held) == ["Released: held → READY"]
    assert words_about(waiting) == []


def test_all_that_wait_for_a_retry_are_run_now(do, make_run):
    later = timezone.now() + timedelta(hours=1)
    retrying = [make_run(run_after=later, attempt=1, queue_name="mail") for _ in range(3)]
    others = [make_run(run_after=later, queue_name="mail"), make_run(run_after=later, attempt=1)]

    assert do("hurry", status="retrying", queue="mail") == {"changed": 3, "left": 0}

    states = dict.fromkeys((run.pk for run in retrying), "ready")
    states |= dict.fromkeys((run.pk for run in others), "deferred")
    assert {run.pk: run.state for run in Run.objects.filter(pk__in=states)} == states


def test_all_that_is_unfinished_is_cancelled(do, make_run):
    waiting, running = make_run(), make_run(status=Status.RUNNING)
    asked = make_run(status=Status.RUNNING, cancel_requested=True)
    finished = make_run(status=Status.SUCCESSFUL)

    assert do("cancel") == {"changed": 2, "left": 0}

    assert statuses(waiting, running, finished) == ["CANCELLED", "RUNNING", "SUCCESSFUL"]
    running.refresh_from_db()
    assert running.cancel_requested
    assert words_about(waiting) == ["Cancelled: READY → CANCELLED"]
    assert words_about(running) == ["Asked to stop: RUNNING → CANCELLED"]
    assert words_about(asked) == []


def test_all_that_has_finished_is_deleted(do, make_run):
    gone, waiting = make_run(status=Status.FAILED), make_run()

    assert do("delete") == {"changed": 1, "left": 0}

    assert list(Run.objects.all()) == [waiting]
    (entry,) = LogEntry.objects.all()
    assert entry.is_deletion()
    assert entry.object_repr == str(gone)
    assert entry.change_message == "Deleted: FAILED, tests.probes.jobs:nothing"


def test_runs_that_were_added_after_it_was_asked_for_are_left_alone(do, make_run):
    old = make_run(status=Status.FAILED)
    new = make_run(status=Status.FAILED)

    do("delete", up_to=old.pk)

    assert list(Run.objects.all()) == [new]


def test_a_run_whose_job_was_added_anew_is_left_as_it_is(do, make_run):
    failed = make_run(status=Status.FAILED, job_id="a")
    make_run(job_id="a", unique_key="i:a")

    assert do("retry", status="FAILED") == {"changed": 0, "left": 1}
    assert statuses(failed) == ["FAILED"]
    assert words_about(failed) == []


def test_it_is_refused_to_those_who_lost_the_permission_meanwhile(do, make_run):
    run = make_run(status=Status.FAILED)
    viewer = User.objects.create(username="viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_run", "change_run"]))

    with pytest.raises(PermissionError, match="may not delete runs"):
        do("delete", user=viewer)
    assert do("retry", user=viewer)["changed"] == 1
    viewer.is_active = False
    viewer.save()
    with pytest.raises(PermissionError):
        do("cancel", user=viewer)

    assert statuses(run) == ["READY"]


@pytest.mark.parametrize("change", [{"action": "drop"}, {"criteria": {"color": "red"}}])
def test_what_is_not_understood_changes_nothing(boss, make_run, change):
    run = make_run(status=Status.FAILED)
    call = {"action": "delete", "criteria": {}, "up_to": run.pk, "user_id": boss.pk, **change}

    with pytest.raises(ValueError, match=r"no such action|cannot be selected"):
        bulk.act_on_matching(**call)

    assert Run.objects.filter(pk=run.pk).exists()


def test_it_is_a_job_with_progress_whatever_modules_are_allowed(boss, make_run, settings, manager):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["shop.jobs"]}
    assert jobs_settings().ALLOWED_MODULES == ("shop.jobs",)
    failed = [make_run(status=Status.FAILED) for _ in range(3)]

    job_id = manager.add_immediate_job(bulk.act_on_matching, "delete", {}, failed[-1].pk, boss.pk)
    drain_jobs()

    run = Run.objects.get(job_id=job_id)
    assert run.status == Status.SUCCESSFUL, run.error
    assert run.progress == {"done": 100, "total": 100, "message": "3 changed, 0 left as they were"}
    assert Run.objects.count() == 1
    assert words_about(failed[0]) == [f"Deleted: FAILED, tests.probes.jobs:nothing; by run {run.pk}"]


def test_it_does_not_end_itself_and_ends_when_it_is_cancelled(boss, make_run, manager, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 2)
    monkeypatch.setattr(pages, "LOOKED_AT", 2)
    waiting = [make_run(queue_name="nobody serves it") for _ in range(6)]
    cancel = bulk.RUN_ACTIONS["cancel"]

    def cancel_and_stop(ids, using):
        changes = cancel.act(ids, using)
        bulk.current_run().stop("cancelled")
        return changes

    monkeypatch.setitem(bulk.RUN_ACTIONS, "cancel", cancel._replace(act=cancel_and_stop))
    job_id = manager.add_immediate_job(bulk.act_on_matching, "cancel", {}, waiting[-1].pk + 100, boss.pk)
    drain_jobs(queues=["default"])

    run = Run.objects.get(job_id=job_id)
    assert run.status == Status.CANCELLED
    cancelled = statuses(*waiting).count("CANCELLED")
    assert 0 < cancelled < len(waiting)
