"""Windows, as far as it can be had elsewhere: Python without the names that it lacks there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "testproject"
WITHOUT = """
import os
import signal

for name in ("register_at_fork", "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "killpg", "getpgid",
             "setsid", "getsid", "wait", "waitid", "wait3", "wait4", "uname", "chown", "mkfifo", "nice"):
    if hasattr(os, name):
        delattr(os, name)
for name in dir(signal):
    if name.startswith("SIG") and name not in {
        "SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"
    }:
        delattr(signal, name)


def kill(pid, number):
    # There it ends the process, whatever the number is.
    raise AssertionError(f"os.kill({pid}, {number})")


os.kill = kill
"""
IMPORT_ALL = """
import importlib, pkgutil
import django
django.setup()
import django_jobs
for module in pkgutil.walk_packages(django_jobs.__path__, "django_jobs."):
    if not module.name.endswith("__main__") and module.name != "django_jobs.execution.engines.process_main":
        importlib.import_module(module.name)
print("all imported")
"""
ENQUEUE = "from django_jobs import get_job_manager; get_job_manager().add_immediate_job('reports.jobs:write_report')"


@pytest.fixture
def python(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, PROJECT, PROJECT.parent))),
        "TESTPROJECT_VAR": str(tmp_path / "var"),
        "TESTPROJECT_DATABASE": "sqlite",
    }

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=PROJECT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_all_modules_are_imported_without_what_windows_lacks(python):
    assert "all imported" in python("-c", IMPORT_ALL)


def test_checks_and_a_worker_run_without_what_windows_lacks(python):
    assert "no issues" in python("manage.py", "check")
    python("manage.py", "migrate", "-v", "0")
    python("manage.py", "shell", "-v", "0", "-c", ENQUEUE)

    assert "status=SUCCESSFUL" in python("manage.py", "runjobs", "--drain", "--no-clock")
