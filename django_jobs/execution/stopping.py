"""How something under way is told to end, and ended if it does not: its context, task, thread or process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from django_jobs.execution.interruption import Interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_jobs.execution.context import RunContext

# A function that asks `current_run()` whether it should end gets this long to do so.
GRACE_SECONDS = 5.0
# One that caught what ended it gets this long to tidy up, then half of it, until this is left.
LEAST_AGAIN_SECONDS = 0.1

# Of all attempts: each holds it for an assignment.
_task_lock = threading.Lock()


class Remote(Protocol):
    """Another process that executes a run."""

    def stop(self, reason: str) -> None:
        """Tell the run to end."""

    def kill(self) -> None:
        """End the process."""


class Stoppable:
    """A function call that can be told to end and be ended, on a thread, an event loop or elsewhere.

    Args:
        context: What the function asks.

    Attributes:
        deadline: Monotonic time at which the attempt is out of time; None before it starts or without limit.
        interrupt_at: Monotonic time at which a function that was told to end is interrupted, once more if it
            went on.
        is_interrupted: It ended because its worker stops: the run is handed back, and no outcome written.
        remote: What executes it in another process, if one does.
    """

    deadline: float | None = None
    interrupt_at: float | None = None
    is_interrupted = False
    remote: Remote | None = None
    _task: asyncio.Task[Any] | None = None
    # Its task was cancelled, by us.
    _was_cancelled = False
    _again_seconds = 2 * GRACE_SECONDS

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._interruptible = Interruptible()

    @property
    def was_interrupted(self) -> bool:
        """Whether the function was ended with an exception; where it returned, it caught that."""
        return self._was_cancelled or self._interruptible.was_interrupted

    @property
    def is_awaited(self) -> bool:
        """Whether the function is awaited, on an event loop."""
        return self._task is not None

    def stop(self, reason: str) -> None:
        """Tell the function to end: through its context, and by cancelling its task if it has one.

        A plain function that is cancelled or out of time is also due to be interrupted: immediately, or
        after `GRACE_SECONDS` if it listens.

        Args:
            reason: "cancelled", "timeout", "shutdown" or "lost".
        """
        self.context.stop(reason)
        with _task_lock:
            task = self._task
        remote = self.remote
        if remote is not None:
            remote.stop(reason)
        # Its own limit of time ends it; a second cancel would end its tidying up.
        if task is not None and reason != "timeout":
            # A loop that was closed meanwhile has ended the task.
            with contextlib.suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(self._cancel)
        if reason in {"cancelled", "timeout"} and self.interrupt_at is None:
            has_time = self.context.is_listening or remote is not None or task is not None
            grace = GRACE_SECONDS if has_time else 0.0
            self.interrupt_at = time.monotonic() + grace

    def interrupt(self) -> None:
        """End a function with an exception, or its process, if it is still under way."""
        self._again_seconds = max(self._again_seconds / 2, LEAST_AGAIN_SECONDS)
        self.interrupt_at = time.monotonic() + self._again_seconds
        with _task_lock:
            task = self._task
        if self.remote is not None:
            self.remote.kill()
        elif task is not None:
            with contextlib.suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(self._cancel)
        else:
            self._interruptible.interrupt()

    def _enter_task(self) -> None:
        with _task_lock:
            self._task = asyncio.current_task()

    def _leave_task(self) -> None:
        with _task_lock:
            self._task = None

    async def _await(self, function: Callable[[], Any]) -> Any:
        # Within its limit of time.
        remaining = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        limit = asyncio.timeout(remaining)
        try:
            async with limit:
                if self.context.must_stop:
                    raise asyncio.CancelledError  # stopped before its first step
                return await function()
        finally:
            if limit.expired():
                self.context.stop("timeout")
                self._was_cancelled = True

    def _cancel(self) -> None:
        # On the loop: while the function is awaited, and not when its result is on the way.
        if self._task is not None:
            self._was_cancelled = True
            self._task.cancel()
