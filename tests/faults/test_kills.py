import signal
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs import triggers
from django_jobs.models import Job, Run, Worker
from tests.faults.processes import MANAGE, SHORT_LEASE, end
from tests.probes import ledger as probes

# Far longer than any wait here: what is found was not found when a lease ended.
LONG_LEASE = {"LEASE_SECONDS": 600}


def succeeded(run):
    run.refresh_from_db()
    return run.status == "SUCCESSFUL"


def killed_with_one_run(worker, manager, at):
    """Start a worker that is killed at an instant of the run it claims, and return the run."""
    manager.add_immediate_job(probes.note)
    victim = worker(at=at, wait=False)
    assert victim.wait(40) == -signal.SIGKILL, victim.log.read_text()
    return Run.objects.get()


def test_a_worker_killed_between_claim_and_start(worker, manager, ledger, until):
    run = killed_with_one_run(worker, manager, "django_jobs.storage.claims:claim after kill")
    assert (run.status, run.attempt, ledger.count("began")) == ("RUNNING", 1, 0)

    worker()

    until(lambda: succeeded(run))
    assert (run.attempt, run.rescues) == (2, 1)
    until(lambda: ledger.count("recorded"))
    assert ledger.count("began") == ledger.count("recorded") == 1


def test_a_worker_killed_mid_run(worker, manager, ledger, gate, until):
    victim = worker(jobs=LONG_LEASE)
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    end(victim, signal.SIGKILL)
    gate.open()

    worker(jobs=LONG_LEASE)

    run = Run.objects.get()
    # Not after its lease: the same host can prove that the process is gone.
    until(lambda: succeeded(run), timeout=60)
    assert (run.attempt, run.rescues) == (2, 1)
    assert [entry["error"] for entry in run.errors] == ["WorkerDied: its worker died"]
    assert [line["attempt"] for line in ledger.lines("began")] == [1, 2]
    until(lambda: ledger.count("recorded"))
    assert ledger.count("ended") == ledger.count("recorded") == 1


def test_a_worker_killed_between_the_functions_end_and_the_recorded_result(worker, manager, ledger, until):
    run = killed_with_one_run(worker, manager, "django_jobs.storage.outcomes:finish before kill")
    assert (run.status, ledger.count("ended"), ledger.count("recorded")) == ("RUNNING", 1, 0)

    worker()

    until(lambda: succeeded(run))
    # At least once: what had ended, unrecorded, is executed again.
    until(lambda: ledger.count("recorded"))
    assert (run.attempt, ledger.count("ended"), ledger.count("recorded")) == (2, 2, 1)


def test_a_worker_killed_right_after_the_result_was_recorded(worker, manager, ledger, until):
    run = killed_with_one_run(worker, manager, "django_jobs.storage.outcomes:finish after kill")
    assert run.status == "SUCCESSFUL"

    assert worker("--drain", wait=False).wait(40) == 0

    run.refresh_from_db()
    assert (run.attempt, run.rescues, ledger.count("began")) == (1, 0, 1)


def due_once(manager):
    at = timezone.now()
    manager.add_job(probes.note, triggers.at(at), job_id="once")
    return at


def test_a_clock_killed_between_firing_and_commit(worker, manager, ledger, until):
    due_once(manager)
    victim = worker(at="django_jobs.scheduler.occurrences:_move after kill", wait=False)
    assert victim.wait(40) == -signal.SIGKILL, victim.log.read_text()
    assert (Job.objects.count(), Run.objects.count()) == (1, 0)

    worker()

    run = until(lambda: Run.objects.filter(status="SUCCESSFUL").first())
    assert run.scheduled_at is not None
    assert (Job.objects.count(), Run.objects.count(), ledger.count("began")) == (0, 1, 1)


def test_a_clock_killed_right_after_the_commit_of_a_firing(worker, manager, ledger, until):
    due_once(manager)
    victim = worker("--queue", "nobody", at="django_jobs.scheduler.occurrences:_tell before kill", wait=False)
    assert victim.wait(40) == -signal.SIGKILL, victim.log.read_text()
    assert (Job.objects.count(), Run.objects.count(), ledger.count("fired")) == (0, 1, 0)

    worker()

    until(lambda: Run.objects.filter(status="SUCCESSFUL").exists())
    assert (Run.objects.count(), ledger.count("began")) == (1, 1)


def test_a_worker_killed_during_shutdown(worker, manager, ledger, gate, until):
    victim = worker()
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    victim.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in victim.log.read_text())
    end(victim, signal.SIGKILL)
    gate.open()

    worker()

    run = Run.objects.get()
    until(lambda: succeeded(run))
    until(lambda: ledger.count("recorded"))
    assert (run.rescues, ledger.count("recorded")) == (1, 1)


def test_a_worker_killed_before_it_could_hand_back_what_had_not_ended(worker, manager, ledger, gate, until):
    victim = worker(
        "--threads",
        "1",
        at="django_jobs.storage.release:release_interrupted before kill",
        jobs={"SHUTDOWN_SECONDS": 0},
    )
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    assert end(victim) == -signal.SIGKILL, victim.log.read_text()
    gate.open()

    worker()

    run = Run.objects.get()
    until(lambda: succeeded(run))
    assert run.rescues == 1


