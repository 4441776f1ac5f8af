"""What can be said of a job besides what it calls: its policy and its id."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.retry import Retry
from django_jobs.retry import to_json as retry_to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_ID_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Policy of a job; None leaves a value to the next in line: `using()`, `@job`, the default.

    Args:
        queue_name: Queue to wait in; "default".
        priority: -100 to 100, high first; 0.
        retry: When and how often an attempt that raised is followed by another; never.
        timeout: Seconds, or a timedelta, that one attempt may take; no limit.
        at_most_once: Fail rather than run again when the worker died or stopped; False.
        expires: Seconds, or a timedelta, after which work that has not begun is worthless and
            is skipped; never.
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
        if self.queue_name is not None and not 0 < len(str(self.queue_name)) <= 100:
            raise ValueError(f"queue_name must have 1 to 100 characters, not {self.queue_name!r}")
        if self.priority is not None and (
            isinstance(self.priority, bool)
            or not isinstance(self.priority, int)
            or not -100 <= self.priority <= 100
        ):
            raise ValueError(f"priority must be a whole number from -100 to 100, not {self.priority!r}")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise TypeError(f"retry must be a django_jobs.Retry, not {type(self.retry).__name__}")
        for key in ("timeout", "expires"):
            value = seconds(getattr(self, key))
            if value is not None and not value > 0:
                raise ValueError(f"{key} must be more than 0 seconds, not {getattr(self, key)!r}")
        for key in ("max_instances", "misfire_grace_time"):
            value = getattr(self, key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{key} must be a whole number of at least 1, not {value!r}")
        if isinstance(self.sensitive, str) or any(not isinstance(name, str) for name in self.sensitive or ()):
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
            if value is not None:
                policy[key] = value
        if self.at_most_once:
            policy["at_most_once"] = True
        if self.sensitive:
            policy["sensitive"] = sorted(self.sensitive)
        return policy or None


NO_OPTIONS = JobOptions()


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


def seconds(duration: float | timedelta | None) -> float | None:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def checked_id(job_id: str) -> str:
    """Return a job's id, if it can be one.

    Raises:
        ValueError: It is empty, longer than 255 characters, or holds a NUL character.
        TypeError: It is no string.
    """
    if not isinstance(job_id, str):
        raise TypeError(f"job_id must be a string, not {type(job_id).__name__}")
    if not job_id or len(job_id) > MAX_ID_LENGTH:
        raise ValueError(f"job_id must have 1 to {MAX_ID_LENGTH} characters, not {len(job_id)}")
    if "\x00" in job_id:
        raise ValueError("job_id must not contain a NUL character, which PostgreSQL cannot store")
    return job_id
