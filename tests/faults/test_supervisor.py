import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from django_jobs.models import Run, Worker
from tests.faults.processes import end
from tests.faults.test_shutdown import finished, recorded_once
from tests.probes import ledger as probes

# Each starts several processes, some of them in turn.
pytestmark = pytest.mark.timeout(300)

STARTED = re.compile(r"worker (\d+) \(process (\d+)\) started")


@pytest.fixture
def supervise(worker, until):
    """Return a function that starts a supervisor, and waits until its workers serve; what is left is killed."""
    started = []

    def start(count, *arguments, wait=True, **more):
        process = worker("--processes", str(count), *arguments, wait=False, **more)
        started.append(process)
        if wait:
            until(lambda: said(process, "serves$") >= count, timeout=60)
        return process

    yield start

    for process in started:
        process.kill()
        for pid in pids(process):
            if is_worker(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def pids(process, number=None):
    """Return the ids of all worker processes that a supervisor ever started, or those of one of its workers."""
    found = STARTED.findall(process.log.read_text())
    return [int(pid) for worker, pid in found if number is None or int(worker) == number]


def is_worker(pid):
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return b"--supervised" in command and state not in {"Z", "X"}


def alive(process):
    return [pid for pid in pids(process) if is_worker(pid)]


def said(process, pattern):
    return len(
        re.findall(rf"django_jobs.worker.supervisor .*{pattern}", process.log.read_text(), re.MULTILINE)
    )


def live_rows():
    return set(Worker.objects.filter(stopped_at__isnull=True).values_list("pid", flat=True))


def test_each_worker_process_works_and_is_named(supervise, manager, ledger, gate, until):
    process = supervise(3, "--threads", "1")
    # One for each of them: they go on when all have begun.
    manager.add_many([(probes.hold, (gate.path,)) for _ in range(3)])
    until(lambda: ledger.count("began") == 3)
    gate.open()

    until(lambda: ledger.count("recorded") == 3)

    assert live_rows() == set(pids(process)) == set(alive(process))
    assert process.pid not in live_rows()
    assert {line["pid"] for line in ledger.lines("ended")} == set(pids(process))
    log = process.log.read_text()
    said_by = re.findall(r"^\[\d\] (?=runjobs: process \d+ serves)", log, re.MULTILINE)
    assert set(said_by) == {"[1] ", "[2] ", "[3] "}
    assert log.count("serves all queues with 1 thread, with a clock.") == 3


def test_a_worker_that_is_killed_is_replaced_and_its_run_rescued(supervise, manager, ledger, gate, until):
    process = supervise(2)
    manager.add_immediate_job(probes.hold, gate.path)
    (began,) = until(lambda: ledger.lines("began"))

    os.kill(began["pid"], signal.SIGKILL)

    until(lambda: ledger.count("began") == 2, timeout=60)
    gate.open()
    until(lambda: Run.objects.get().status == "SUCCESSFUL")
    assert Run.objects.get().rescues == 1
    until(lambda: len(alive(process)) == 2 and said(process, "serves$") == 3, timeout=60)
    assert (
        said(process, rf"process {began['pid']}\) ended after \d+ s: ended by SIGKILL; starting it again")
        == 1
    )


def test_a_worker_that_dies_at_once_is_not_started_in_a_hot_loop(supervise, until, transactional_db):
    process = supervise(1, wait=False, at="django_jobs.worker.worker:Worker.start before kill")

    began = time.monotonic()
    until(lambda: said(process, "starting it again in") >= 3, timeout=60)

    assert re.findall(r"starting it again in (\d+) s", process.log.read_text())[:3] == ["1", "2", "4"]
    assert len(pids(process)) == 3
    # Two waits, of one and of two seconds.
    assert time.monotonic() - began > 3
    assert end(process) == 0


def test_recycling_by_age_loses_and_doubles_nothing_while_jobs_flow(
    supervise, manager, ledger, clients, until
):
    process = supervise(2, "--max-age", "3")
    client = clients(lambda: manager.add_immediate_job(probes.work, 0.02), rate=40)

    until(lambda: said(process, "is another process now") >= 4, timeout=90)
    accepted = client.stop()

    finished(accepted, until)
    recorded_once(ledger)
    assert not client.errors
    # In order: nothing was begun and not finished.
    assert ledger.count("began") == ledger.count("ended") == len(accepted)
    assert set(Run.objects.values_list("attempt", "rescues")) == {(1, 0)}
    assert not Worker.objects.filter(was_lost=True).exists()


def test_an_old_worker_stops_only_when_its_successor_serves(supervise, until, transactional_db):
    process = supervise(1, "--max-age", "2")

    until(lambda: said(process, "is another process now") >= 2, timeout=60)

    events = re.findall(r"process (\d+)\) (started|serves|is stopped|ended)", process.log.read_text())
    for pid in [pid for pid, event in events if event == "is stopped"]:
        before = events[: events.index((pid, "is stopped"))]
        assert before[-1][1] == "serves"
        assert before[-1][0] != pid


def test_a_worker_that_takes_too_much_memory_is_replaced_but_not_again_and_again(
    supervise, probe_module, until, transactional_db
):
    probe_module.path.write_text(
        "from django_jobs.worker import supervisor\nsupervisor.MEASURE_SECONDS = 0\n"
    )
    # Less than any worker takes.
    process = supervise(1, "--max-memory", "1", FAULTS_MODULE=probe_module.name)

    until(lambda: said(process, "is another process now") >= 2, timeout=60)

    # The third may stay for four seconds; looked at without end it would have to go after one.
    time.sleep(3)
    assert said(process, r"is to be replaced: it takes \d+ MB") == 2
    assert end(process, timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_drains_all_workers(number, supervise, manager, ledger, gate, until):
    process = supervise(2, "--threads", "1")
    manager.add_many([(probes.hold, (gate.path,)) for _ in range(2)])
    until(lambda: ledger.count("began") == 2)
    assert len({line["pid"] for line in ledger.lines("began")}) == 2

    process.send_signal(number)

    until(lambda: process.log.read_text().count("runjobs: stopping") == 2)
    assert process.poll() is None
    gate.open()
    assert process.wait(60) == 0, process.log.read_text()
    assert set(Run.objects.values_list("status", "attempt", "rescues")) == {("SUCCESSFUL", 1, 0)}
    assert not live_rows()
    assert not alive(process)


def test_a_signal_to_the_whole_group_is_one_signal_to_each(supervise, manager, ledger, gate, until):
    process = supervise(2)
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))

    # As systemd does by default, workers first.
    for pid in [*pids(process), process.pid]:
        os.kill(pid, signal.SIGTERM)

    until(lambda: said(process, "SIGTERM: stopping"))
    gate.open()
    assert process.wait(60) == 0, process.log.read_text()
    assert set(Run.objects.values_list("status", "attempt", "rescues")) == {("SUCCESSFUL", 1, 0)}


