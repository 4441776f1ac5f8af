"""What an attempt came to: results and errors as outcomes, and whether another attempt follows."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs import codec
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import (
    BadPayload,
    JobCancelled,
    RunLost,
    RunSuspended,
    TransactionLeftOpen,
    UnknownHere,
)
from django_jobs.execution import instrumentation, tracebacks
from django_jobs.models import Status, jobs_database
from django_jobs.registry import retry
from django_jobs.storage import steps
from django_jobs.storage.records import Outcome
from django_jobs.texts import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.execution.attempt import Attempt

CUT_MARK = "\n... cut at {} bytes ...\n"


def of_expiry(attempt: Attempt) -> Outcome | None:
    """Return SKIPPED for a run that begins too late; None for any other."""
    options, started_at = attempt.run.options, attempt.started_at
    expires_at = options.get("expires_at") if options else None
    if expires_at is None or started_at is None or started_at.timestamp() < expires_at:
        return None
    if _was_begun(attempt, expires_at - options.get("expires", 0)):
        return None
    if attempt.outlast(lambda: steps.has_any(attempt.run.id, using=jobs_database())):
        # It began in time, and has slept since.
        return None
    late = timedelta(seconds=round(started_at.timestamp() - expires_at))
    return _outcome(attempt, Status.SKIPPED, error=f"Expired: not begun in time, {late} too late")


def _was_begun(attempt: Attempt, since: float) -> bool:
    """Return whether an attempt of the run began since a time, as seconds since the epoch."""
    # Not whether there was one: a run that is retried by hand has its time counted from then.
    times = (entry.get("started_at") for entry in attempt.run.errors)
    return any(datetime.fromisoformat(at).timestamp() >= since for at in times if at)


def of_result(attempt: Attempt, result: object) -> Outcome:
    """Return the outcome of a function that returned."""
    try:
        text = None if result is None else _stored(result)
    except BaseException as error:  # noqa: BLE001 - what a function returns may raise anything when it is looked at
        # The function has done its work: to call it again would do that twice, and mend nothing.
        return of_error(attempt, error, is_final=True)
    if attempt.context.was_told:
        # It heard that it should end, and ended: its work is not what was asked for.
        return _of_stop(attempt, f"stopped when told ({attempt.context.stop_reason})", result=text)
    if attempt.context.must_stop:
        reason = attempt.context.stop_reason
        if attempt.was_interrupted:
            return _of_stop(attempt, f"went on after it was interrupted ({reason})", result=text)
        if reason in {"cancelled", "timeout"}:
            attempt.context.log("it ended by itself after it was to be interrupted (%s)", reason)
    return _outcome(attempt, Status.SUCCESSFUL, result=text)


def of_completion(attempt: Attempt, result: object) -> Outcome:
    """Return the outcome of a function that ends its run by itself.

    Raises:
        InvalidArgument: The result cannot be stored.
        ValueError: It is larger than MAX_RESULT_BYTES.
    """
    return _outcome(attempt, Status.SUCCESSFUL, result=None if result is None else _stored(result))


def of_open_transaction(attempt: Attempt, outcome: Outcome, aliases: Sequence[str]) -> Outcome:
    """Return the outcome of a function that returned, or raised, in the middle of a transaction.

    What it wrote there is rolled back, so it has not done what it was to do; and it would leave the next
    one open as well.
    """
    if outcome.status != Status.SUCCESSFUL or not aliases:
        return outcome
    return of_error(attempt, TransactionLeftOpen(aliases), is_final=True)


def of_error(attempt: Attempt, error: BaseException, *, is_final: bool = False) -> Outcome:
    """Return the outcome of an attempt that raised; READY if the run is to be tried again.

    Args:
        attempt: The attempt.
        error: What the function raised, or what went wrong with executing it.
        is_final: The function has done its work: no other attempt follows.
    """
    if attempt.keeps_raised or instrumentation.installed:
        attempt.raised = error
    text = _one_line(error) + _way_out(error)
    trace = _cut(tracebacks.formatted(error), jobs_settings().MAX_ERROR_BYTES)
    if attempt.context.was_told if is_final else attempt.context.must_stop:
        return _of_stop(attempt, text, trace)
    if is_final:
        return _outcome(attempt, Status.FAILED, error=text, traceback=trace, exception=_class_of(error))
    return _of_policy(attempt, error, text, trace)


def of_raised(attempt: Attempt, error: BaseException) -> Outcome:
    """Return the outcome of what ended an attempt: its function's error, or what something else ended it with."""
    if describe.is_a(error, RunSuspended) and attempt.leaves_for is not None:
        return of_leave(attempt)
    if describe.is_a(error, RunLost):
        return of_loss(attempt, error)
    if describe.is_a(error, UnknownHere):
        # What the run keeps, a process of another version has written.
        return of_unknown(attempt, error.what, error)
    if describe.is_a(error, BadPayload):
        return of_bad_payload(attempt, error)
    return of_error(attempt, error)


def of_leave(attempt: Attempt) -> Outcome:
    """Return the outcome of a run that leaves its thread, to begin again when its wait ends."""
    return _outcome(attempt, Status.READY, waits=attempt.leaves_for)


