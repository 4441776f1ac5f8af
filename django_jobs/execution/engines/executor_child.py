"""Execute one run in a process that nobody talks to meanwhile: it looks after its run itself."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.execution.runner import Execution
from django_jobs.models import Run, jobs_database
from django_jobs.storage import connections, outcomes
from django_jobs.storage.records import ClaimedRun, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

# As often as a worker's maintenance does.
PROGRESS_SECONDS = 0.5
CANCEL_SECONDS = 1.0


def execute_alone(run: str) -> str:
    """Execute a run that was claimed for the worker of another process; return its outcome as JSON."""
    execution = Execution(ClaimedRun(**json.loads(run)))
    execution.start_clock()
    attendant = _Attendant(execution)
    connections.tidy()
    try:
        outcome = execution.begin()
        if not isinstance(outcome, Outcome):
            with asyncio.Runner() as runner:
                outcome = runner.run(attendant.on_loop(outcome, runner.get_loop()))
    finally:
        attendant.leave()
        connections.end_transactions()
        connections.give_back()
    return json.dumps({**asdict(outcome), "is_interrupted": execution.is_interrupted}, default=str)


class _Attendant:
    """A thread that stores progress, and tells the run when its time is over or nobody wants it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._using = jobs_database()
        self._is_over = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stored = execution.context.progress
        self._next_look = time.monotonic() + CANCEL_SECONDS
        self._thread = threading.Thread(target=self._serve, name="django_jobs-attendant", daemon=True)
        self._thread.start()

    async def on_loop(self, begin: Callable[[], object], loop: asyncio.AbstractEventLoop) -> Outcome:
        """Await what `begin` returns, on a loop."""
        self._loop = loop
        try:
            return await begin()  # type: ignore[misc,no-any-return]
        finally:
            self._loop = None

    def leave(self) -> None:
        """Attend no longer."""
        self._is_over.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._is_over.wait(self._wait()):
            self._see_to_time()
            try:
                self._see_to_database()
            except (DatabaseError, InterfaceError):
                # Whoever writes the outcome says that it is away.
                connections.give_back()
        connections.give_back()

    def _wait(self) -> float:
        times = (self._execution.deadline, self._execution.interrupt_at)
        now = time.monotonic()
        return max(0.01, min([PROGRESS_SECONDS, *(at - now for at in times if at is not None and at > now)]))

    def _see_to_time(self) -> None:
        execution, now = self._execution, time.monotonic()
        if execution.deadline is not None and now >= execution.deadline and not execution.context.must_stop:
            self._stop("timeout")
        if execution.interrupt_at is not None and now >= execution.interrupt_at:
            execution.interrupt()

    def _see_to_database(self) -> None:
        run, progress = self._execution.run, self._execution.context.progress
        if progress is not self._stored and progress is not None:
            outcomes.set_progress(run, progress, using=self._using)
            self._stored = progress
        if time.monotonic() < self._next_look or self._execution.context.must_stop:
            return
        self._next_look = time.monotonic() + CANCEL_SECONDS
        held = Run.objects.using(self._using).running().filter(pk=run.id, worker_id=run.worker_id)
        is_cancelled = held.filter(attempt=run.attempt).values_list("cancel_requested", flat=True).first()
        if is_cancelled is None:
            self._stop("lost")
        elif is_cancelled:
            self._stop("cancelled")

    def _stop(self, reason: str) -> None:
        self._execution.stop(reason, self._call_soon)

    def _call_soon(self, callback: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(callback)