ADD_IN_TRANSACTION = """
import os, signal
from django.db import transaction
from django_jobs import get_job_manager
with transaction.atomic():
    get_job_manager().add_immediate_job("tests.probes.ledger:note", job_id="inside")
    get_job_manager().add_recurring_job("tests.probes.ledger:note", 1, job_id="inside too")
    {inside}
{outside}
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_a_process_killed_while_it_adds_jobs_inside_a_transaction(start, transactional_db):
    script = ADD_IN_TRANSACTION.format(inside=KILL, outside="")
    process = start(*MANAGE, "shell", "-c", script)

    assert process.wait(40) == -signal.SIGKILL, process.log.read_text()
    assert (Run.objects.count(), Job.objects.count()) == (0, 0)


def test_a_process_killed_right_after_its_transaction_added_jobs(start, worker, ledger, until):
    script = ADD_IN_TRANSACTION.format(inside="pass", outside=KILL)
    process = start(*MANAGE, "shell", "-c", script)
    assert process.wait(40) == -signal.SIGKILL, process.log.read_text()

    worker()

    until(lambda: ledger.count("recorded", job="inside") == 1 and ledger.count("recorded", job="inside too"))


def test_a_killed_workers_runs_start_elsewhere_within_its_lease(worker, manager, ledger, gate, until):
    victim = worker(jobs=SHORT_LEASE, FAULTS_ELSEWHERE="1")
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    other = worker(jobs=SHORT_LEASE)
    end(victim, signal.SIGKILL)
    lease_ends = Worker.objects.get(pk=Run.objects.get().worker_id).lease_expires_at
    gate.open()

    run = Run.objects.get()
    until(lambda: succeeded(run))

    # The lease, and a heartbeat of the one that notices; the rest is for a busy machine. It has just
    # started itself, and goes by no lease for as long.
    settled = Worker.objects.get(pk=run.worker_id).started_at + timedelta(
        seconds=SHORT_LEASE["LEASE_SECONDS"]
    )
    assert 0 < (run.started_at - max(lease_ends, settled)).total_seconds() < 5
    assert (run.attempt, run.rescues) == (2, 1)
    assert ledger.lines("rescued")[0]["pid"] == other.pid


def test_a_run_that_ends_its_process_ends_failed_and_the_others_of_it_complete(
    worker, manager, ledger, gate, until
):
    killer = manager.add_immediate_job(probes.die)
    others = [manager.add_immediate_job(probes.work, 0.3) for _ in range(12)]

    deaths = 0
    while (code := worker("--drain", "--threads", "8", wait=False).wait(60)) == 7:
        deaths += 1
        assert deaths <= 2
    assert code == 0

    # From then on it ends child processes only.
    assert deaths == 2
    run = Run.objects.get(job_id=killer)
    error = "WorkerDied: its worker died 4 times: its process exited with 7"
    assert (run.status, run.error) == ("FAILED", error)
    assert set(Run.objects.filter(job_id__in=others).values_list("status", flat=True)) == {"SUCCESSFUL"}
    assert {line["job"] for line in ledger.lines("ended")} == set(others)


def test_an_at_most_once_run_of_a_killed_worker_fails_instead_of_running_again(
    worker, manager, ledger, gate, until
):
    victim = worker()
    manager.using(at_most_once=True).add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    end(victim, signal.SIGKILL)

    worker("--drain", wait=False).wait(40)

    run = Run.objects.get()
    assert run.status == "FAILED"
    assert run.error == "WorkerDied: its worker died, and at_most_once forbids another attempt"
    assert ledger.count("began") == 1


def test_a_claim_whose_answer_was_lost_does_not_stay_with_a_worker_that_knows_nothing_of_it(
    worker, manager, ledger, until
):
    manager.add_immediate_job(probes.note)

    worker(at="django_jobs.storage.claims:claim after lose", jobs=SHORT_LEASE)

    run = Run.objects.get()
    until(lambda: succeeded(run), timeout=20)
    until(lambda: ledger.count("recorded"))
    assert ledger.count("recorded") == 1


def test_a_result_whose_answer_was_lost_is_recorded_once(worker, manager, ledger, until):
    manager.add_immediate_job(probes.note)

    process = worker(at="django_jobs.storage.outcomes:finish after lose")

    run = Run.objects.get()
    until(lambda: succeeded(run) and ledger.count("recorded") == 1)
    assert (run.attempt, ledger.count("began")) == (1, 1)
    assert not ledger.count("refused"), process.log.read_text()


def test_a_firing_whose_answer_was_lost_happens_once(worker, manager, ledger, until):
    due_once(manager)

    worker(at="django_jobs.scheduler.occurrences:fire_due after lose")

    until(lambda: Run.objects.filter(status="SUCCESSFUL").exists())
    assert (Job.objects.count(), Run.objects.count(), ledger.count("began")) == (0, 1, 1)


@pytest.mark.parametrize("name", ["worker", "completer", "maintenance", "listener"])
def test_a_process_that_cannot_start_all_its_threads_ends_and_leaves_its_runs_to_others(
    name, worker, manager, ledger, until
):
    process = worker(wait=False, FAULTS_MODULE="tests.faults.threadless", FAULTS_THREAD=f"django_jobs-{name}")
    job_id = manager.add_immediate_job(probes.note)

    assert process.wait(30) == 1

    assert "can't start new thread" in process.log.read_text()
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()
    worker()
    until(lambda: Run.objects.get(job_id=job_id).status == "SUCCESSFUL")
