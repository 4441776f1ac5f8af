"""What `runjobs` does as Django begins to start: it can be stopped from then on, and is no process 1.

A process without handlers dies of SIGTERM in the middle of its imports; as process 1 of a container it does
not even hear it. And all processes that jobs leave behind become children of process 1, which must wait for
them when they end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from django_jobs.worker import autostart

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

logger = logging.getLogger(__name__)

# What an operator or a container's host sends to process 1, meant for the work.
_PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")


def take(argv: list[str]) -> None:
    """Prepare a process that is about to execute `runjobs`; others are left as they are.

    Args:
        argv: Its command line.
    """
    is_ours = argv[1:2] == ["runjobs"] or argv[1:3] == ["jobs", "work"]
    if not is_ours or threading.current_thread() is not threading.main_thread() or not autostart.is_command():
        return
    if os.name == "posix" and os.getpid() == 1:
        leave_first_place()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    """End before anything was begun, as in order: nothing was claimed."""
    # Not by an exception, which some import may catch.
    with contextlib.suppress(OSError):
        os.write(2, b"runjobs: stopped before it began.\n")
    os._exit(0)


def leave_first_place(leave: Callable[[int], object] = os._exit) -> None:
    """Go on in a child, while this process does what process 1 must.

    Args:
        leave: Called with the exit code when the child has ended.
    """
    if threading.active_count() > 1:
        # They would not be in the child. What started them, before Django, may need them.
        logger.warning(
            "process 1 has other threads already, so processes that jobs leave stay as zombies: start the container "
            "with an init (docker run --init)"
        )
        return
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        leave(_wait_for_all(child))


def _wait_for_all(child: int) -> int:
    """Pass signals on and bury whatever ends, until the child does; return its exit code."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for name in _PASSED_ON:
        signal.signal(getattr(signal, name), pass_on)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
