"""The end of a process that executed jobs, whatever threads they left in it.

Python waits at its end for all threads that are no daemons, and for those of `to_thread`, `sync_to_async` and
executors. A function that was handed back would go on there, beside the worker that has it now.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from django_jobs.execution import instrumentation
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# That threads may take to end by themselves, where nothing was handed back.
LEFT_SECONDS = 5.0
FLUSH_SECONDS = 2.0


def end_process(*, has_finished: bool, code: int = 0, leave: Callable[[int], object] = os._exit) -> None:
    """See to it that this process ends: now where a function may go on, else in some seconds at the latest.

    Args:
        has_finished: All that ran here had ended.
        code: To exit with.
        leave: Called to exit without waiting for anything.
    """
    if not has_finished:
        _leave(code, leave)
        return
    threading.Thread(target=_watch, args=(code, leave), name="django_jobs-end", daemon=True).start()


def end_at_latest(seconds: float, *, leave: Callable[[int], object] = os._exit) -> threading.Event:
    """Have this process end with 1 after some seconds, unless the returned event is set: a step of its stop may hang.

    Args:
        seconds: From now.
        leave: Called to exit without waiting for anything.
    """
    is_over = threading.Event()

    def watch() -> None:
        if not is_over.wait(seconds):
            logger.error("Exiting now: stopping in order took more than %g s", seconds)
            _leave(1, leave)

    threading.Thread(target=watch, name="django_jobs-end", daemon=True).start()
    return is_over


def _watch(code: int, leave: Callable[[int], object]) -> None:
    # Daemons go on while Python waits for the others.
    time.sleep(LEFT_SECONDS)
    names = [thread.name for thread in threading.enumerate() if _is_waited_for(thread)]
    logger.warning(
        "Exiting without waiting for threads that jobs left: %s", printable(", ".join(names) or "unknown")
    )
    _leave(code, leave)


def _is_waited_for(thread: threading.Thread) -> bool:
    return not thread.daemon and thread is not threading.main_thread()


def _leave(code: int, leave: Callable[[int], object]) -> None:
    instrumentation.flush(FLUSH_SECONDS)
    for flush in (logging.shutdown, sys.stdout.flush, sys.stderr.flush):
        with contextlib.suppress(Exception):
            flush()
    leave(code)
