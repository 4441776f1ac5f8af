import collections
import signal

import pytest
from django.db import connection

from django_jobs.models import Run
from tests.faults.processes import SHORT_LEASE, end, freeze, thaw
from tests.probes import effects
from tests.probes.models import Mark


def succeeded(run):
    run.refresh_from_db()
    return run.status == "SUCCESSFUL"


def test_a_worker_killed_inside_the_function_has_done_nothing(worker, manager, ledger, gate, until):
    victim = worker()
    manager.add_immediate_job(effects.mark_and_hold, gate.path)
    until(lambda: ledger.count("began"))
    end(victim, signal.SIGKILL)
    assert Mark.objects.count() == 0
    gate.open()

    worker()

    run = Run.objects.get()
    until(lambda: succeeded(run))
    assert (run.attempt, Mark.objects.count()) == (2, 1)


@pytest.mark.parametrize("function", [effects.note_once, effects.note_and_complete])
def test_a_worker_killed_after_the_commit_has_done_all_and_nobody_does_it_again(
    function, worker, manager, ledger, until
):
    manager.add_immediate_job(function)
    victim = worker(at="django_jobs.execution.completion:_Commit._note after kill", wait=False)
    assert victim.wait(40) == -signal.SIGKILL, victim.log.read_text()
    run = Run.objects.get()
    assert (run.status, Mark.objects.count()) == ("SUCCESSFUL", 1)

    assert worker("--drain", wait=False).wait(40) == 0

    run.refresh_from_db()
    assert (run.attempt, run.rescues, ledger.count("began"), Mark.objects.count()) == (1, 0, 1, 1)


def test_a_commit_whose_answer_was_lost_counts(worker, manager, ledger, until):
    manager.add_immediate_job(effects.note_once)

    worker(at="django_jobs.execution.completion:_Commit._note before lose")

    run = Run.objects.get()
    until(lambda: succeeded(run) and ledger.count("recorded") == 1)
    assert (run.attempt, ledger.count("began"), ledger.count("refused")) == (1, 1, 0)
    assert Mark.objects.count() == 1


def test_the_commit_of_a_worker_stopped_past_its_lease_is_refused(worker, manager, ledger, gate, until):
    sleeper = worker(jobs=SHORT_LEASE)
    manager.add_immediate_job(effects.hold_and_complete, gate.path)
    until(lambda: ledger.count("began"))
    freeze(sleeper)
    other = worker(jobs=SHORT_LEASE)
    until(lambda: ledger.count("began") == 2, timeout=60)

    thaw(sleeper)
    until(lambda: "was taken for dead" in sleeper.log.read_text())
    gate.open()

    run = Run.objects.get()
    until(lambda: succeeded(run))
    until(lambda: ledger.count("lost", pid=sleeper.pid) == 1)
    until(lambda: ledger.count("recorded", pid=other.pid) == 1)
    assert (run.attempt, Mark.objects.count()) == (2, 1)


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="a stopped writer of SQLite stops all others")
def test_the_commit_of_an_atomic_function_stopped_past_its_lease_is_refused(
    worker, manager, ledger, gate, until
):
    sleeper = worker(jobs=SHORT_LEASE)
    manager.add_immediate_job(effects.mark_and_hold, gate.path)
    until(lambda: ledger.count("began"))
    freeze(sleeper)
    worker(jobs=SHORT_LEASE)
    # Its transaction is open all the while, and its run is taken nevertheless.
    until(lambda: ledger.count("began") == 2, timeout=60)

    thaw(sleeper)
    until(lambda: "was taken for dead" in sleeper.log.read_text())
    gate.open()

    run = Run.objects.get()
    until(lambda: succeeded(run))
    until(lambda: ledger.count("ended") == 2 and ledger.count("refused") == 1)
    assert (run.attempt, Mark.objects.count()) == (2, 1)


@pytest.mark.timeout(0)
def test_random_kills_around_the_commit_leave_one_row_for_each_run(
    kills, chance, soak_minutes, say, transactional_db
):
    most, seconds = (10_000, soak_minutes * 60) if soak_minutes else (25, 60)

    report = kills("around", most, seconds, chance.randrange(10**9), timeout=seconds + 120)

    runs = Run.objects.values_list("rescues", "id")
    marks = collections.Counter(Mark.objects.values_list("text", flat=True))
    rescues = sum(times for times, _ in runs)
    say(
        f"{connection.vendor}: {report['kills']} kills, most within {report['milliseconds']} ms of a function's begin, "
        f"{rescues} before the commit; {len(runs)} runs, {sum(marks.values())} rows"
    )
    assert not Run.objects.exclude(status="SUCCESSFUL").exists()
    assert 0 < rescues <= report["kills"]
    assert marks == collections.Counter(f"{run_id} done" for _, run_id in runs)
