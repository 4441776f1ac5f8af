import contextlib
import os
import signal
import socket
import threading
import time

import pytest

from django_jobs.models import Run, Worker
from tests.faults.processes import MANAGE, end, get, is_started
from tests.probes import ledger as probes


def statuses():
    return sorted(Run.objects.filter(func__contains="hold").values_list("status", "attempt"))


def test_sigterm_lets_running_work_finish_and_hands_back_at_once_what_was_not_begun(
    worker, manager, ledger, gate, until
):
    process = worker("--threads", "1")
    # Short runs make the worker claim some more than it has threads for.
    manager.add_many([(probes.note, ()) for _ in range(60)])
    until(lambda: ledger.count("recorded") == 60)
    manager.add_many([(probes.hold, (gate.path,)) for _ in range(4)])
    until(lambda: ledger.count("began") == 61)
    until(lambda: Run.objects.filter(func__contains="hold", status="RUNNING").count() > 1)

    process.send_signal(signal.SIGTERM)

    # While the one that had begun still runs.
    until(lambda: statuses() == [("READY", 0)] * 3 + [("RUNNING", 1)])
    assert not ledger.lines("ended", text=None)
    gate.open()
    assert process.wait(20) == 0, process.log.read_text()
    assert statuses() == [("READY", 0)] * 3 + [("SUCCESSFUL", 1)]
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()
    assert not Worker.objects.filter(was_lost=True).exists()


def test_at_the_limit_the_cooperative_are_told_and_the_deaf_are_handed_back(
    worker, manager, ledger, gate, until
):
    process = worker(jobs={"SHUTDOWN_SECONDS": 1})
    listener = manager.add_immediate_job(probes.listen)
    deaf = manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began") == 2)
    began = time.monotonic()

    assert end(process) == 0, process.log.read_text()

    # It would be 30 s by default.
    assert time.monotonic() - began < 25
    assert ledger.lines("told")[0]["reason"] == "shutdown"
    assert set(Run.objects.values_list("job_id", "status", "attempt")) == {
        (listener, "READY", 0),
        (deaf, "READY", 0),
    }
    assert not Worker.objects.filter(was_lost=True).exists()


def test_a_run_that_must_not_begin_twice_ends_with_the_worker_that_began_it(
    worker, manager, ledger, gate, until
):
    process = worker(jobs={"SHUTDOWN_SECONDS": 1})
    once = manager.using(at_most_once=True).add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began") == 1)

    assert end(process) == 0, process.log.read_text()

    worker()
    after = manager.add_immediate_job(probes.note)
    until(lambda: ledger.count("recorded", job=after) == 1)
    run = Run.objects.get(job_id=once)
    assert (run.status, run.attempt) == ("FAILED", 1)
    assert "at_most_once" in run.error
    assert ledger.count("began", job=once) == 1


