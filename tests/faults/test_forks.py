import json
import sys
from pathlib import Path

import pytest

from django_jobs.models import Run, Worker
from tests.probes import ledger as probes


@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_a_forked_child_leaves_its_parents_work_alone_and_can_work_itself(
    way, start, ledger, gate, transactional_db
):
    process = start(sys.executable, "-m", "tests.faults.forks", way)

    assert process.wait(60) == 0, process.log.read_text()
    log = process.log.read_text()
    report = json.loads(Path(f"{gate.path}.report").read_text())
    # The child.
    assert report["code"] == 0, log
    assert report["child"] == {"is_running": False, "added": "of the child", "is_started": True}
    # The parent: its row, its run and its connections as if nothing had been.
    assert report["before"] == report["after"]
    assert report["before"][0][0][:2] == ["RUNNING", 1]
    assert report["result"] == "held"
    assert report["is_running"]
    assert ledger.count("began", job="of the parent") == ledger.count("recorded", job="of the parent") == 1
    assert "does not answer" not in log
    assert not Worker.objects.filter(was_lost=True).exists()


def test_celerys_prefork_leaves_the_manager_to_the_process_that_started_it(
    start, ledger, gate, manager, until, transactional_db
):
    celery = [sys.executable, "-m", "celery", "-A", "tests.faults.celery_app"]
    process = start(
        *celery, "worker", "--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle",
        DJANGO_JOBS_AUTOSTART="1",
    )  # fmt: skip
    until(lambda: Worker.objects.filter(stopped_at__isnull=True).exists(), timeout=40)
    held = manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began", job=held))

    assert start(*celery, "call", "report").wait(60) == 0
    broker = Path(f"{gate.path}.broker")
    (message,) = (broker / "written").iterdir()
    message.rename(broker / "read" / message.name)

    report = Path(f"{gate.path}.child")
    until(report.exists, timeout=40)
    until(lambda: report.read_text().endswith("}"))
    seen = json.loads(report.read_text())
    assert seen["parent"] == process.pid
    assert not seen["is_running"]
    # What a child adds is done by its parent, which goes on with what it had.
    until(lambda: ledger.count("recorded", job="of the child") == 1)
    gate.open()
    until(lambda: ledger.count("recorded", job=held) == 1)
    assert {line["pid"] for line in ledger.lines("began")} == {process.pid}
    process.terminate()
    assert process.wait(30) == 0, process.log.read_text()
    assert not Worker.objects.filter(was_lost=True).exists()
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


def test_gunicorn_with_preload_starts_a_manager_in_each_process_that_serves_and_none_in_the_arbiter(
    web, ledger, manager, until, transactional_db
):
    process = web("--preload")
    until(lambda: Worker.objects.filter(stopped_at__isnull=True).count() == 2, timeout=30)

    jobs = [manager.add_immediate_job(probes.work, 0.1) for _ in range(30)]

    until(lambda: Run.objects.filter(job_id__in=jobs, status="SUCCESSFUL").count() == 30)
    pids = {line["pid"] for line in ledger.lines("began")}
    assert process.pid not in pids
    assert process.pid not in set(Worker.objects.values_list("pid", flat=True))
    assert "Warning" not in process.log.read_text()
    process.terminate()
    assert process.wait(40) == 0, process.log.read_text()
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()
    assert not Worker.objects.filter(was_lost=True).exists()
