"""Start Python processes that need not import Django again: they are forked from one that has.

A process of the example project spends about a second of CPU on imports before it does anything. Here one
process per test session imports the modules of others that every such process needs, and nothing that reads
settings or the environment. It is then forked for each command; the child gets the command's environment,
arguments, folder, output and import path, and from there on does what the interpreter would: it imports the
settings, sets Django up, and ends through the interpreter's own exit.

Tests about starting itself (servers, supervisors' workers, installed packages) start real processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
MANAGE = str(ROOT / "testproject" / "manage.py")
# All of others, none of which reads settings or the environment when imported. Not `django.tasks`: which
# edition of it a project uses is seen by what is imported.
PRELOADED = (
    "django.contrib.admin.views.main", "django.contrib.auth.hashers", "django.contrib.messages.views",
    "django.contrib.sessions.backends.base", "django.contrib.syndication.views", "django.core.handlers.wsgi",
    "django.core.management.base", "django.db.backends.sqlite3.base", "django.db.migrations.executor",
    "django.db.models", "django.utils.translation.trans_real", "django.views.generic",
    "apscheduler.schedulers.background", "apscheduler.triggers.calendarinterval",
    "apscheduler.triggers.combining", "apscheduler.triggers.cron", "asgiref.sync", "celery.bin.worker",
    "celery.concurrency.prefork", "ctypes", "kombu.transport.pyamqp", "kombu.transport.redis", "pypdf",
    "statistics", "zoneinfo",
)  # fmt: skip
# Read by the interpreter before the first line of ours: a command with others needs one of its own.
INTERPRETER = {
    **{name: text for name, text in os.environ.items() if name.startswith("PYTHON") and name != "PYTHONPATH"},
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "default",
}
# What the interpreter puts first among its filters of warnings, for PYTHONWARNINGS=default.
SHOWN = ("default", None, Warning, None, 0)
# More than a test's environment and arguments take.
MESSAGE_BYTES = 200_000


class Zygote:
    """The process that is forked; it is started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def takes(self, command: Sequence[str], env: Mapping[str, str], **options: Any) -> bool:
        """Whether a command would be the same when forked: `manage.py` or a module, under our interpreter."""
        words = [str(word) for word in command]
        is_python = words[0] == sys.executable and (words[1] == MANAGE or words[1] == "-m")
        asked = {name: env[name] for name in env if name.startswith("PYTHON") and name != "PYTHONPATH"}
        return hasattr(os, "pidfd_open") and is_python and asked == INTERPRETER and not options

    def run(
        self, command: Sequence[str], env: Mapping[str, str], *, cwd: Path = ROOT, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        """Fork a process, wait for its end, and return what it wrote, as `subprocess.run` does.

        Args:
            command: Python's, with "-W error" or not, and then a script, "-m" and a module, or "-c" and code.
            env: All of its environment. Of what the interpreter reads of it, PYTHONPATH and PYTHONWARNINGS count.
            cwd: The folder that it runs in.
            timeout: In seconds; then it is killed.
        """
        if not hasattr(os, "pidfd_open"):
            return run_in_full(command, env, cwd=cwd, timeout=timeout)
        with (
            Path(os.devnull).open() as nothing,
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        ):
            forked = self._start(command, env, cwd, (nothing.fileno(), out.fileno(), err.fileno()))
            try:
                code = forked.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(forked.pid, 9)
                forked.wait(10)
                raise
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        return subprocess.CompletedProcess(command, code, *texts)

    def start(self, command: Sequence[str], env: Mapping[str, str], out: IO[Any], cwd: Path) -> Forked:
        """Fork a process in a session of its own, and return when it is ready to run the command."""
        with Path(os.devnull).open() as nothing:
            return self._start(command, env, cwd, (nothing.fileno(), out.fileno(), out.fileno()))

    def converse(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> Forked:
        """Fork a process whose standard input and output are pipes of text."""
        reads, stdin = os.pipe()
        stdout, writes = os.pipe()
        try:
            forked = self._start(command, env, cwd, (reads, writes, 2))
        finally:
            os.close(reads)
            os.close(writes)
        forked.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        forked.stdout = os.fdopen(stdout, encoding="utf-8")
        return forked

    def _start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, streams: tuple[int, int, int]
    ) -> Forked:
        message = json.dumps([[str(word) for word in command], dict(env), str(cwd)]).encode()
        status, their_status = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._open(), [message], [*streams, their_status])
        finally:
            os.close(their_status)
        return Forked(command, status)

    def close(self) -> None:
        """End it; what was forked from it goes on."""
        if self._process is not None:
            self._control.close()
            self._process.wait(30)
            self._process = None

    def _open(self) -> socket.socket:
        if self._process is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())], env={**kept, **INTERPRETER},
                    stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True, cwd=ROOT,
                )  # fmt: skip
        return self._control


