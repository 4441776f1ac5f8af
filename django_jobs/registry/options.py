"""What can be said of a job besides what it calls: its policy and its id.

One option is one field of `JobOptions`, with its check and what its runs keep of it, and one key of `JobWords`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, overload

from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import to_json as retry_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

MAX_ID_LENGTH = 255
MAX_NAME_LENGTH = 255
MAX_QUEUE_NAME_LENGTH = 100
MAX_TAGS = 20
MAX_TAG_LENGTH = 50
# Some thirty years: longer than anybody waits, and short of what threads and databases can count to.
MAX_SECONDS = 1_000_000_000
# Of the columns, on every database.
MAX_NUMBER = 2**31 - 1

# What other layers note on one run, by option: the dotted path of what makes of it the note of another run.
# All that is neither here nor an option of jobs is dropped, such as a trace.
renewals: dict[str, str] = {}


@overload
def seconds(duration: float | timedelta) -> float: ...
@overload
def seconds(duration: None) -> None: ...
def seconds(duration: float | timedelta | None) -> float | None:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


# Checks: each takes the option's name and its value, and raises ValueError or TypeError


def _check_text(key: str, value: object, shortest: int, longest: int) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {type(value).__name__}")
    if not shortest <= len(value) <= longest:
        raise ValueError(f"{key} must have {shortest} to {longest} characters, not {len(value)}")
    if "\x00" in value:
        raise ValueError(f"{key} must not contain a NUL character, which PostgreSQL cannot store")


def _check_priority(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not -100 <= value <= 100:
        raise ValueError(f"{key} must be a whole number from -100 to 100, not {value!r}")


def _check_retry(key: str, value: object) -> None:
    if not isinstance(value, Retry):
        raise TypeError(f"{key} must be a django_jobs.Retry, not {type(value).__name__}")


def _check_duration(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(f"{key} must be seconds or a timedelta, not {value!r}")
    length = seconds(value)
    if length != math.inf and not 0 < length <= MAX_SECONDS:
        raise ValueError(
            f"{key} must be more than 0 seconds and at most {MAX_SECONDS}, or math.inf for no limit, not {value!r}"
        )


def _check_count(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_NUMBER:
        raise ValueError(
            f"{key} must be a whole number of at least 1 and at most {MAX_NUMBER}, not {value!r}"
        )


def _check_flag(key: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be True or False, not {value!r}")


def _check_names(key: str, value: Any) -> None:
    if isinstance(value, str) or any(not isinstance(name, str) or "\x00" in name for name in value):
        raise TypeError(f"{key} must be a list of parameter names, not {value!r}")


def _check_tags(key: str, value: object) -> None:
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(tag, str) for tag in value
    ):
        raise TypeError(f"{key} must be a list of strings, not {value!r}")
    if len(set(value)) > MAX_TAGS:
        raise ValueError(f"{key} must be at most {MAX_TAGS}, not {len(set(value))}")
    for tag in value:
        _check_text(f"each of {key}", tag, 1, MAX_TAG_LENGTH)


def _check_conflict(key: str, value: object) -> None:
    if value not in {"raise", "skip", "replace"}:
        raise ValueError(f'{key} must be "raise", "skip" or "replace", not {value!r}')


def _limit(value: float | timedelta) -> float | None:
    length = seconds(value)
    return None if length == math.inf else length


def _rule(check: Callable[[str, Any], None], *, kept: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return what is known of an option.

    Args:
        check: Called with the option's name and a value that is not None; raises for a wrong one.
        kept: Returns what a run's row keeps of a value, as JSON; a false one is not kept. None for an
            option that has a column of its own, or that no run needs.
    """
    return {"check": check, "kept": kept}


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
        max_instances: Unfinished runs of a recurring job at the same time; 1. Like the next two, it is refused
            for an immediate job.
        coalesce: Missed firings of a recurring job become one run; True.
        misfire_grace_time: Whole seconds a firing may be late; no limit.
        sensitive: Names of parameters that pages and logs do not show.
        tags: Words to know the job and its runs by: at most 20, of 1 to 50 characters each; none.
        name: What pages call the job; the function's name.
        on_conflict: What to do when the `job_id` is unfinished: "raise", "skip", "replace".
    """

    queue_name: str | None = field(
        default=None, metadata=_rule(partial(_check_text, shortest=1, longest=MAX_QUEUE_NAME_LENGTH))
    )
    priority: int | None = field(default=None, metadata=_rule(_check_priority))
    retry: Retry | None = field(default=None, metadata=_rule(_check_retry, kept=retry_to_json))
    timeout: float | timedelta | None = field(default=None, metadata=_rule(_check_duration, kept=_limit))
    at_most_once: bool | None = field(default=None, metadata=_rule(_check_flag, kept=bool))
    expires: float | timedelta | None = field(default=None, metadata=_rule(_check_duration, kept=_limit))
    max_instances: int | None = field(default=None, metadata=_rule(_check_count))
    coalesce: bool | None = field(default=None, metadata=_rule(_check_flag))
    misfire_grace_time: int | None = field(default=None, metadata=_rule(_check_count))
    sensitive: Collection[str] | None = field(default=None, metadata=_rule(_check_names, kept=sorted))
    tags: Collection[str] | None = field(
        default=None, metadata=_rule(_check_tags, kept=lambda tags: sorted(set(tags)))
    )
    # An empty one is the function's name.
    name: str | None = field(
        default=None, metadata=_rule(partial(_check_text, shortest=0, longest=MAX_NAME_LENGTH))
    )
    on_conflict: str | None = field(default=None, metadata=_rule(_check_conflict))

    def over(self, other: JobOptions) -> JobOptions:
        """Return these options, completed by another's."""
        if other is NO_OPTIONS:
            return self
        if self is NO_OPTIONS:
            return other
        mine = {name: getattr(self, name) for name in NAMES}
        return JobOptions(
            **{name: getattr(other, name) if value is None else value for name, value in mine.items()}
        )

    def validate(self) -> None:
        """Refuse values that no job could have.

        Raises:
            ValueError: A value is out of range; the message says which and what is allowed.
            TypeError: A value is of the wrong type.
        """
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                check(name, value)

    def stored(self) -> dict[str, Any] | None:
        """Return what each run keeps of these options, or None when that is nothing."""
        if self is NO_OPTIONS:
            return None
        policy = {}
        for name, kept in _KEPT.items():
            value = getattr(self, name)
            if value is not None and (to_keep := kept(value)):
                policy[name] = to_keep
        return policy or None