def of_loss(attempt: Attempt, error: BaseException) -> Outcome:
    """Return what the fence refuses, and what is reported so: the run is another worker's."""
    return _outcome(attempt, Status.FAILED, error=_one_line(error), exception=_class_of(error))


def of_bad_payload(attempt: Attempt, error: Exception) -> Outcome:
    """Return the outcome of a run that cannot be verified or read: it waits, unchanged, until that is mended."""
    return _outcome(attempt, Status.READY, error=_one_line(error), exception=_class_of(error))


def of_unknown(attempt: Attempt, what: str, error: Exception) -> Outcome:
    """Return what becomes of a run if no process knows what it needs; its worker asks whether one may.

    Args:
        attempt: The attempt.
        what: What this process does not know, as `Outcome.unknown`.
        error: How it was noticed.
    """
    make = of_bad_payload if isinstance(error, BadPayload) else of_error
    outcome = make(attempt, error)
    outcome.unknown = codec.storable(what)
    return outcome


def of_killed(attempt: Attempt, error: str) -> Outcome | None:
    """Return the outcome of an attempt whose process has ended; None when nobody wanted it to."""
    if not attempt.context.must_stop:
        return None
    outcome = _of_stop(attempt, f"ProcessDied: {error}")
    if instrumentation.installed and not attempt.is_interrupted:
        # What observed it there ended with the process.
        if attempt.context.stop_reason == "timeout":
            attempt.raised = TimeoutError(outcome.error)
        attempt.observed(outcome)
    return outcome


def cut_off(attempt: Attempt, error: str) -> Outcome:
    """Return the outcome of an attempt that does not end before its worker does."""
    return _outcome(attempt, Status.FAILED, error=error)


def never_begun(status: str, error: str) -> Outcome:
    """Return the outcome of a run that ends before its function is called."""
    now = timezone.now()
    return Outcome(status, now, now, error=error)


def _of_stop(attempt: Attempt, error: str, trace: str = "", *, result: str | None = None) -> Outcome:
    """Return the outcome of an attempt that was told to end."""
    match attempt.context.stop_reason:
        case "cancelled":
            cancelled = f"{JobCancelled.__module__}.{JobCancelled.__qualname__}"
            return _outcome(
                attempt, Status.CANCELLED, error=error, traceback=trace, exception=cancelled, result=result
            )
        case "timeout":
            limit = attempt.run.options.get("timeout")
            text = f"RunTimeout: longer than its limit of {limit:g} s"
            return _of_policy(attempt, TimeoutError(text), text, trace)
        case _:
            # Shut down or lost: the worker hands the run back, or it is not ours to write.
            attempt.is_interrupted = True
            return _outcome(attempt, Status.READY, error=error, traceback=trace)


def _of_policy(attempt: Attempt, error: BaseException, text: str, trace: str) -> Outcome:
    """Return FAILED, or READY where the run's retry policy has it tried again."""
    run = attempt.run
    stored = run.options.get("retry")
    # Attempts that ended with their worker are bounded by MAX_RESCUES, not by the policy.
    tried = run.attempt - run.rescues
    try:
        policy = None if stored is None else retry.from_json(stored)
        delay = retry.decide(policy, tried, error, random=random.random)
    except Exception as mistake:  # noqa: BLE001 - a row that another version or another hand has written
        delay = None
        text = f"{text} (and not tried again, for its retry policy cannot be read: {_one_line(mistake)})"
    status = Status.FAILED if delay is None else Status.READY
    return _outcome(attempt, status, error=text, traceback=trace, exception=_class_of(error), retry_in=delay)


def _outcome(attempt: Attempt, status: Status, **values: Any) -> Outcome:
    started_at = attempt.started_at or timezone.now()
    # From the monotonic clock: the host's may be set while the function runs.
    # In whole microseconds: of a float it takes twice as long.
    finished_at = started_at + timedelta(0, 0, int((time.monotonic() - attempt.began) * 1_000_000))
    # Not `.value`, which is two calls.
    outcome = Outcome(status._value_, started_at, finished_at, **values)
    context = attempt.context
    outcome.progress = context.progress
    if (said := context.said) is not None:
        outcome.log, outcome.has_chunks = said.text, said.written
    return outcome


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
    return codec.storable(describe.path_of(type(error)))


def _one_line(error: BaseException) -> str:
    return codec.storable(describe.in_a_line(error))


def _way_out(error: BaseException) -> str:
    """Return what to do about an error that only tells of where jobs run; empty for all others."""
    if not describe.is_a(error, ValueError) or "signal only works in main thread" not in describe.text_of(
        error
    ):
        return ""
    return (
        ' (jobs run in threads; a queue with the engine "processes" runs them in the main thread of a child)'
    )


def _cut(text: str, limit: int) -> str:
    raw = codec.storable(text).encode()
    if len(raw) <= limit:
        return raw.decode()
    # The beginning says what was called, the end what was raised.
    half = limit // 2
    return raw[:half].decode(errors="ignore") + CUT_MARK.format(limit) + raw[-half:].decode(errors="ignore")