class Forked:
    """A process that was forked, as `subprocess.Popen` would show it."""

    stdin: IO[str] | None = None
    stdout: IO[str] | None = None

    def __init__(self, command: Sequence[str], status: int) -> None:
        self.args = command
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._line())

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            read = self._status.read(1)
            assert read, f"the process that {self.args} is forked from has died"
            line += read
        return line.decode()

    def _look(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None:
                poll = select.poll()
                poll.register(self._status, select.POLLIN)
                if poll.poll(None if timeout is None else timeout * 1000):
                    self.returncode = int(self._line())
                    self._status.close()
            return self.returncode

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        if (code := self._look(timeout)) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(list(self.args), timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(15)

    def kill(self) -> None:
        self.send_signal(9)


def run_in_full(
    command: Sequence[str], env: Mapping[str, str], *, cwd: Path = ROOT, timeout: float = 100
) -> subprocess.CompletedProcess[str]:
    """Do what `Zygote.run` does with an interpreter that has imported nothing."""
    return subprocess.run(
        [str(word) for word in command], env=env, cwd=cwd, timeout=timeout, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def start_process(
    zygote: Zygote | None, command: Sequence[str], env: Mapping[str, str], out: IO[Any], **more: Any
) -> Forked | subprocess.Popen[bytes]:
    """Start a command in a session of its own in the repository's folder: forked if it may be."""
    if zygote and zygote.takes(command, env, **more):
        return zygote.start(command, env, out, ROOT)
    return subprocess.Popen(
        command, env=env, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True, **more
    )


# What follows runs in the process that is forked.


def _serve(control: socket.socket) -> list[str]:
    """Fork for each message; return in a child, with its command."""
    # By the descriptor that tells of a child's end: its id, and where to say its code.
    children: dict[int, tuple[int, int]] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                poll.unregister(ready)
                os.close(ready)
                pid, status = children.pop(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                # Nobody may want to know any more.
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, b"%d\n" % code)
                os.close(status)
                continue
            message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 4)
            if not message:
                os._exit(0)
            *streams, status = descriptors
            if (pid := os.fork()) == 0:
                control.detach()
                return _become(message, streams, status)
            for stream in streams:
                os.close(stream)
            descriptor = os.pidfd_open(pid)
            children[descriptor] = (pid, status)
            poll.register(descriptor, select.POLLIN)


def _become(message: bytes, streams: list[int], status: int) -> list[str]:
    """Take on what a command was given."""
    command, env, cwd = json.loads(message)
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.write(status, b"%d\n" % os.getpid())
    # Of those that were forked before, too.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.orig_argv[:] = command
    first, *rest = command[1:]
    if first == "-W":
        _show_warnings(rest.pop(0))
        first = rest.pop(0)
    else:
        _show_warnings(env.get("PYTHONWARNINGS", ""))
    folder = {"-m": cwd, "-c": ""}.get(first, str(Path(cwd, first).parent))
    sys.path[:0] = [folder, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    return [first, *rest]


def _show_warnings(how: str) -> None:
    if how == "default":
        return
    assert how in {"", "error"}, how
    warnings.filters.remove(SHOWN)  # type: ignore[attr-defined] # a list
    # All others are below these of the interpreter's own.
    sys.warnoptions[:] = [how] * bool(how)
    if how:
        warnings.simplefilter(how)  # type: ignore[arg-type] # one of its words
    else:
        warnings._filters_mutated()  # type: ignore[attr-defined] # as each public function calls


def _run(command: list[str]) -> None:
    import runpy

    match command:
        case ["-m", module, *_]:
            sys.argv[:] = command[1:]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv[:] = ["-c", *rest]
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(code, vars(main))
        case [script, *_]:
            sys.argv[:] = command
            runpy.run_path(str(Path(script).absolute()), run_name="__main__")


def _main() -> list[str]:
    import gc
    import importlib

    # This folder: a command has its own first.
    del sys.path[0]
    for name in PRELOADED:
        importlib.import_module(name)
    # Forked children share this memory for as long as nobody writes to it, and the collector does.
    gc.collect()
    gc.freeze()
    return _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    _run(_main())
