"""What django_jobs raises, each with the value, the rule and the way out in its message."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.jobstores.base import ConflictingIdError, JobLookupError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BadPayload",
    "BatchClosed",
    "ConflictingIdError",
    "FunctionNotAllowed",
    "FunctionNotFound",
    "GiveUp",
    "InvalidArgument",
    "JobCancelled",
    "JobFailed",
    "JobLookupError",
    "ObjectGone",
    "RetryLater",
    "RunInterrupted",
    "RunLost",
    "RunSuspended",
    "TransactionLeftOpen",
    "UnknownHere",
    "UnknownTrigger",
]


class InvalidArgument(TypeError):
    """An argument or result that cannot be stored; the message names it and its type."""


class BadPayload(Exception):
    """A stored payload that is damaged, or signed with a key this process does not have."""


class UnknownHere(BadPayload):
    """A stored payload names something that this process does not have, and another version of the code may.

    Args:
        what: What that is, in a few words: "the type money".
        message: Why it cannot be read.
    """

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, str(self)), self.__dict__


class ObjectGone(Exception):
    """A model instance passed as an argument no longer exists; the message says which."""


class UnknownTrigger(ValueError):
    """A trigger that cannot be stored, or stored trigger data that cannot be read."""


class FunctionNotFound(Exception):
    """A stored `module:qualname` that no longer leads to a function."""


class FunctionNotAllowed(Exception):
    """A stored `module:qualname` outside the modules that may be called."""


class RetryLater(Exception):
    """Raised by a job to be tried again, with or without a retry policy.

    The attempt counts. Where the job has a policy, its `max_attempts` still holds; without one the
    job decides alone how often.

    Args:
        delay: Seconds, or a timedelta, until the next attempt; None for what the policy says, or 10 s.
        reason: Kept as the attempt's error.

    Raises:
        ValueError: The delay is negative or not a number.
    """

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"delay must be a timedelta or seconds, 0 or more, not {delay!r}")
        super().__init__(reason or ("again later" if seconds is None else f"again in {seconds:g} s"))
        self.delay = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.delay, str(self)), self.__dict__


class GiveUp(Exception):
    """Raised by a job to be FAILED immediately, whatever its retry policy says.

    Args:
        reason: Kept as the run's error.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the job gave up")


class RunInterrupted(BaseException):
    """Raised into a plain function that was cancelled, or is out of time, and did not ask about it.

    Not an `Exception`: code that catches those to go on must not go on here.
    """


class RunLost(BaseException):
    """Raised in a function whose run was given to another worker, where its work would be committed.

    What it wrote in that transaction is rolled back. Not an `Exception`: code that catches those to go on
    must not go on here.

    Args:
        run_id: Of the run.
    """

    def __init__(self, run_id: int) -> None:
        super().__init__(f"run {run_id} is another worker's by now: what was written here is rolled back")
        self.run_id = run_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_id,), self.__dict__


class RunSuspended(BaseException):
    """Raised by `sleep` and `wait_for` to leave the thread: the run begins again at the top when its wait ends.

    Not an `Exception`: code that catches those to go on must not go on here. Let it pass.
    """


class JobFailed(Exception):
    """Raised by `wait()` when the job ended FAILED or SKIPPED.

    Attributes:
        job_id: Id of the job.
        error: One line, `ValueError: what it said`.
        traceback: The stored traceback of the last attempt, or an empty string.
    """

    def __init__(self, job_id: str, error: str, traceback: str = "") -> None:
        super().__init__(f"job {job_id!r} failed: {error}")
        self.job_id = job_id
        self.error = error
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job_id, self.error, self.traceback), self.__dict__


class JobCancelled(Exception):
    """Raised by `wait()` when the job was cancelled before it finished."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} was cancelled")
        self.job_id = job_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job_id,), self.__dict__


class BatchClosed(RuntimeError):
    """Raised when runs are added to a batch that takes no more; the message says why."""


class TransactionLeftOpen(Exception):
    """A function ended in the middle of a transaction, which was rolled back.

    Args:
        aliases: Of the databases.
    """

    def __init__(self, aliases: Sequence[str]) -> None:
        super().__init__(
            f"the function left a transaction open on {', '.join(aliases)}, which was rolled back with all that "
            "it wrote there: end it with a commit, or use transaction.atomic()"
        )
