import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.children import ROOT
from tests.probes import jobs as probes

MANAGE = [sys.executable, str(ROOT / "testproject" / "manage.py")]


@pytest.fixture
def begin(child_env, tmp_path):
    """Return a function that starts a command in full; its imports wait in the middle until a file is there."""
    started = []
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins, os, sys, time\n"
        "real = builtins.__import__\n"
        "def slow(name, *args, **more):\n"
        "    if name.startswith('django_apscheduler') and 'django_jobs.worker.first_steps' in sys.modules:\n"
        f"        open({str(tmp_path / 'reached')!r}, 'w').close()\n"
        f"        while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
        "    return real(name, *args, **more)\n"
        "builtins.__import__ = slow\n"
    )

    def run(*command):
        path = os.pathsep.join([str(tmp_path), child_env["PYTHONPATH"]])
        process = subprocess.Popen(
            [*MANAGE, *command], env={**child_env, "PYTHONPATH": path}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        end = time.monotonic() + 60
        while not (tmp_path / "reached").exists():
            assert time.monotonic() < end
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [["runjobs"], ["jobs", "work", "--processes", "2"]], ids=" ".join)
def test_runjobs_that_is_stopped_while_it_imports_ends_in_order(begin, command, number):
    process = begin(*command)

    process.send_signal(number)

    assert process.wait(20) == 0
    assert process.stdout.read() == "runjobs: stopped before it began.\n"


def test_other_commands_keep_their_handlers(begin):
    process = begin("check")

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == -signal.SIGTERM


def children_of(pid):
    """Return the processes whose parent is a process, with their states."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found[int(stat.parent.name)] = fields[0]
    return found


@pytest.fixture
def first_process(child_env):
    """Return a function that starts a command as process 1 of a namespace of its own; and its pid out here."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "-pf", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to make a namespace of processes")
    started = []

    def run(*command):
        process = subprocess.Popen(
            [unshare, "-pf", "--kill-child", *MANAGE, *command], env=child_env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        while not (inside := children_of(process.pid)):
            assert process.poll() is None, process.stdout.read()
        return process, next(iter(inside))

    yield run
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_process_1_buries_what_jobs_leave_and_passes_signals_on(first_process, manager, until):
    process, first = first_process("runjobs")
    job = manager.add_immediate_job(probes.leave_processes, 5)
    assert manager.wait(job, 60) == 5

    (worker,) = until(lambda: list(children_of(first)) if len(children_of(first)) == 1 else None)

    assert "Z" not in children_of(worker).values()
    os.kill(first, signal.SIGTERM)
    assert process.wait(40) == 0
    assert "runjobs: stopped." in process.stdout.read()
