"""A process that forks while its manager runs, and writes what it saw to FAULTS_GATE.report.

`python -m tests.faults.forks fork`, or `multiprocessing`; FAULTS_GATE is opened here.
"""

import atexit
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import django


def child():
    """What a forked child may expect."""
    from django_jobs import get_job_manager

    manager = get_job_manager()
    seen = {"is_running": manager.is_running}
    seen["added"] = manager.add_immediate_job("tests.probes.ledger:note", job_id="of the child")
    manager.shutdown()
    manager.start()
    seen["is_started"] = manager.is_running
    manager.shutdown()
    Path(os.environ["FAULTS_GATE"] + ".child").write_text(json.dumps(seen))


def main(way):
    """Fork with a run in progress, wait for the child, and let the run end."""
    django.setup()
    from django.db import connection

    from django_jobs import get_job_manager
    from django_jobs.models import Run, Worker

    manager = get_job_manager()
    manager.start()
    # As an autostarted process has it.
    atexit.register(manager.shutdown)
    gate = os.environ["FAULTS_GATE"]
    manager.add_immediate_job("tests.probes.ledger:hold", gate, job_id="of the parent")
    ledger = Path(os.environ["FAULTS_LEDGER"])
    while not (ledger.exists() and '"began"' in ledger.read_text()):
        time.sleep(0.01)
    before = snapshot(Run, Worker)
    # A thread that is inside SQLite while another forks leaves its locks held in the child for ever.
    while not others_rest():
        time.sleep(0.01)

    if way == "fork":
        pid = os.fork()
        if pid == 0:
            child()
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    else:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        code = process.exitcode

    connection.ensure_connection()
    after = snapshot(Run, Worker)
    Path(gate).touch()
    result = manager.wait("of the parent", 30)
    report = {
        "code": code, "before": before, "after": after, "result": result,
        "is_running": manager.is_running, "child": json.loads(Path(gate + ".child").read_text()),
    }  # fmt: skip
    Path(gate + ".report").write_text(json.dumps(report))


def others_rest():
    """Whether each other thread of this process waits for something."""
    states = [
        path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc/self/task").glob("*/stat")
    ]
    return states.count("R") <= 1


def snapshot(runs, workers):
    """What the database says of the parent."""
    return [
        list(runs.objects.filter(job_id="of the parent").values_list("status", "attempt", "worker_id")),
        list(workers.objects.filter(pid=os.getpid(), stopped_at__isnull=True).values_list("id", flat=True)),
    ]


if __name__ == "__main__":
    main(sys.argv[1])