@pytest.fixture
def mute_broker():
    """Return the port of a server that takes connections and never answers, and what it has taken."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def test_a_broker_that_does_not_answer_keeps_no_process_from_stopping(
    mute_broker, start, manager, ledger, gate, until
):
    port, taken = mute_broker
    process = start(
        *MANAGE, "runjobs",
        jobs={
            "ENGINES": {"fleet": "celery"}, "CELERY_APP": "tests.execution.engines.celery_apps.redis", "SHUTDOWN_SECONDS": 2
        },
        TESTS_REDIS_URL=f"redis://127.0.0.1:{port}/0",
    )  # fmt: skip
    until(lambda: is_started(process), timeout=30)
    manager.using(queue_name="fleet").add_immediate_job(probes.note)
    until(lambda: taken)
    here = manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began", job=here) == 1)

    assert end(process, timeout=20) == 0, process.log.read_text()

    run = Run.objects.get(job_id=here)
    assert (run.status, run.attempt) == ("READY", 0)
    assert Run.objects.get(queue_name="fleet").status == "READY"
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


def test_a_second_signal_exits_at_once_and_the_run_is_rescued_at_the_next_start(
    worker, manager, ledger, gate, until
):
    process = worker()
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in process.log.read_text())

    assert end(process, timeout=20) == 128 + signal.SIGTERM

    gate.open()
    worker()
    until(lambda: Run.objects.get().status == "SUCCESSFUL")
    assert Run.objects.get().rescues == 1


def finished(accepted, until):
    """Wait until all that was accepted has ended, and check that each was recorded once."""
    until(lambda: not Run.objects.unfinished().exists(), timeout=60)
    runs = dict(Run.objects.values_list("job_id", "status"))
    assert set(accepted) <= set(runs)
    assert set(runs.values()) == {"SUCCESSFUL"}


def recorded_once(ledger):
    recorded = [line["run"] for line in ledger.lines("recorded")]
    assert len(recorded) == len(set(recorded))


def test_a_rolling_restart_under_load_loses_nothing_and_executes_nothing_twice(
    worker, manager, ledger, clients, until
):
    processes = [worker() for _ in range(3)]
    client = clients(lambda: manager.add_immediate_job(probes.work, 0.02), rate=80)
    until(lambda: len(client.accepted) > 20)

    for index, process in enumerate(processes):
        before = len(client.accepted)
        assert end(process) == 0, process.log.read_text()
        processes[index] = worker()
        until(lambda before=before: len(client.accepted) > before + 20)
    accepted = client.stop()

    finished(accepted, until)
    assert not client.errors
    recorded_once(ledger)
    # In order, so nothing was begun and not finished.
    assert ledger.count("began") == ledger.count("ended") == len(accepted)
    assert set(Run.objects.values_list("attempt", "rescues")) == {(1, 0)}


def web_client(clients, process):
    return clients(lambda: get(process.port, "add/?seconds=0.02"), rate=40)


def test_gunicorn_reloaded_by_hup_under_load_loses_nothing(web, ledger, clients, until, transactional_db):
    process = web()
    client = web_client(clients, process)
    until(lambda: len(client.accepted) > 20)
    before = set(Worker.objects.values_list("pid", flat=True))

    process.send_signal(signal.SIGHUP)

    until(lambda: Worker.objects.filter(pid__in=before, stopped_at__isnull=True).count() == 0, timeout=30)
    until(lambda: Worker.objects.filter(stopped_at__isnull=True).exclude(pid__in=before).count() == 2)
    finished(client.stop(), until)
    recorded_once(ledger)
    assert not Worker.objects.filter(was_lost=True).exists()
    assert set(Run.objects.values_list("attempt", "rescues")) == {(1, 0)}


def test_gunicorn_ended_by_term_under_load_loses_nothing(
    web, worker, ledger, clients, until, transactional_db
):
    process = web()
    client = web_client(clients, process)
    until(lambda: len(client.accepted) > 20)

    assert end(process) == 0, process.log.read_text()
    accepted = client.stop()

    # Said goodbye, and left nothing in the hands of processes that are gone.
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()
    assert not Worker.objects.filter(was_lost=True).exists()
    assert not Run.objects.running().exists()
    assert worker("--drain", wait=False).wait(40) == 0
    finished(accepted, until)
    recorded_once(ledger)


def test_a_gunicorn_worker_killed_under_load_loses_nothing(web, ledger, clients, until, transactional_db):
    # Three, so that one stays that rescues at once while another is started.
    process = web(workers=3)
    until(lambda: Worker.objects.count() == 3, timeout=30)
    client = web_client(clients, process)
    until(lambda: len(client.accepted) > 20)

    os.kill(Worker.objects.order_by("?").first().pid, signal.SIGKILL)
    until(lambda: Worker.objects.filter(was_lost=True).exists())
    count = len(client.accepted)
    until(lambda: len(client.accepted) > count + 20)

    finished(client.stop(), until)
    recorded_once(ledger)
