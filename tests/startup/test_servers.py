import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from django_jobs.models import Run, Worker
from tests.children import free_port
from tests.probes import jobs

ROOT = Path(__file__).parents[2]
MANAGE = [sys.executable, str(ROOT / "testproject" / "manage.py")]


@pytest.fixture(scope="session")
def zygote():
    """Nothing is forked here: these tests are about what a start is."""


@pytest.fixture
def port():
    return free_port()


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs/", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def post_ingest(port):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/ingest/", data=b"", method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)["job_id"]


def live():
    return Worker.objects.filter(stopped_at__isnull=True).count()


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    return process.wait(40)


def python(module):
    return [sys.executable, "-m", module]


def server(kind, port):
    match kind:
        case "runserver":
            return [*MANAGE, "runserver", f"127.0.0.1:{port}"]
        case "runserver --noreload":
            return [*MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}"]
        case "gunicorn":
            return [*python("gunicorn"), "-w", "3", "-b", f"127.0.0.1:{port}", "testproject.wsgi"]
        case "uvicorn":
            return [
                *python("uvicorn"),
                "--port",
                str(port),
                "--lifespan",
                "off",
                "testproject.asgi:application",
            ]
        case "uvicorn --workers":
            return [
                *python("uvicorn"), "--workers", "2", "--port", str(port), "--lifespan", "off",
                "testproject.asgi:application",
            ]  # fmt: skip
    raise AssertionError(kind)


SERVERS = {
    "runserver": 1,
    "runserver --noreload": 1,
    "gunicorn": 3,
    "uvicorn": 1,
    "uvicorn --workers": 2,
}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_works_in_each_process_that_serves_and_in_no_other_until_it_is_told_to_stop(
    kind, spawn, port, until
):
    process = spawn(*server(kind, port))
    until(lambda: answers(port), timeout=40)
    until(lambda: live() == SERVERS[kind], timeout=30)

    job_id = post_ingest(port)
    run = until(lambda: Run.objects.filter(job_id=job_id, status="SUCCESSFUL").first(), timeout=30)

    assert json.loads(run.result)["unreadable"] == 0
    assert live() == SERVERS[kind], process.log.read_text()
    log = process.log.read_text()
    assert "Warning" not in log, log

    if kind == "runserver":
        # As Ctrl-C does: runserver's first process kills the second when it alone is told.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(40)
    else:
        stop(process)

    log = process.log.read_text()
    assert live() == 0, log
    assert not Worker.objects.filter(was_lost=True).exists(), log


@pytest.mark.parametrize("kind", ["gunicorn", "uvicorn --workers"])
def test_a_server_that_is_told_to_stop_waits_for_the_run_that_one_of_its_processes_executes(
    kind, spawn, port, until, manager
):
    process = spawn(*server(kind, port))
    until(lambda: answers(port), timeout=40)
    until(lambda: live() == SERVERS[kind], timeout=60)
    manager.add_immediate_job(jobs.sleep, 3)
    until(lambda: Run.objects.get().status == "RUNNING")

    stop(process)

    assert (Run.objects.get().status, Run.objects.get().attempt) == ("SUCCESSFUL", 1), process.log.read_text()
    assert live() == 0, process.log.read_text()


