"""A process that is forked is to its test, and to itself, what one that was started in full is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zygote import INTERPRETER, start_process

REPORT = """
import atexit, json, os, signal, sys, threading

atexit.register(print, "at exit")
print(json.dumps({
    "name": __name__, "argv": sys.argv[1:], "orig_argv": sys.orig_argv[1:], "path": sys.path[:2],
    "cwd": os.getcwd(), "here": os.environ.get("HERE"), "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "open": [name for name in os.listdir("/proc/self/fd") if int(name) > 3], "stdin": sys.stdin.read(),
    "signals": [repr(signal.getsignal(number)) for number in (2, 15, 17)],
    "threads": threading.active_count(), "flags": repr(sys.flags),
    "is_set_up": "django.conf" in sys.modules and sys.modules["django.conf"].settings.configured,
}))
threading.Timer(0.1, print, ["from a thread"]).start()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def command(tmp_path):
    """Return a function that gives the command of a module, and its environment."""

    def make(text, *arguments):
        (tmp_path / "module_of_a_test.py").write_text(text)
        env = {**os.environ, **INTERPRETER, "PYTHONPATH": str(tmp_path), "HERE": "yes"}
        return [sys.executable, "-m", "module_of_a_test", *arguments], env

    return make


@pytest.fixture
def start(zygote, tmp_path):
    """Return a function that starts a command in one of two ways, and what reads its output."""

    def run(command, env, *, is_forked=True):
        with (tmp_path / "out").open("w") as out:
            assert zygote.takes(command, env)
            process = start_process(zygote if is_forked else None, command, env, out)
        return process, (tmp_path / "out").read_text

    return run


def test_a_forked_process_sees_what_one_sees_that_was_started_in_full(command, start):
    seen = []
    for is_forked in (False, True):
        process, read = start(*command(REPORT, "7"), is_forked=is_forked)
        assert process.wait(60) == 7
        assert process.poll() == process.returncode == 7
        first, *rest = read().splitlines()
        seen.append((json.loads(first), rest))

    assert seen[0] == seen[1]
    assert seen[0][1] == ["from a thread", "at exit"]


def test_an_exception_ends_it_with_a_traceback(command, start):
    process, read = start(*command("raise LookupError('no such thing')"))

    assert process.wait(60) == 1
    assert read().endswith("LookupError: no such thing\n")


def test_it_is_waited_for_and_killed(command, start):
    process, _ = start(*command("import time\nprint('here')\ntime.sleep(60)"))

    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.kill()


def test_it_speaks_and_hears(command, zygote, tmp_path):
    process = zygote.converse(*command("print(input().upper())\nprint(input().upper())"), tmp_path)

    with process.stdin, process.stdout:
        process.stdin.write("one\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ONE\n"
        process.stdin.write("two\n")
        process.stdin.flush()
        assert process.stdout.read() == "TWO\n"
    assert process.wait(60) == 0


WARNED = """
import sys, warnings
for kind in (DeprecationWarning, ResourceWarning, UserWarning):
    try:
        warnings.warn_explicit("old", kind, "somewhere.py", 7, "somewhere")
    except Warning as error:
        print("raised", type(error).__name__)
print(__name__, sys.argv, repr(sys.path[0]), sys.orig_argv[1:])
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("options", "env"),
    [([], {}), ([], {"PYTHONWARNINGS": "default"}), (["-W", "error"], {}), ([], {"PYTHONWARNINGS": "error"})],
    ids=["plain", "shown", "errors", "errors of the environment"],
)
@pytest.mark.parametrize("kind", ["script", "module", "code"])
def test_what_is_run_writes_and_warns_as_if_it_had_an_interpreter_of_its_own(
    zygote, tmp_path, kind, options, env
):
    script = tmp_path / "module_of_a_test.py"
    script.write_text(WARNED)
    command = {
        "script": [script, "one"],
        "module": ["-m", "module_of_a_test", "one"],
        "code": ["-c", WARNED, "one"],
    }
    words = [sys.executable, *options, *map(str, command[kind])]

    done = zygote.run(words, env, cwd=tmp_path)

    full = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, full.stdout, full.stderr)


def test_what_is_run_too_long_is_killed(zygote):
    with pytest.raises(subprocess.TimeoutExpired):
        zygote.run([sys.executable, "-c", "import time; time.sleep(60)"], {}, timeout=0.05)


def test_what_needs_an_interpreter_of_its_own_is_not_forked(zygote):
    env = {**INTERPRETER}

    assert zygote.takes([sys.executable, "-m", "celery"], env)
    assert not zygote.takes([sys.executable, "-W", "error", "-m", "celery"], env)
    assert not zygote.takes(["sh", "-c", "true"], env)
    assert not zygote.takes([sys.executable, "-m", "celery"], {**env, "PYTHONWARNINGS": "error"})


def test_a_test_learns_that_the_zygote_died(command):
    from tests.zygote import Zygote

    zygote = Zygote()
    with Path(os.devnull).open("w") as out:
        process = start_process(zygote, *command("import time\ntime.sleep(60)"), out)
    zygote._process.kill()

    with pytest.raises(AssertionError, match="has died"):
        process.wait(60)

    os.kill(process.pid, signal.SIGKILL)
    process._status.close()
    zygote.close()
