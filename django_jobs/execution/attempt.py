"""The life of a run's attempt, step by step, whatever executes it.

1. Claimed: by a worker (`worker.claim_loop`), by a Celery message, or by an inline worker.
2. `Attempt.begin`: its clock starts, and with it its limit of time; `run_started` is sent.
3. `Attempt.execute`, on a thread of the process, in a child process or by an executor, takes the steps
   that end in an outcome: check expiry, resolve, call (within its limit: `watchdog`), make an outcome of
   the result, or of the error, which includes whether it is tried again (`outcomes`). An `async def`
   function is called on an event loop, and goes on from there.
4. `recording.record`: the outcome is written, if the run is still in this attempt and this worker's.
5. `recording.report`: it is counted, and `run_finished`, `run_retried` or `run_refused` is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, TypeAlias

from django.utils import timezone

from django_jobs import codec, describe, signals
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import BadPayload, RunInterrupted
from django_jobs.execution import adapters, context, instrumentation, loops, outcomes
from django_jobs.execution.stopping import Stoppable
from django_jobs.registry import functions
from django_jobs.storage import connections
from django_jobs.storage.records import ClaimedRun, Key, Outcome

# What is awaited for an `async def` function.
Awaitable: TypeAlias = Callable[[], Coroutine[Any, Any, Outcome]]
# What executing an attempt came to on its thread.
Begun: TypeAlias = Outcome | Awaitable


class Attempt(Stoppable):
    """One attempt of one run, from its claim to its outcome.

    Args:
        run: As claimed.
        report_progress: Called when the function set its progress.
        is_inline: It is executed on its caller's thread, whose connections and transactions it leaves
            alone; what it raises is kept in `raised`.

    Attributes:
        key: Tells it from all other attempts.
        claimed_at: Monotonic time since when it waits for a thread.
        started_at: When its function may have been called; None before.
        began: The same, as monotonic time.
        raised: What its function raised, where that is kept.
    """

    def __init__(
        self,
        run: ClaimedRun,
        *,
        report_progress: Callable[[Attempt], None] | None = None,
        is_inline: bool = False,
    ) -> None:
        self.run = run
        self.key: Key = run.key
        self._report_progress = report_progress
        super().__init__(
            context.RunContext(
                job_id=run.job_id,
                run_id=run.id,
                attempt=run.attempt,
                queue_name=run.queue_name,
                max_log_bytes=jobs_settings().MAX_LOG_BYTES,
                report=(lambda: report_progress(self)) if report_progress else None,
            )
        )
        self.claimed_at = time.monotonic()
        self.started_at: datetime | None = None
        self.began = 0.0
        self.keeps_raised = self._is_inline = is_inline
        self.raised: BaseException | None = None
        # What ends the observation under way; see `instrumentation`.
        self._ends: list[instrumentation.End] | None = None

    # Begin

    def begin(self) -> None:
        """Start the clock, and send `run_started`."""
        self.start_clock()
        signals.emit(signals.run_started, run=self.run)

    def start_clock(self) -> None:
        """Note that the attempt starts now; its limit of time counts from here."""
        self.started_at = datetime.now(UTC)
        self.began = time.monotonic()
        timeout = self.run.options.get("timeout")
        if timeout is not None:
            self.deadline = self.began + timeout

    def stop_clock(self) -> None:
        """Note that the attempt waits once more, until `start_clock`."""
        self.started_at = self.deadline = None
        self.claimed_at = time.monotonic()

    # Execute

    def execute(self) -> Begun:
        """Take the steps up to the outcome on this thread; `begin` came before.

        Returns:
            The outcome; or, for an `async def` function, what to await for it on an event loop.
        """
        begun = self._execute()
        if instrumentation.installed:
            if isinstance(begun, Outcome):
                self.observed(begun)
            elif self._ends is not None:
                instrumentation.end(self._ends, None, None)
        return begun

    def execute_to_end(self) -> Outcome:
        """Take the steps up to the outcome, on this thread and, if need be, on an event loop of its own."""
        begun = self.execute()
        if isinstance(begun, Outcome):
            return begun
        return loops.run_to_end(begun)

    def _execute(self) -> Begun:
        try:
            expired = outcomes.of_expiry(self)
            if expired is not None:
                return expired
            function, args, kwargs = self._resolve()
            call = partial(function, *args, **kwargs)
            if inspect.iscoroutinefunction(function):
                return partial(self._execute_async, call)
            result = self._call(call)
            left_open = [] if self._is_inline else connections.end_transactions()
            if inspect.iscoroutine(result):
                # A wrapper that is not `async def` itself around a function that is.
                return partial(self._execute_async, lambda: result)
            outcome = outcomes.of_result(self, result)
            return outcomes.of_open_transaction(self, outcome, left_open) if left_open else outcome
        except BadPayload as error:
            return outcomes.of_bad_payload(self, error)
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            if describe.is_a(error, RunInterrupted) and not self._is_inline:
                # It may have been in the middle of a driver's conversation with its database.
                connections.give_back()
            elif not self._is_inline:
                connections.end_transactions()
            return outcomes.of_error(self, error)

    def _resolve(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Verify the run, and return the function to call and its arguments."""
        run = self.run
        codec.verify(run.func, run.payload, run.signature)
        function = functions.resolve(run.func)
        args, kwargs = codec.load_arguments(run.payload)
        adapter = adapters.adapter_of(run) if run.options else None
        if adapter is not None:
            function = adapter(run, self.started_at or timezone.now())
        return function, args, kwargs

    def _call(self, function: Callable[[], Any]) -> Any:
        context.enter(self.context)
        pid = os.getpid()
        try:
            if instrumentation.installed:
                self._ends = instrumentation.begin(self.run)
            result = self._interruptible.call(function)
        except BaseException as error:
            if os.getpid() != pid:
                _end_fork(error)
            raise
        finally:
            context.leave()
        if os.getpid() != pid:
            _end_fork(None)
        return result

    async def _execute_async(self, function: Callable[[], Any]) -> Outcome:
        self._enter_task()
        context.enter(self.context)
        if instrumentation.installed:
            self._ends = instrumentation.begin(self.run)
        pid = os.getpid()
        try:
            outcome = outcomes.of_result(self, await self._await(function))
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            if os.getpid() != pid:
                _end_fork(error)
            outcome = outcomes.of_error(self, error)
        finally:
            if os.getpid() != pid:
                _end_fork(None)
            self._leave_task()
        if instrumentation.installed:
            self.observed(outcome)
        return outcome

    async def _await(self, function: Callable[[], Any]) -> Any:
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

    # What is noted meanwhile

    def observed(self, outcome: Outcome) -> None:
        """Tell observers what the attempt came to."""
        if self._ends is None:
            # Its function was not called: it cannot be found, or its time was over.
            self._ends = instrumentation.begin(self.run)
        instrumentation.end(self._ends, outcome, self.raised)
        if not self.keeps_raised:
            # A traceback has the frames, and these have this.
            self.raised = None

    def take_progress(self, progress: dict[str, Any]) -> None:
        """Note how far the function has come that another process executes."""
        self.context.progress = progress
        if self._report_progress is not None:
            self._report_progress(self)


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a copy of this process that a function forked and let return: the run is the original's.

    Its threads are not here, and its locks may be held by them: it can do nothing but end.
    """
    code = 0 if error is None else 1
    if error is not None and describe.is_a(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        with contextlib.suppress(Exception):
            sys.stderr.write(describe.formatted(error))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)