def test_runserver_starts_anew_at_once_while_a_job_runs(spawn, port, until, manager, child_env, tmp_path):
    watched = tmp_path / "a_module_that_is_changed.py"
    watched.write_text("")
    child_env["PYTHONPATH"] = os.pathsep.join([child_env["PYTHONPATH"], str(tmp_path)])
    # The job would be waited for much longer than anything here.
    jobs_settings = json.dumps({"SHUTDOWN_SECONDS": 600})
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings", "FAULTS_MODULE": watched.stem,
        "FAULTS_DJANGO_JOBS": jobs_settings,
    }  # fmt: skip
    process = spawn(*server("runserver", port), env=env)
    until(lambda: live() == 1, timeout=40)
    first = Worker.objects.get()
    manager.add_immediate_job(jobs.sleep, 60)
    until(lambda: Run.objects.get().status == "RUNNING")

    def change():
        # Into the future: a file may have no finer time than a second.
        os.utime(watched, (time.time() + 5, time.time() + 5))
        return "reloading" in process.log.read_text()

    # What is changed before the first look of the one that watches is not seen as a change.
    until(change, every=1.2)
    until(lambda: Worker.objects.filter(stopped_at=None).exclude(pk=first.pk).exists(), timeout=40)

    first.refresh_from_db()
    assert (first.was_lost, first.stopped_at is None) == (False, False)
    until(lambda: Run.objects.get().status == "RUNNING")
    run = Run.objects.get()
    assert (run.attempt, run.rescues) == (1, 0)
    assert [entry["error"] for entry in run.errors] == ["WorkerStopped: its worker stopped"]


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["migrate", "--check"],
        ["shell", "-c", "from django_jobs import get_job_manager; print(get_job_manager().is_running)"],
        ["makemigrations", "--check", "--dry-run"],
    ],
    ids=lambda command: command[0],
)
def test_other_commands_start_nothing(command, spawn):
    process = spawn(*MANAGE, *command)

    assert process.wait(60) == 0, process.log.read_text()
    assert not Worker.objects.exists()
    assert "True" not in process.log.read_text()


def test_the_environment_has_the_last_word(spawn, port, until):
    process = spawn(*server("gunicorn", port), env={"DJANGO_JOBS_AUTOSTART": "0"})
    until(lambda: answers(port), timeout=40)

    post_ingest(port)

    assert Run.objects.get().status == "READY"
    assert not Worker.objects.exists()
    stop(process)


def test_a_server_started_before_its_tables_waits_for_them_and_says_so_once(
    spawn, port, until, tmp_path, child_env
):
    if child_env.get("TESTPROJECT_DATABASE", "sqlite") != "sqlite":
        # One database is enough for a question about order; a second server database would need dropping.
        env = {"TESTPROJECT_DATABASE": "sqlite"}
    else:
        env = {}
    env |= {"TESTPROJECT_DATABASE_NAME": str(tmp_path / "new.sqlite3")}
    process = spawn(*server("runserver --noreload", port), env=env)
    until(lambda: "tables are missing" in process.log.read_text(), timeout=40)

    migrate = spawn(*MANAGE, "migrate", "-v", "0", env=env)
    assert migrate.wait(120) == 0, migrate.log.read_text()

    until(lambda: "started: queues=all" in process.log.read_text(), timeout=20)
    assert process.log.read_text().count("tables are missing") == 1


def test_three_gunicorn_workers_fire_each_time_once(spawn, port, until, manager):
    spawn(*server("gunicorn", port))
    until(lambda: live() == 3, timeout=40)

    manager.using(coalesce=False).add_recurring_job(
        "tests.probes.jobs:mark", 0.2, job_id="tick", max_instances=99
    )
    first = until(lambda: Run.objects.filter(job_id="tick").first(), timeout=60).scheduled_at
    added = [post_ingest(port) for _ in range(10)]
    until(lambda: Run.objects.filter(job_id="tick").count() >= 8, timeout=30)
    manager.pause_job("tick")

    times = list(
        Run.objects.filter(job_id="tick").order_by("scheduled_at").values_list("scheduled_at", flat=True)
    )
    assert [round((at - first) / timedelta(seconds=0.2)) for at in times] == list(range(len(times)))
    until(lambda: Run.objects.filter(job_id__in=added, status="SUCCESSFUL").count() == 10, timeout=30)


def test_a_job_added_right_before_sigkill_runs_after_the_next_start(spawn, port, until):
    env = {"TESTS_DJANGO_JOBS": json.dumps({"LEASE_SECONDS": 600})}
    process = spawn(*server("runserver --noreload", port), env=env)
    until(lambda: answers(port), timeout=40)
    until(lambda: live() == 1, timeout=30)

    job_id = post_ingest(port)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    spawn(*server("runserver --noreload", port), env=env)

    # Not after its lease: this machine can prove that the process is gone.
    until(lambda: Run.objects.filter(job_id=job_id, status="SUCCESSFUL").exists(), timeout=60)
