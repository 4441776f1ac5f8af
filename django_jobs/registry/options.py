"""What can be said of a job besides what it calls: its policy and its id."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, overload

from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import to_json as retry_to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_ID_LENGTH = 255
MAX_NAME_LENGTH = 255
MAX_QUEUE_NAME_LENGTH = 100
# Some thirty years: longer than anybody waits, and short of what threads and databases can count to.
MAX_SECONDS = 1_000_000_000
# Of the columns, on every database.
MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Policy of a job; None leaves a value to the next in line: `using()`, `@job`, the default.

    Args:
        queue_name: Queue to wait in; "default".
        priority: -100 to 100, high first; 0.
        retry: When and how often an attempt that raised is followed by another; never.
        timeout: Seconds, or a timedelta, that one attempt may take; no limit, which `math.inf` says too,
            against a limit that is next in line.
        at_most_once: Fail rather than run again when the worker died or stopped; False.
        expires: Seconds, or a timedelta, after which work that has not begun is worthless and
            is skipped; never, which `math.inf` says too.
        max_instances: Unfinished runs of a recurring job at the same time; 1.
        coalesce: Missed firings of a recurring job become one run; True.
        misfire_grace_time: Whole seconds a firing may be late; no limit.
        sensitive: Names of parameters that pages and logs do not show.
        name: What pages call the job; the function's name.
        on_conflict: What to do when the `job_id` is unfinished: "raise", "skip", "replace".
    """

    queue_name: str | None = None
    priority: int | None = None
    retry: Retry | None = None
    timeout: float | timedelta | None = None
    at_most_once: bool | None = None
    expires: float | timedelta | None = None
    max_instances: int | None = None
    coalesce: bool | None = None
    misfire_grace_time: int | None = None
    sensitive: Collection[str] | None = None
    name: str | None = None
    on_conflict: str | None = None

    def over(self, other: JobOptions) -> JobOptions:
        """Return these options, completed by another's."""
        if other is NO_OPTIONS:
            return self
        if self is NO_OPTIONS:
            return other
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return JobOptions(
            **{key: getattr(other, key) if value is None else value for key, value in mine.items()}
        )

    def validate(self) -> None:
        """Refuse values that no job could have.

        Raises:
            ValueError: A value is out of range; the message says which and what is allowed.
            TypeError: A value is of the wrong type.
        """
        if self.queue_name is not None:
            _check_text("queue_name", self.queue_name, 1, MAX_QUEUE_NAME_LENGTH)
        if self.name is not None:
            # Without any, it is called what its function is.
            _check_text("name", self.name, 0, MAX_NAME_LENGTH)
        if self.priority is not None and (
            isinstance(self.priority, bool)
            or not isinstance(self.priority, int)
            or not -100 <= self.priority <= 100
        ):
            raise ValueError(f"priority must be a whole number from -100 to 100, not {self.priority!r}")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise TypeError(f"retry must be a django_jobs.Retry, not {type(self.retry).__name__}")
        for key in ("timeout", "expires"):
            _check_duration(key, getattr(self, key))
        for key in ("max_instances", "misfire_grace_time"):
            value = getattr(self, key)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_NUMBER
            ):
                raise ValueError(
                    f"{key} must be a whole number of at least 1 and at most {MAX_NUMBER}, not {value!r}"
                )
        for key in ("at_most_once", "coalesce"):
            if not isinstance(getattr(self, key), bool | None):
                raise TypeError(f"{key} must be True or False, not {getattr(self, key)!r}")
        if isinstance(self.sensitive, str) or any(
            not isinstance(name, str) or "\x00" in name for name in self.sensitive or ()
        ):
            raise TypeError(f"sensitive must be a list of parameter names, not {self.sensitive!r}")
        if self.on_conflict not in {None, "raise", "skip", "replace"}:
            raise ValueError(f'on_conflict must be "raise", "skip" or "replace", not {self.on_conflict!r}')

    def stored(self) -> dict[str, Any] | None:
        """Return what each run keeps of these options, or None when that is nothing."""
        if self is NO_OPTIONS:
            return None
        policy: dict[str, Any] = {}
        if self.retry is not None:
            policy["retry"] = retry_to_json(self.retry)
        for key in ("timeout", "expires"):
            value = seconds(getattr(self, key))
            if value is not None and value != math.inf:
                policy[key] = value
        if self.at_most_once:
            policy["at_most_once"] = True
        if self.sensitive:
            policy["sensitive"] = sorted(self.sensitive)
        return policy or None


NO_OPTIONS = JobOptions()


class _Unsaid(int):
    __slots__ = ()


#: A default of 1, told apart from the 1 that a caller says.
UNSET = _Unsaid(1)


def options_from(words: Mapping[str, Any]) -> JobOptions:
    """Return the options of keyword arguments.

    Raises:
        TypeError: An option does not exist.
    """
    known = [f.name for f in fields(JobOptions)]
    for word in words:
        if word not in known:
            raise TypeError(f"there is no option {word!r}; the options are {', '.join(known)}")
    return JobOptions(**words)


@overload
def seconds(duration: float | timedelta) -> float: ...
@overload
def seconds(duration: None) -> None: ...
def seconds(duration: float | timedelta | None) -> float | None:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _check_text(key: str, value: object, shortest: int, longest: int) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {type(value).__name__}")
    if not shortest <= len(value) <= longest:
        raise ValueError(f"{key} must have {shortest} to {longest} characters, not {len(value)}")
    if "\x00" in value:
        raise ValueError(f"{key} must not contain a NUL character, which PostgreSQL cannot store")


def _check_duration(key: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(f"{key} must be seconds or a timedelta, not {value!r}")
    length = seconds(value)
    if length != math.inf and not 0 < length <= MAX_SECONDS:
        raise ValueError(
            f"{key} must be more than 0 seconds and at most {MAX_SECONDS}, or math.inf for no limit, not {value!r}"
        )


def checked_id(job_id: str) -> str:
    """Return a job's id, if it can be one.

    Raises:
        ValueError: It is empty, longer than 255 characters, or holds a NUL character.
        TypeError: It is no string.
    """
    _check_text("job_id", job_id, 1, MAX_ID_LENGTH)
    return job_id


def lookup_id(job_id: str) -> str:
    """Return an id to look for: of one that no job can have, the empty one, which none has."""
    job_id = str(job_id)
    # PostgreSQL does not even look for it.
    return "" if "\x00" in job_id else job_id
