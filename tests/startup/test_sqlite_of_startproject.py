"""A project as `startproject` makes it, on its SQLite file: nothing fails with "database is locked"."""

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.children import free_port

README = Path(__file__).parents[2] / "README.md"
NUMBER = 200
# Each run and each request reads first and writes then, in one transaction, as most code does.
JOBS = """
import time
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction
from django_jobs import job

def add_user(name):
    with transaction.atomic():
        count = User.objects.count()
        time.sleep(0.01)
        User.objects.create_user(f"{name}-{count}-{time.monotonic_ns()}")

@job
def work(number):
    add_user(f"run-{number}")

@job
async def awork(number):
    await sync_to_async(add_user)(f"async-run-{number}")
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
from mysite.jobs import add_user, work

def page(request, number):
    add_user(f"request-{number}")
    return HttpResponse(work.enqueue(number))

urlpatterns = [path("<int:number>/", page)]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A new project in a folder, whose environment has nothing of the tests' own."""
    call_command("startproject", "mysite", str(tmp_path))
    (tmp_path / "mysite" / "jobs.py").write_text(JOBS)
    (tmp_path / "mysite" / "urls.py").write_text(URLS)
    for name in [name for name in os.environ if name.startswith("DJANGO_")]:
        monkeypatch.delenv(name)
    return tmp_path


def configure(project, lines):
    with (project / "mysite" / "settings.py").open("a") as file:
        # Hashing passwords is not what this is about.
        file.write(f'{lines}\nPASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]\n')


def manage(project, *arguments):
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def rows(project, query):
    with contextlib.closing(sqlite3.connect(project / "db.sqlite3", timeout=20)) as database:
        return database.execute(query).fetchall()


def blocks_of_readme():
    install = README.read_text().partition("## Install")[2]
    return "\n".join(re.findall(r"```python\n# settings.py\n(.*?)```", install, re.DOTALL)[:2])


@pytest.fixture
def server(project):
    """Return a function that starts the project's server, and returns its port and log; it is stopped after."""
    processes = []

    def start():
        port, log = free_port(), project / "server.log"
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
        with log.open("w") as out:
            processes.append(subprocess.Popen(command, cwd=project, stdout=out, stderr=subprocess.STDOUT))
        return port, log

    yield start

    for process in processes:
        process.terminate()
        process.wait(40)


def test_no_run_fails_beside_requests_where_the_readme_was_followed(project, server, until):
    configure(project, blocks_of_readme())
    manage(project, "migrate", "-v0")
    port, log = server()

    def get(number):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}/", timeout=60) as answer:
            return answer.status

    until(lambda: answers(port), timeout=40)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(get, range(NUMBER)))
    until(
        lambda: (
            rows(project, "SELECT COUNT(*) FROM django_jobs_run WHERE finished_at IS NOT NULL") == [(NUMBER,)]
        ),
        timeout=60,
    )

    assert statuses == [200] * NUMBER
    assert rows(project, "SELECT status, COUNT(*) FROM django_jobs_run GROUP BY 1") == [
        ("SUCCESSFUL", NUMBER)
    ]
    assert rows(project, "SELECT COUNT(*) FROM auth_user") == [(2 * NUMBER,)]
    assert "locked" not in log.read_text()


def test_no_run_fails_beside_other_runs_with_the_settings_of_startproject(project):
    configure(project, 'INSTALLED_APPS += ["django_apscheduler", "django_jobs"]')
    manage(project, "migrate", "-v0")
    add = "from mysite.jobs import awork, work; [one.enqueue(n) for n in range(20) for one in (work, awork)]"
    manage(project, "shell", "-v0", "-c", add)

    said = manage(project, "jobs", "work", "--drain", "--threads", "12")

    assert rows(project, "SELECT status, COUNT(*) FROM django_jobs_run GROUP BY 1") == [("SUCCESSFUL", 40)], (
        said
    )
