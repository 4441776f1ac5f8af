"""When a failed attempt is followed by another, and after how long: pure functions of a policy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from django_jobs.exceptions import FunctionNotAllowed, GiveUp, ObjectGone, RetryLater
from django_jobs.texts.describe import is_a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Backoff = Literal["fixed", "linear", "exponential"]


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy. Every field is checked, and kept in the form that is stored.

    Attributes:
        max_attempts: How often the function is called in all, the first time included; 1 never retries.
        delay: Seconds (or a timedelta) before the second attempt; 0 retries immediately.
        backoff: How the delay grows: "fixed" not at all, "linear" by `delay` each time,
            "exponential" twofold each time.
        max_delay: Seconds (or a timedelta) that no delay exceeds.
        jitter: Share of each delay that is left to chance, so that what failed together does not
            come back together: 0 none, 1 anything between no delay and all of it. Only shortens.
        on: Exception classes, or their `module:qualname` (the module that defines them), to retry
            after; subclasses count.
        give_up_on: The same, to not retry after; wins over `on`.

    Raises:
        ValueError: A value is out of range; the message says which one and what is permitted.
    """

    max_attempts: int = 3
    delay: float | timedelta = 10.0
    backoff: Backoff = "exponential"
    max_delay: float | timedelta = 3600.0
    jitter: float = 0.1
    on: tuple[type[BaseException] | str, ...] = (Exception,)
    give_up_on: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_number(self.max_attempts) or self.max_attempts < 1 or self.max_attempts % 1:
            raise ValueError(f"max_attempts must be a whole number of at least 1, not {self.max_attempts!r}")
        if self.backoff not in get_args(Backoff):
            raise ValueError(f"backoff must be one of {', '.join(get_args(Backoff))}, not {self.backoff!r}")
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be a share of the delay, from 0 to 1, not {self.jitter!r}")
        delay, max_delay = _seconds("delay", self.delay), _seconds("max_delay", self.max_delay)
        if delay > max_delay:
            raise ValueError(
                f"delay ({delay:g} s) is longer than max_delay ({max_delay:g} s): raise max_delay"
            )
        normal = {
            "max_attempts": int(self.max_attempts),
            "delay": delay,
            "max_delay": max_delay,
            "jitter": float(self.jitter),
            "on": _names("on", self.on),
            "give_up_on": _names("give_up_on", self.give_up_on),
        }
        for field, value in normal.items():
            object.__setattr__(self, field, value)


def next_delay(policy: Retry, attempt: int, *, random: Callable[[], float]) -> float:
    """Return the seconds to wait before attempt + 1.

    Args:
        policy: The policy.
        attempt: The attempt that failed, counted from 1.
        random: Returns a number from 0 to 1, as `random.random` does.
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not {attempt!r}")
    first, longest = _seconds("delay", policy.delay), _seconds("max_delay", policy.max_delay)
    match policy.backoff:
        case "fixed":
            delay = first
        case "linear":
            delay = first * attempt
        case "exponential":
            # 2.0 ** 1024 would overflow; a product that is too large is only infinite.
            delay = first * 2.0 ** min(attempt - 1, 1000)
    return min(delay, longest) * (1 - policy.jitter * random())


def should_retry(policy: Retry, attempt: int, error: BaseException) -> bool:
    """Return whether an attempt (counted from 1) that raised this error is followed by another."""
    if attempt >= policy.max_attempts:
        return False
    names = {_name(kind) for kind in type(error).__mro__}
    return names.isdisjoint(policy.give_up_on) and not names.isdisjoint(policy.on)


def decide(
    policy: Retry | None, attempt: int, error: BaseException, *, random: Callable[[], float]
) -> float | None:
    """Return the seconds until the attempt that follows one that raised an error, or None for none.

    Args:
        policy: The job's; None when it has none.
        attempt: The attempt that failed, counted from 1.
        error: What it raised. `RetryLater` and `GiveUp` speak for the job itself.
        random: Returns a number from 0 to 1, as `random.random` does.
    """
    if is_a(error, (GiveUp, ObjectGone, FunctionNotAllowed)):
        return None
    if is_a(error, RetryLater):
        if policy is not None and attempt >= policy.max_attempts:
            return None
        chosen = policy or Retry(backoff="fixed")
        return next_delay(chosen, attempt, random=random) if error.delay is None else error.delay
    if policy is None or not should_retry(policy, attempt, error):
        return None
    return next_delay(policy, attempt, random=random)


def to_json(policy: Retry) -> dict[str, Any]:
    """Return the policy as JSON-able values, by field."""
    return {
        field.name: list(value) if isinstance(value := getattr(policy, field.name), tuple) else value
        for field in dataclasses.fields(policy)
    }


def from_json(stored: Mapping[str, Any]) -> Retry:
    """Return the policy that `to_json` described.

    Unknown keys are ignored and missing ones have their defaults: while a deployment rolls out, older
    and newer processes read each other's rows.

    Raises:
        ValueError: A value is out of range.
    """
    known = {field.name for field in dataclasses.fields(Retry)}
    return Retry(**{key: value for key, value in stored.items() if key in known})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _seconds(field: str, value: float | timedelta) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(seconds) or seconds < 0:
        raise ValueError(f"{field} must be a timedelta or seconds, 0 or more, not {value!r}")
    return float(seconds)


def _name(kind: type[BaseException]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _names(field: str, kinds: Iterable[type[BaseException] | str]) -> tuple[str, ...]:
    if not isinstance(kinds, tuple | list):
        raise ValueError(f"{field} must be a tuple of exception classes or their names, not {kinds!r}")  # noqa: TRY004 - one kind of error for all fields
    return tuple([_checked_name(field, kind) for kind in kinds])


def _checked_name(field: str, kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return _name(kind)
    if isinstance(kind, str):
        module, colon, qualname = kind.partition(":")
        if module and qualname and ":" not in qualname:
            return kind
        guess = ":".join(kind.rsplit(".", 1)) if not colon and "." in kind else "package.module:Error"
        raise ValueError(f"{field} has {kind!r}, which is not of the form module:qualname, such as {guess!r}")
    raise ValueError(f"{field} has {kind!r}, which is neither an exception class nor the name of one")
