"""One run of a key: what `unique` and `debounce` say of a job."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal

from django_jobs.registry.keys import KeyFormat

# Some thirty years, as for all durations of options.
_MAX_SECONDS = 1_000_000_000

_CONFLICTS = ("skip", "raise", "replace", "postpone")


@dataclass(frozen=True, slots=True)
class ConflictPolicy:
    """What a call does that finds its key taken; without any of these it is skipped."""

    raises: bool = False
    #: The run that waits takes the arguments of this call.
    replaces: bool = False
    #: The run that waits begins no earlier than this call would have.
    postpones: bool = False
    #: The key is taken for so many seconds from the enqueue on; None for another end.
    within: float | None = None
    #: Seconds since the first call after which nothing postpones the run; None for no bound.
    max_wait: float | None = None


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one run of a key, of one function; a unique index decides, also between transactions.

    A call that finds the key taken adds nothing: it returns the id of the job that is there, with `is_new`
    False, or does what `on_conflict` says. Inside a transaction, a run that waits does not begin before that
    transaction ends, so that it sees what the transaction wrote.

    Args:
        key: A format of the call's arguments, such as "page:{page.pk}"; see `django_jobs.registry.keys`.
        until: "finished" (the default): the key is taken until the run has ended, retries included. "started":
            until it begins, so that a call that comes later adds another run, and no change is lost.
        within: Seconds, or a timedelta, that the key is taken for from the enqueue on, whatever becomes of the
            run, unless somebody cancels it. In place of `until`: this is a throttle.
        on_conflict: "skip"; "raise" a `ConflictingIdError`; "replace" the arguments of the run that waits; or
            "postpone" it to the time of this call. The last two only with until="started".

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range, or the combination has no meaning.
    """

    key: str
    _: KW_ONLY
    until: Literal["started", "finished"] | None = None
    within: float | timedelta | None = None
    on_conflict: Literal["skip", "raise", "replace", "postpone"] = "skip"

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        format_of(self)
        if self.until not in {None, "started", "finished"}:
            raise ValueError(f'until must be "started" or "finished", not {self.until!r}')
        if self.on_conflict not in _CONFLICTS:
            raise ValueError(
                f"on_conflict must be one of {', '.join(map(repr, _CONFLICTS))}, not {self.on_conflict!r}"
            )
        if self.within is not None:
            _seconds("within", self.within)
            if self.until is not None:
                raise ValueError(
                    "a key is taken either until a run has started or finished, or within a time"
                )
        if self.on_conflict in {"replace", "postpone"} and self.until != "started":
            raise ValueError(
                f'on_conflict="{self.on_conflict}" changes a run that waits, and this key is also taken by one '
                'that runs or has ended: use it with until="started"'
            )

    @property
    def conflict(self) -> ConflictPolicy:
        """What a call does that finds the key taken."""
        return ConflictPolicy(
            raises=self.on_conflict == "raise",
            replaces=self.on_conflict == "replace",
            postpones=self.on_conflict == "postpone",
            within=None if self.within is None else _seconds("within", self.within),
        )

    def kept(self, key: str) -> dict[str, Any]:
        """Return what a run keeps of it."""
        if self.within is not None:
            return {"key": key, "within": _seconds("within", self.within)}
        return {"key": key, "until": self.until or "finished"}


@dataclass(frozen=True, slots=True)
class Debounce:
    """One run after many calls of a key: it begins when no call came for a while, or at an upper bound.

    Until it begins, each call puts the run off; one that comes later adds another run. The database's clock
    measures.

    Args:
        key: A format of the call's arguments, as for `Unique`.
        wait: Seconds, or a timedelta, without a call after which the run begins.
        max_wait: Seconds, or a timedelta, from the first call on after which nothing puts it off any more; at
            least `wait`.
        arguments: The run has those of the "last" call, or of the "first".

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range.
    """

    key: str
    wait: float | timedelta
    max_wait: float | timedelta
    arguments: Literal["last", "first"] = "last"

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        format_of(self)
        if _seconds("wait", self.wait) > _seconds("max_wait", self.max_wait):
            raise ValueError(f"max_wait must be at least wait ({self.wait!r}), not {self.max_wait!r}")
        if self.arguments not in {"last", "first"}:
            raise ValueError(f'arguments must be "last" or "first", not {self.arguments!r}')

    @property
    def delay(self) -> timedelta:
        """How long after a call the run begins."""
        return timedelta(seconds=_seconds("wait", self.wait))

    @property
    def conflict(self) -> ConflictPolicy:
        """What a call does that finds the key taken."""
        return ConflictPolicy(
            replaces=self.arguments == "last",
            postpones=True,
            max_wait=_seconds("max_wait", self.max_wait),
        )

    def kept(self, key: str) -> dict[str, Any]:
        """Return what a run keeps of it."""
        return {
            "key": key,
            "wait": _seconds("wait", self.wait),
            "max_wait": _seconds("max_wait", self.max_wait),
        }


@lru_cache(maxsize=1024)
def _format(text: str) -> KeyFormat:
    return KeyFormat(text)


def format_of(option: Unique | Debounce) -> KeyFormat:
    """Return the key of an option as a format.

    Raises:
        TypeError: It is no string.
        ValueError: It is not a format of arguments.
    """
    # What is no string may have no hash.
    return _format(option.key) if isinstance(option.key, str) else KeyFormat(option.key)


def _seconds(name: str, duration: object) -> float:
    if isinstance(duration, bool) or not isinstance(duration, int | float | timedelta):
        raise TypeError(f"{name} must be seconds or a timedelta, not {duration!r}")
    length = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not (0 < length <= _MAX_SECONDS and math.isfinite(length)):
        raise ValueError(f"{name} must be more than 0 seconds and at most {_MAX_SECONDS}, not {duration!r}")
    return length