def test_a_second_signal_ends_all_at_once_and_the_run_is_rescued_later(
    supervise, worker, manager, ledger, gate, until
):
    process = supervise(2)
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    process.send_signal(signal.SIGTERM)
    until(lambda: said(process, "SIGTERM: stopping"))

    assert end(process, timeout=20) == 128 + signal.SIGTERM

    until(lambda: not alive(process))
    gate.open()
    worker()
    until(lambda: Run.objects.get().status == "SUCCESSFUL")
    assert Run.objects.get().rescues == 1


def test_a_supervisor_that_is_killed_leaves_workers_that_finish_what_they_run_and_end(
    supervise, manager, ledger, gate, until
):
    process = supervise(2)
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))

    process.kill()
    process.wait(10)

    # The idle one at once, the other when its run has ended.
    until(lambda: len(alive(process)) == 1)
    later = manager.add_immediate_job(probes.note)
    gate.open()
    until(lambda: not alive(process), timeout=30)
    assert set(Run.objects.exclude(job_id=later).values_list("status", "attempt")) == {("SUCCESSFUL", 1)}
    # Added when nobody claimed any more.
    assert Run.objects.get(job_id=later).status == "READY"
    assert not live_rows()


def test_a_worker_whose_supervisor_dies_while_it_starts_ends_too(supervise, gate, until, transactional_db):
    process = supervise(1, wait=False, at="django_jobs.worker.worker:Worker.start before hold")
    until(gate.reached.exists, timeout=60)

    process.kill()
    process.wait(10)
    gate.open()

    until(lambda: not alive(process), timeout=30)
    assert not live_rows()


def test_sighup_replaces_all_workers_with_no_gap_while_jobs_flow(supervise, manager, ledger, clients, until):
    process = supervise(2)
    old = set(pids(process))
    client = clients(lambda: manager.add_immediate_job(probes.work, 0.02), rate=40)
    until(lambda: len(client.accepted) > 20)

    process.send_signal(signal.SIGHUP)
    until(lambda: said(process, "is another process now") == 2, timeout=60)
    until(lambda: not old & set(alive(process)), timeout=60)
    accepted = client.stop()

    finished(accepted, until)
    recorded_once(ledger)
    assert ledger.count("began") == ledger.count("ended") == len(accepted)
    assert set(Run.objects.values_list("attempt", "rescues")) == {(1, 0)}
    assert len(live_rows()) == 2
    assert not live_rows() & old


def test_new_code_that_cannot_start_leaves_the_old_workers_at_work(supervise, manager, probe_module, until):
    process = supervise(1, FAULTS_MODULE=probe_module.name)
    (old,) = alive(process)

    probe_module.path.write_text("raise ImportError('a deploy that went wrong')")
    process.send_signal(signal.SIGHUP)
    until(lambda: said(process, "ended before it could take over: exit code 1"), timeout=60)

    assert is_worker(old)
    manager.add_immediate_job(probes.note)
    until(lambda: Run.objects.get().status == "SUCCESSFUL")

    probe_module.path.write_text("")
    until(lambda: said(process, "is another process now"), timeout=60)
    until(lambda: not is_worker(old))
    assert len(live_rows()) == 1


def test_drain_ends_when_every_worker_found_nothing_more(supervise, manager, ledger, transactional_db):
    manager.add_many([(probes.work, (0.01,)) for _ in range(50)])

    process = supervise(3, "--drain", wait=False)

    assert process.wait(90) == 0, process.log.read_text()
    assert Run.objects.filter(status="SUCCESSFUL").count() == 50
    assert said(process, "has drained") == 3
    assert len(pids(process)) == 3


def test_a_worker_that_does_not_end_in_time_is_killed(supervise, gate, until, transactional_db):
    process = supervise(
        1, jobs={"SHUTDOWN_SECONDS": 0}, at="django_jobs.worker.service:Service.stop before hold"
    )

    process.send_signal(signal.SIGTERM)

    # It would hang for ever, and with it whoever waits for the supervisor.
    assert process.wait(60) == 1, process.log.read_text()
    assert said(process, "did not stop in time: it is killed") == 1


@pytest.fixture
def probe_module(tmp_path, child_env):
    """A module that the processes of this test import while they start: its `path` and `name`."""

    class Module:
        name = "module_of_a_deploy"
        path = tmp_path / "module_of_a_deploy.py"

    Module.path.write_text("")
    child_env["PYTHONPATH"] = os.pathsep.join([child_env["PYTHONPATH"], str(tmp_path)])
    return Module
