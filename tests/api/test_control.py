from datetime import UTC, timedelta

import pytest
from apscheduler.triggers.cron import CronTrigger
from django.utils import timezone

from django_jobs import JobLookupError, triggers
from django_jobs.models import Job, Run

pytestmark = pytest.mark.django_db


def test_an_id_that_no_job_can_have_is_not_found(manager):
    impossible = "a\0b"

    for look in (manager.get_job, manager.pause_job, manager.resume_job, manager.cancel_job,
                 manager.retry_job, manager.remove_job):  # fmt: skip
        assert not look(impossible)
    for look in (manager.run_job, manager.wait):
        with pytest.raises(JobLookupError):
            look(impossible)


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


def test_a_job_is_edited_as_a_person_does(manager, probes):
    manager.add_recurring_job(probes.nothing, 60, job_id="tick")

    assert manager.edit_job("tick", priority=9, queue_name="slow")

    row = Job.objects.get()
    assert (row.priority, row.queue_name, row.max_instances) == (9, "slow", 1)
    assert not manager.edit_job("gone", priority=1)
    with pytest.raises(ValueError, match="-100 to 100"):
        manager.edit_job("tick", priority=101)


def test_a_declared_job_is_reset_to_what_its_code_declares(manager, make_job):
    trigger = triggers.rule(triggers.interval(60))
    declared = {"trigger": trigger, "queue_name": "default", "priority": 0, "max_instances": 1}
    make_job(id="tick", declared=declared)
    manager.edit_job("tick", priority=9)

    assert manager.reset_job("tick")
    assert Job.objects.get().priority == 0
    assert not manager.reset_job("tick")
    assert not manager.reset_job("gone")


def test_history_is_pruned_on_request(manager, make_run):
    long_ago = timezone.now() - timedelta(days=9)
    make_run(status="SUCCESSFUL", enqueued_at=long_ago, finished_at=long_ago)
    limits = {"keep_days": 7, "keep_runs_per_job": None}

    assert manager.prune(**limits, dry_run=True).runs == 1
    assert manager.prune(**limits).runs == 1
    assert not Run.objects.exists()


@pytest.mark.parametrize("name", ["", "a" * 101, "a\0b"], ids=["empty", "too long", "with NUL"])
def test_a_name_that_no_queue_can_have_is_refused_before_it_is_stored(manager, name):
    for act in (manager.pause_queue, manager.resume_queue):
        with pytest.raises(ValueError, match="queue_name"):
            act(name)


def test_a_queue_with_the_longest_name_can_be_paused(manager):
    assert manager.pause_queue("a" * 100)
    assert manager.resume_queue("a" * 100)