class JobWords(TypedDict, total=False):
    """The options of `JobOptions` that `@job`, `@recurring` and `@cron` take, for type checkers."""

    queue_name: str | None
    priority: int | None
    retry: Retry | None
    timeout: float | timedelta | None
    at_most_once: bool | None
    expires: float | timedelta | None
    max_instances: int | None
    coalesce: bool | None
    misfire_grace_time: int | None
    sensitive: Iterable[str] | None
    tags: Iterable[str] | None
    name: str | None


class OptionWords(JobWords, total=False):
    """What `using` of the manager takes, for type checkers: all options."""

    on_conflict: str | None


class CallWords(OptionWords, total=False):
    """What `using` of a decorated function takes, for type checkers."""

    job_id: str | None


NAMES = tuple(one.name for one in fields(JobOptions))
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    one.name: one.metadata["check"] for one in fields(JobOptions)
}
_KEPT: dict[str, Callable[[Any], Any]] = {
    one.name: kept for one in fields(JobOptions) if (kept := one.metadata["kept"]) is not None
}
#: The options that each run keeps, in `Run.options`; the backend of Django Tasks takes them, too.
KEPT = tuple(_KEPT)
NO_OPTIONS = JobOptions()
#: Options that only a schedule gives a meaning, and what does the like for an immediate job.
OF_SCHEDULES = {
    "max_instances": 'to have one unfinished run at a time, give the job a job_id, with using(on_conflict="skip")',
    "coalesce": "an immediate job misses no firings, so leave it out",
    "misfire_grace_time": "use expires, which skips work that begins too late",
}


class _Unsaid(int):
    __slots__ = ()


#: A default of 1, told apart from the 1 that a caller says.
UNSET = _Unsaid(1)


def options_from(words: Mapping[str, Any]) -> JobOptions:
    """Return the options of keyword arguments.

    Raises:
        TypeError: An option does not exist.
    """
    for word in words:
        if word not in NAMES:
            raise TypeError(f"there is no option {word!r}; the options are {', '.join(NAMES)}")
    # What can be read only once is read here.
    read = {word: tuple(value) for word, value in words.items() if hasattr(value, "__next__")}
    return JobOptions(**{**words, **read} if read else words)


def refuse_schedule_options(options: JobOptions) -> None:
    """Refuse options that an immediate job does nothing with.

    Args:
        options: What was given for the call. Those of `@job` may be of a schedule of the function.

    Raises:
        TypeError: One of `OF_SCHEDULES` is given; the message says what to use instead.
    """
    if options is NO_OPTIONS:
        return
    for name, instead in OF_SCHEDULES.items():
        if getattr(options, name) is not None:
            raise TypeError(
                f"{name} is for jobs with a schedule, and does nothing for an immediate job: {instead}"
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
