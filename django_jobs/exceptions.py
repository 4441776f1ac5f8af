"""What django_jobs raises, each with the value, the rule and the way out in its message."""

from __future__ import annotations

from apscheduler.jobstores.base import ConflictingIdError, JobLookupError

__all__ = [
    "BadPayload",
    "ConflictingIdError",
    "FunctionNotAllowed",
    "FunctionNotFound",
    "InvalidArgument",
    "JobCancelled",
    "JobFailed",
    "JobLookupError",
    "ObjectGone",
    "UnknownTrigger",
]


class InvalidArgument(TypeError):
    """An argument or result that cannot be stored; the message names it and its type."""


class BadPayload(Exception):
    """A stored payload that is damaged, or signed with a key this process does not have."""


class ObjectGone(Exception):
    """A model instance passed as an argument no longer exists; the message says which."""


class UnknownTrigger(ValueError):
    """A trigger that cannot be stored, or stored trigger data that cannot be read."""


class FunctionNotFound(Exception):
    """A stored `module:qualname` that no longer leads to a function."""


class FunctionNotAllowed(Exception):
    """A stored `module:qualname` outside the modules that may be called."""


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


class JobCancelled(Exception):
    """Raised by `wait()` when the job was cancelled before it finished."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} was cancelled")
        self.job_id = job_id
