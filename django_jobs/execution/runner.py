"""Call one run's function: its context, time limit, result, error, log and progress."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from django.utils import timezone

from django_jobs import codec
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import BadPayload, JobCancelled, RunInterrupted
from django_jobs.execution import adapters, context, instrumentation, tracebacks
from django_jobs.execution.interruption import Interruptible
from django_jobs.models import Status
from django_jobs.registry import functions, retry
from django_jobs.storage import connections
from django_jobs.storage.records import ClaimedRun, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# Of all executions: each holds it for an assignment.
_task_lock = threading.Lock()

CUT_MARK = "\n... cut at {} bytes ...\n"
# A function that asks `current_run()` whether it should end gets this long to do so.
GRACE_SECONDS = 5.0


# What an execution came to; or, for an `async def` function, what to await for it.
Begun: TypeAlias = "Outcome | Callable[[], Coroutine[Any, Any, Outcome]]"


class Remote(Protocol):
    """Another process that executes a run."""

    def stop(self, reason: str) -> None:
        """Tell the run to end."""

    def kill(self) -> None:
        """End the process."""


class Execution:
    """One attempt of one run, from its claim to its outcome.

    Args:
        run: As claimed.
        report_progress: Called when the function set its progress.
    """

    def __init__(
        self, run: ClaimedRun, *, report_progress: Callable[[Execution], None] | None = None
    ) -> None:
        limits = jobs_settings()
        self.run = run
        self._report_progress = report_progress
        self.context = context.RunContext(
            job_id=run.job_id,
            run_id=run.id,
            attempt=run.attempt,
            queue_name=run.queue_name,
            max_log_bytes=limits.MAX_LOG_BYTES,
            report=(lambda: report_progress(self)) if report_progress else None,
        )
        self.claimed_at = time.monotonic()
        self.started_at: datetime | None = None
        # Ended because its worker stops: to be handed back, not written.
        self.is_interrupted = False
        # Monotonic time at which the attempt is out of time; None before it starts or without limit.
        self.deadline: float | None = None
        # Monotonic time at which a plain function that was told to end is interrupted.
        self.interrupt_at: float | None = None
        self._interruptible = Interruptible()
        # Where it is executed, if not in this process.
        self.remote: Remote | None = None
        self._begun = 0.0
        self._task: asyncio.Task[Any] | None = None
        # What ends the observation under way, and what was raised; see `observers`.
        self._ends: list[instrumentation.End] | None = None
        self._raised: BaseException | None = None

    @property
    def is_started(self) -> bool:
        """Whether its function may have been called."""
        return self.started_at is not None

    def start_clock(self) -> None:
        """Note that the attempt starts now; its time limit counts from here."""
        self.started_at = datetime.now(UTC)
        self._begun = time.monotonic()
        timeout = self.run.options.get("timeout")
        if timeout is not None:
            self.deadline = self._begun + timeout

    def stop_clock(self) -> None:
        """Note that the attempt waits once more; `start_clock` begins it anew."""
        self.started_at = self.deadline = None
        self.claimed_at = time.monotonic()

    def begin(self) -> Outcome | Callable[[], Coroutine[Any, Any, Outcome]]:
        """Execute the run on this thread; `start_clock` came before.

        Returns:
            The outcome; or, for an `async def` function, what to await for it on the event loop.
        """
        result = self._begin()
        if instrumentation.installed:
            if isinstance(result, Outcome):
                self._end_observation(result)
            elif self._ends is not None:
                instrumentation.end(self._ends, None, None)
        return result

    def _begin(self) -> Outcome | Callable[[], Coroutine[Any, Any, Outcome]]:
        try:
            expired = self._expired()
            if expired:
                return self._outcome(Status.SKIPPED, error=expired)
            codec.verify(self.run.func, self.run.payload, self.run.signature)
            function = functions.resolve(self.run.func)
            args, kwargs = codec.load_arguments(self.run.payload)
            adapter = adapters.adapter_of(self.run) if self.run.options else None
            if adapter is not None:
                function = adapter(self.run, self.started_at or timezone.now())
            if inspect.iscoroutinefunction(function):
                return lambda: self._await(function, args, kwargs)
            context.enter(self.context)
            try:
                if instrumentation.installed:
                    self._ends = instrumentation.begin(self.run)
                result = self._interruptible.call(lambda: function(*args, **kwargs))
            finally:
                context.leave()
            if inspect.iscoroutine(result):
                # A wrapper that is not `async def` itself around a function that is.
                return lambda: self._await(lambda: result, (), {})
            return self._succeeded(result)
        except BadPayload as error:
            # Not this run's failure: it waits, unchanged, until the key or the row is mended.
            return self._outcome(Status.READY, error=_one_line(error), exception=_class_of(error))
        except RunInterrupted as error:
            self._leave_connections()
            return self._failed(error)
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            return self._failed(error)

    def _leave_connections(self) -> None:
        # It may have been in the middle of a driver's conversation with its database.
        connections.give_back()

    def _end_observation(self, outcome: Outcome) -> None:
        if self._ends is None:
            # Its function was not called: it cannot be found, or its time was over.
            self._ends = instrumentation.begin(self.run)
        instrumentation.end(self._ends, outcome, self._raised)
        # A traceback has the frames, and these have this.
        self._raised = None

    async def _await(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Outcome:
        with _task_lock:
            self._task = asyncio.current_task()
        context.enter(self.context)
        if not instrumentation.installed:
            return await self._call(function, args, kwargs)
        self._ends = instrumentation.begin(self.run)
        outcome = await self._call(function, args, kwargs)
        self._end_observation(outcome)
        return outcome

    async def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Outcome:
        try:
            remaining = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
            async with asyncio.timeout(remaining) as limit:
                if self.context.must_stop:
                    raise asyncio.CancelledError  # noqa: TRY301 - stopped before its first step
                result = await function(*args, **kwargs)
            return self._succeeded(result)
        except TimeoutError as error:
            if limit.expired():
                self.context.stop("timeout")
            return self._failed(error)
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            return self._failed(error)
        finally:
            with _task_lock:
                self._task = None

    def stop(self, reason: str, call_soon: Callable[[Callable[[], object]], None] | None = None) -> None:
        """Tell the function to end: through its context, and by cancelling its task if it has one.

        A plain function that is cancelled or out of time is also due to be interrupted: at once, or
        after `GRACE_SECONDS` if it listens.

        Args:
            reason: "cancelled", "timeout", "shutdown" or "lost".
            call_soon: Calls something on the event loop's thread.
        """
        self.context.stop(reason)
        with _task_lock:
            task = self._task
        remote = self.remote
        if remote is not None:
            remote.stop(reason)
        if task is not None:
            # A limit of time ends it by itself; a second cancel would end its tidying up.
            if call_soon is not None and reason != "timeout":
                call_soon(self._cancel)
        elif reason in {"cancelled", "timeout"} and self.interrupt_at is None:
            grace = GRACE_SECONDS if self.context.is_listening or remote is not None else 0.0
            self.interrupt_at = time.monotonic() + grace

    def _cancel(self) -> None:
        # On the loop: while the function is awaited, and not when its result is on the way.
        if self._task is not None:
            self._task.cancel()

    def interrupt(self) -> None:
        """End a plain function with an exception, or its process, if it is still under way."""
        if self.remote is not None:
            self.remote.kill()
        else:
            self._interruptible.interrupt()

    def take_progress(self, progress: dict[str, Any]) -> None:
        """Note how far the function has come that is executed elsewhere."""
        self.context.progress = progress
        if self._report_progress is not None:
            self._report_progress(self)

    def failed(self, error: BaseException) -> Outcome:
        """Return the outcome of a run that something else than its function went wrong with."""
        return self._failed(error)

    def killed(self, error: str) -> Outcome | None:
        """Return the outcome of a run whose process has ended; None when nobody wanted it to."""
        if not self.context.must_stop:
            return None
        outcome = self._stopped(f"ProcessDied: {error}", "")
        if instrumentation.installed and not self.is_interrupted:
            # What observed it there ended with the process.
            if self.context.stop_reason == "timeout":
                self._raised = TimeoutError(outcome.error)
            self._end_observation(outcome)
        return outcome

    def cut_off(self, error: str) -> Outcome:
        """Return the outcome of a run that does not end before its worker does, and is given up."""
        return self._outcome(Status.FAILED, error=error)

    def _expired(self) -> str:
        if not self.run.options:
            return ""
        expires_at = self.run.options.get("expires_at")
        if expires_at is None or self.started_at is None or self.started_at.timestamp() < expires_at:
            return ""
        if self._was_begun(expires_at - self.run.options.get("expires", 0)):
            return ""
        late = timedelta(seconds=round(self.started_at.timestamp() - expires_at))
        return f"Expired: not begun in time, {late} too late"

    def _was_begun(self, since: float) -> bool:
        """Return whether an attempt began since a time, as seconds since the epoch."""
        # Not whether there was one: who retries a run by hand has its time counted anew.
        times = (entry.get("started_at") for entry in self.run.errors)
        return any(datetime.fromisoformat(at).timestamp() >= since for at in times if at)

    def _succeeded(self, result: object) -> Outcome:
        try:
            text = None if result is None else _stored(result)
        except Exception as error:  # noqa: BLE001 - what a function returns may raise anything when it is looked at
            # The function has done its work: to call it again would do that twice, and mend nothing.
            return self._failed(error, is_final=True)
        if self.context.was_told:
            # It heard that it should end, and ended: its work is not what was asked for.
            return self._stopped(f"stopped when told ({self.context.stop_reason})", "", result=text)
        return self._outcome(Status.SUCCESSFUL, result=text)

    def _stopped(self, error: str, trace: str, *, result: str | None = None) -> Outcome:
        match self.context.stop_reason:
            case "cancelled":
                cancelled = f"{JobCancelled.__module__}.{JobCancelled.__qualname__}"
                return self._outcome(
                    Status.CANCELLED, error=error, traceback=trace, exception=cancelled, result=result
                )
            case "timeout":
                limit = self.run.options.get("timeout")
                text = f"RunTimeout: longer than its limit of {limit:g} s"
                return self._retried(TimeoutError(text), text, trace)
            case _:
                # Shut down or lost: the worker hands it back, or it is not ours to write.
                self.is_interrupted = True
                return self._outcome(Status.READY, error=error, traceback=trace)

    def _failed(self, error: BaseException, *, is_final: bool = False) -> Outcome:
        if instrumentation.installed:
            self._raised = error
        text = _one_line(error)
        trace = _cut(tracebacks.formatted(error), jobs_settings().MAX_ERROR_BYTES)
        if self.context.was_told if is_final else self.context.must_stop:
            return self._stopped(text, trace)
        if is_final:
            return self._outcome(Status.FAILED, error=text, traceback=trace, exception=_class_of(error))
        return self._retried(error, text, trace)

    def _retried(self, error: BaseException, text: str, trace: str) -> Outcome:
        stored = self.run.options.get("retry")
        # Attempts that ended with their worker are bounded by MAX_RESCUES, not by the policy.
        tried = self.run.attempt - self.run.rescues
        try:
            policy = None if stored is None else retry.from_json(stored)
            delay = retry.decide(policy, tried, error, random=random.random)
        except Exception as mistake:  # noqa: BLE001 - a row that another version or another hand has written
            delay = None
            text = f"{text} (and not tried again, for its retry policy cannot be read: {_one_line(mistake)})"
        status = Status.FAILED if delay is None else Status.READY
        return self._outcome(status, error=text, traceback=trace, exception=_class_of(error), retry_in=delay)

    def _outcome(self, status: str, **values: Any) -> Outcome:
        started_at = self.started_at or timezone.now()
        # From the monotonic clock: the host's may be set while the function runs.
        finished_at = started_at + timedelta(seconds=time.monotonic() - self._begun)
        return Outcome(
            getattr(status, "value", status),
            started_at,
            finished_at,
            log=self.context.log_text,
            progress=self.context.progress,
            **values,
        )


def _stored(result: object) -> str:
    text = codec.dumps(result, path="the result")
    limit = jobs_settings().MAX_RESULT_BYTES
    if len(text) * 4 > limit and len(text.encode()) > limit:
        raise ValueError(
            f"the result has {len(text.encode())} bytes as JSON, more than MAX_RESULT_BYTES ({limit}): "
            "store it elsewhere and return where"
        )
    return text


def _class_of(error: BaseException) -> str:
    return codec.storable(f"{type(error).__module__}.{type(error).__qualname__}")


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception as mistake:  # noqa: BLE001 - an exception class of the project's may fail to describe itself
        text = f"its text cannot be had: {type(mistake).__qualname__}"
    name = type(error).__qualname__
    return codec.storable((f"{name}: {text}" if text else name)[:1000])


def _cut(text: str, limit: int) -> str:
    raw = codec.storable(text).encode()
    if len(raw) <= limit:
        return raw.decode()
    # The beginning says what was called, the end what was raised.
    half = limit // 2
    return raw[:half].decode(errors="ignore") + CUT_MARK.format(limit) + raw[-half:].decode(errors="ignore")
