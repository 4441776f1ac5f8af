from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.conf import settings as project_settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError

from django_jobs import RunContext, get_job_manager
from django_jobs.models import Run
from documents.management.commands.demo import add_demo_jobs, check_address, prepare_admin
from reports.jobs import ask_other_library, print_report, scan_book

MANAGE = project_settings.BASE_DIR / "manage.py"
ROOT = MANAGE.parent.parent


@pytest.fixture
def var_dir(var_dir, monkeypatch):
    monkeypatch.delenv("TESTPROJECT_ADMIN_PASSWORD", raising=False)
    return var_dir


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def project_environment(var_dir, **variables):
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TESTPROJECT_", "DJANGO_"))
    }
    return kept | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "TESTPROJECT_VAR": str(var_dir), **variables}


@pytest.fixture
def manage(var_dir, zygote):
    """Return a function that runs a command of the project from any folder."""

    def run(*arguments, **variables):
        command = [sys.executable, "-W", "error", MANAGE, *arguments]
        return zygote.run(command, project_environment(var_dir, **variables), cwd=Path("/"))

    return run


@pytest.mark.django_db
def test_a_new_admin_gets_a_random_password_that_later_demos_show_again(var_dir):
    password = prepare_admin()

    file = var_dir / "admin-password.txt"
    assert get_user_model().objects.get(username="admin").check_password(password)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert prepare_admin() == password


@pytest.mark.django_db
def test_a_given_password_is_used_and_not_written_down(var_dir, monkeypatch):
    monkeypatch.setenv("TESTPROJECT_ADMIN_PASSWORD", "given for this test")

    assert prepare_admin() == "given for this test"
    assert prepare_admin() == "given for this test"
    assert list(var_dir.iterdir()) == []


@pytest.mark.django_db
def test_an_admin_with_another_password_is_left_alone(var_dir):
    prepare_admin()
    admin = get_user_model().objects.get()
    admin.set_password("changed since")
    admin.save()

    assert prepare_admin() is None
    admin.refresh_from_db()
    assert admin.check_password("changed since")


@pytest.mark.django_db
def test_each_demo_ingests_and_writes_to_readers_anew():
    add_demo_jobs()
    add_demo_jobs()

    # The name of an ingestion goes on with the name of its file.
    kinds = Counter((job["kind"], job["name"].partition(" ")[0]) for job in get_job_manager().get_jobs())
    assert kinds == {
        ("immediate", "ask_other_library"): 2,
        ("immediate", "ingest"): 14,
        ("immediate", "index_documents"): 2,
        ("immediate", "mail_index"): 2,
        ("immediate", "print_report"): 2,
        ("immediate", "scan_book"): 6,
        ("scheduled", "send_newsletter"): 2,
    }


@pytest.mark.django_db
def test_one_book_of_the_demo_is_scanned_at_a_time_and_says_each_page(jobs, monkeypatch):
    monkeypatch.setattr(RunContext, "wait", lambda run, seconds: False)
    for title in ("Emma", "Moby-Dick"):
        get_job_manager().add_immediate_job(scan_book, title, 3)
    assert [run.run_after is None for run in Run.objects.order_by("id")] == [False, True]

    assert [attempt.result for attempt in jobs.drain()] == [3, 3]

    log = Run.objects.latest("id").log
    assert [line.rpartition("page ")[2] for line in log.splitlines()] == [
        f"{n} of Moby-Dick" for n in (1, 2, 3)
    ]


@pytest.mark.django_db
def test_a_demo_has_a_failure_and_an_attempt_that_is_tried_again(jobs):
    get_job_manager().add_immediate_job(ask_other_library, "Emma")
    get_job_manager().add_immediate_job(print_report)

    jobs.drain(deferred=True)

    asked, printed = Run.objects.order_by("func")
    assert (asked.status, asked.attempt, asked.result) == ("SUCCESSFUL", 3, '"Emma is there"')
    assert (printed.status, printed.error) == ("FAILED", "ConnectionError: no printer for 1 copies")


@pytest.mark.parametrize(
    ("addrport", "expected"),
    [
        ("{port}", "http://127.0.0.1:{port}/"),
        ("localhost:{port}", "http://localhost:{port}/"),
        ("0:{port}", "http://127.0.0.1:{port}/"),
    ],
)
def test_a_free_address_becomes_a_url(addrport, expected, free_port):
    assert check_address(addrport.format(port=free_port)) == expected.format(port=free_port)


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("addrport", ["", "web", "127.0.0.1:", "127.0.0.1:70000", "0"])
def test_an_address_without_a_port_is_refused(addrport):
    with pytest.raises(CommandError, match="is not a port"):
        check_address(addrport)


@pytest.mark.django_db
def test_a_taken_port_stops_the_demo_before_it_adds_jobs(taken_port):
    with pytest.raises(CommandError, match=f"Port {taken_port} is taken"):
        call_command("demo", str(taken_port))

    assert get_job_manager().get_jobs() == []
    assert not get_user_model().objects.exists()


def read(url):
    with urlopen(url, timeout=10) as response:
        return response.read().decode()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_from_any_folder_and_stops_cleanly(stop, tmp_path, free_port, until):
    with subprocess.Popen(
        [sys.executable, MANAGE, "demo", str(free_port), "--noreload"],
        env=project_environment(tmp_path),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output = ""
            for line in process.stdout:
                output += line
                if "Quit the server" in line:
                    break
            until(lambda: "demo-report-csv" in read(f"http://127.0.0.1:{free_port}/jobs/"))
            process.send_signal(stop)
            output += process.communicate(timeout=30)[0]
        finally:
            process.kill()

    password = Path(tmp_path / "admin-password.txt").read_text(encoding="utf-8").strip()
    assert f"user admin, password {password}" in output
    assert f"http://127.0.0.1:{free_port}/admin/" in output
    assert process.returncode == 0
    # That of the job that fails on purpose.
    assert output.count("Traceback") == output.count("ConnectionError: no printer for 2 copies\nTraceback")


def test_manage_check_passes_without_warnings_from_any_folder(manage):
    done = manage("check")

    assert (done.returncode, done.stderr) == (0, "")


def test_deployment_checks_pass_with_debug_mode_off(manage):
    key = "a-key-for-this-test-only-0123456789-abcdefghijklmnopqrstuvwxyz"

    done = manage("check", "--deploy", "--fail-level", "WARNING", TESTPROJECT_DEBUG="0", SECRET_KEY=key)

    assert done.returncode == 0, done.stderr


def test_migrations_are_complete(manage):
    done = manage("makemigrations", "--check", "--dry-run", "documents", "mailings", "reports")

    assert done.returncode == 0, done.stdout + done.stderr


def test_debug_mode_off_needs_a_key(manage):
    done = manage("check", TESTPROJECT_DEBUG="0", SECRET_KEY="")

    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr


def test_an_unknown_database_is_refused(manage):
    done = manage("check", TESTPROJECT_DATABASE="oracle")

    assert done.returncode != 0
    assert "must be sqlite, postgresql or mariadb" in done.stderr
