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

import inspect
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from django.db import connections as django_connections

from django_jobs import signals
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import RunInterrupted
from django_jobs.execution import (
    completion,
    context,
    instrumentation,
    log_capture,
    loops,
    outages,
    outcomes,
    resolving,
)
from django_jobs.execution.forks import end_fork
from django_jobs.execution.interruption import Interruptible
from django_jobs.execution.stopping import Stoppable
from django_jobs.models import jobs_database
from django_jobs.registry import atomicity
from django_jobs.registry.log_lines import level_number
from django_jobs.storage import connections, forks
from django_jobs.storage.batch_locks import MARK as BATCH
from django_jobs.storage.records import MISSED_SINCE, ClaimedRun, Key, Outcome
from django_jobs.texts import describe

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django_jobs.execution.steps.memory import Memory

T = TypeVar("T")

# What is awaited for an `async def` function.
Awaitable: TypeAlias = Callable[[], Coroutine[Any, Any, Outcome]]
# What executing an attempt came to on its thread.
Begun: TypeAlias = Outcome | Awaitable


class Attempt(Stoppable):
    """One attempt of one run, from its claim to its outcome.

    Args:
        run: As claimed.
        report_progress: Called when the function set its progress.
        on_lines: Called when its log has lines that nobody has taken yet.
        is_inline: It is executed on its caller's thread, whose connections and transactions it leaves
            alone; what it raises is kept in `raised`.

    Attributes:
        key: Tells it from all other attempts.
        claimed_at: Monotonic time since when it waits for a thread.
        started_at: When its function may have been called; None before.
        began: The same, as monotonic time.
        raised: What its function raised, where that is kept.
        recorded: The outcome that its function's own transaction has written; None before, and without one.
    """

    # What few attempts change is the class's.
    raised: BaseException | None = None
    recorded: Outcome | None = None
    memory: Memory | None = None
    # The step that the run waits for once it has left its thread.
    leaves_for: int | None = None
    # Whether the run has kept anything in this attempt.
    has_kept = False
    # What ends the observation under way; see `instrumentation`.
    _ends: list[instrumentation.End] | None = None

    def __init__(
        self,
        run: ClaimedRun,
        *,
        report_progress: Callable[[Attempt], None] | None = None,
        on_lines: Callable[[], None] | None = None,
        is_inline: bool = False,
    ) -> None:
        self.run = run
        self.key: Key = run.key
        self._report_progress = report_progress
        super().__init__(_context_of(run, on_lines))
        self.claimed_at = time.monotonic()
        self.started_at: datetime | None = None
        self.began = 0.0
        self.keeps_raised = self._is_inline = is_inline
        # Transactions of the caller's that an inline run is executed in.
        self._outer_blocks = _open_blocks() if is_inline else 0

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
            self._observed_here(begun)
        return begun

    def execute_to_end(self) -> Outcome:
        """Take the steps up to the outcome, on this thread and, if need be, on an event loop of its own."""
        begun = self.execute()
        return begun if isinstance(begun, Outcome) else loops.run_to_end(begun)

    def _execute(self) -> Begun:
        try:
            options = self.run.options
            if options and (expired := outcomes.of_expiry(self)) is not None:
                return expired
            call, is_async = resolving.resolve(self)
            is_atomic = options and options.get("atomic")
            if is_async:
                if is_atomic:
                    atomicity.check_function(call.func)
                return partial(self._execute_async, call)
            if is_atomic:
                result = completion.in_one_commit(self, partial(self._call, call))
            else:
                result = self._call(call)
            left_open = [] if self._is_inline else connections.end_transactions()
            if is_atomic:
                return result
            if result is not None and inspect.iscoroutine(result):
                # A wrapper that is not `async def` itself around a function that is.
                return partial(self._execute_async, lambda: result)
            if self.recorded is not None:
                return self.recorded
            outcome = self._of_result(result)
            return outcomes.of_open_transaction(self, outcome, left_open) if left_open else outcome
        except resolving.Unknown as unknown:
            return outcomes.of_unknown(self, unknown.what, unknown.error)
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            if describe.is_a(error, RunInterrupted) and not self._is_inline:
                # It may have been in the middle of a driver's conversation with its database.
                connections.give_back()
            elif not self._is_inline:
                connections.end_transactions()
            return self._of_error(error)

    def _of_result(self, result: object) -> Outcome:
        if self.leaves_for is not None:
            self.context.log("the function returned although it was to leave its thread: it begins again")
            return outcomes.of_leave(self)
        if self.memory is not None and not self.context.must_stop:
            self.memory.report_unasked()
        return outcomes.of_result(self, result)

    def _of_error(self, error: BaseException) -> Outcome:
        if self.recorded is not None:
            completion.report_after(self.run, error)
            return self.recorded
        return outcomes.of_raised(self, error)

    def outlast(self, read: Callable[[], T]) -> T:
        """Return what is read before the function is called, when the database answers."""
        # An inline run is in its caller's transaction, which does not outlive a lost connection.
        return read() if self._is_inline else outages.outlast(read, must_stop=lambda: self.context.must_stop)

    def _call(self, function: Callable[[], Any]) -> Any:
        self._enter()
        generation = forks.generation
        try:
            if instrumentation.installed:
                self._ends = instrumentation.begin(self.run)
            while True:
                try:
                    result = self._interruptible.call(function)
                    break
                except Exception as error:  # its loop keeps what the function raises, or it is raised again
                    if self.memory is None or forks.generation != generation or not self.memory.absorb(error):
                        raise
                    # A loop goes on after the row that raised.
                    self._interruptible = Interruptible()
        except BaseException as error:
            if forks.generation != generation:
                end_fork(error)
            raise
        finally:
            # Or the two would keep each other from being freed.
            self.context.under_way = None
            context.current.set(None)
        if forks.generation != generation:
            end_fork(None)
        return result

    def _enter(self) -> None:
        context.current.set(self.context)
        self.context.under_way = self
        if self.context.capture_level is not None:
            log_capture.install()

    async def _execute_async(self, function: Callable[[], Any]) -> Outcome:
        self._enter_task()
        self._enter()
        if instrumentation.installed:
            self._ends = instrumentation.begin(self.run)
        generation = forks.generation
        try:
            result = await self._await(function)
            outcome = self.recorded or self._of_result(result)
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            if forks.generation != generation:
                end_fork(error)
            outcome = self._of_error(error)
        finally:
            if forks.generation != generation:
                end_fork(None)
            self.context.under_way = None
            self._leave_task()
        if instrumentation.installed:
            self._observed_here(outcome)
        return outcome

    # What its function does with its run: see `context`

    def complete(self, using: str | None) -> completion.Completion:
        """Return what ends the run with a block of its function."""
        return completion.complete(self, using)

    def is_in_transaction(self, using: str) -> bool:
        """Return whether the function is in a transaction that it has opened by itself."""
        return _open_blocks(using) > self._outer_blocks

    def shielded(self) -> AbstractContextManager[None]:
        """Keep interruptions out of a block."""
        return self._interruptible.shielded()

    def note_kept(self) -> None:
        """Note that the run has kept something: it has come further than it was."""
        is_first, self.has_kept = not self.has_kept, True
        if is_first:
            # A parent process knows it by that.
            self.report_progress()

    def report_progress(self) -> None:
        """Tell whoever wants to know that the function set its progress."""
        if self._report_progress is not None:
            self._report_progress(self)

    # What is noted meanwhile

    def _observed_here(self, begun: Begun) -> None:
        # What this process does not know another one may execute; an inline worker is alone.
        if isinstance(begun, Outcome) and (self._is_inline or not begun.unknown):
            self.observed(begun)
        elif self._ends is not None:
            instrumentation.end(self._ends, None, None)
            self._ends = None

    def observed(self, outcome: Outcome) -> None:
        """Tell observers what the attempt came to."""
        if self._ends is None:
            # Its function was not called: it cannot be found, or its time was over.
            self._ends = instrumentation.begin(self.run)
        instrumentation.end(self._ends, outcome, self.raised)
        if not self.keeps_raised:
            # A traceback has the frames, and these have this.
            self.raised = None

    def take_lines(self, lines: Sequence[str], level: int) -> None:
        """Note what the function said that another process executes."""
        self.context.lines.add_lines(lines, level)

    def take_progress(self, progress: dict[str, Any]) -> None:
        """Note how far the function has come that another process executes."""
        self.context.progress = progress
        self.report_progress()


def _context_of(run: ClaimedRun, on_lines: Callable[[], None] | None) -> context.RunContext:
    settings, options = jobs_settings(), run.options
    capture_level = options.get("log_level") or settings.LOG_LEVEL
    return context.RunContext(
        job_id=run.job_id,
        run_id=run.id,
        attempt=run.attempt,
        queue_name=run.queue_name,
        scheduled_at=run.scheduled_at,
        missed_since=options.get(MISSED_SINCE),
        max_log_bytes=settings.MAX_LOG_BYTES,
        capture_level=None if capture_level is None else level_number(capture_level),
        on_lines=on_lines,
        batch_id=options.get(BATCH),
    )


def _open_blocks(using: str | None = None) -> int:
    connection = django_connections[using or jobs_database()]
    return len(connection.atomic_blocks) if connection.in_atomic_block else 0
