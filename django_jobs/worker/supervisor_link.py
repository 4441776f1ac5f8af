"""The socket between a worker process and its supervisor, both sides of it.

The worker process sends one line when it serves. The supervisor sends nothing: its end of the socket
closes when the worker is to stop, and also when the supervisor dies, however it does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SERVES = b"serves\n"
OPTION = "--supervised"


class WorkerProcess:
    """The supervisor's side: a process that was started, with when and why.

    Args:
        number: Which of the supervisor's workers it is, from 1.
        command: What to start; the number and a file descriptor are added.
        on_serving: Called when it serves, on a thread of its own.
        on_ended: Called when it has ended, on a thread of its own.

    Raises:
        OSError: It could not be started.
    """

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        *,
        on_serving: Callable[[WorkerProcess], object],
        on_ended: Callable[[WorkerProcess], object],
    ) -> None:
        self.number = number
        self.serves = False
        self.started_at = time.monotonic()
        # Why it is to be replaced; empty while it is not.
        self.stale = ""
        # Monotonic: when one that was told to stop is killed.
        self.kill_at: float | None = None
        self._ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    [*command, OPTION, str(number), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C in a terminal reaches the supervisor alone.
                    process_group=0,
                )
            except BaseException:
                self._ours.close()
                raise
        self.pid = self._process.pid
        for target, args in ((self._hear, (on_serving,)), (self._bury, (on_ended,))):
            threading.Thread(
                target=target, args=args, name=f"django_jobs-supervisor-{number}", daemon=True
            ).start()

    def _hear(self, on_serving: Callable[[WorkerProcess], object]) -> None:
        with contextlib.suppress(OSError):
            if self._ours.recv(len(SERVES)) == SERVES:
                on_serving(self)

    def _bury(self, on_ended: Callable[[WorkerProcess], object]) -> None:
        self._process.wait()
        on_ended(self)

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid})"

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started_at

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def code(self) -> int:
        """The exit code of a process that has ended; negative for a signal."""
        return self._process.wait()

    def stop(self, within: float) -> None:
        """Let it finish what it runs, and end; it is killed if that takes longer than some seconds."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + within
            # A socket that the other side has closed cannot be shut down.
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def close(self) -> None:
        """Let go of one that has ended."""
        # Something that it started may hold the other end.
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._ours.close()

    def memory(self) -> int | None:
        """Return its resident memory in bytes, without that of processes it started; None if unknown."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return memory_as_ps_says(self.pid)
        return pages * os.sysconf("SC_PAGE_SIZE")


def memory_as_ps_says(pid: int) -> int | None:
    """Return a process's resident memory in bytes where there is no /proc to read; None if unknown."""
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603 - a number
        return int(said.stdout) * 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def own_command() -> list[str]:
    """Return the command line that started this process, to be started once more."""
    # Not sys.argv: options of Python's own are before the script, and -m is not in it.
    return [sys.executable, *sys.orig_argv[1:]]


class SupervisorLink:
    """The worker process's side.

    Args:
        descriptor: Of the socket, as the command line has it.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)

    def watch(self, on_end: Callable[[], object]) -> None:
        """Call a function, on a thread of its own, when the supervisor wants this process to stop, or is gone."""
        threading.Thread(
            target=self._watch, args=(on_end,), name="django_jobs-supervisor-link", daemon=True
        ).start()

    def _watch(self, on_end: Callable[[], object]) -> None:
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        on_end()

    def say_serving(self) -> None:
        """Say that this process serves."""
        # A supervisor that is gone is noticed by `watch`.
        with contextlib.suppress(OSError):
            self._socket.send(SERVES, socket.MSG_DONTWAIT)
