"""What can be said of a job besides what it calls: its policy and its id.

One option is one field of `JobOptions`, with its check and what its runs keep of it, and one key of `JobWords`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from django_jobs.registry import atomicity
from django_jobs.registry.about import check as check_about
from django_jobs.registry.about import reference
from django_jobs.registry.alerts import Alert
from django_jobs.registry.alerts import to_json as alert_to_json
from django_jobs.registry.keys import key_format
from django_jobs.registry.limits import Limit, limit_to_json
from django_jobs.registry.option_checks import (
    MAX_NAME_LENGTH,
    MAX_QUEUE_NAME_LENGTH,
    check_atomic,
    check_class,
    check_count,
    check_duration,
    check_fair_key,
    check_flag,
    check_level,
    check_names,
    check_priority,
    check_tags,
    check_text,
    check_word,
    seconds,
)
from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import to_json as retry_to_json
from django_jobs.registry.unique import Debounce, Unique, format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import timedelta

    from django.db.models import Model

    from django_jobs.registry.keys import KeyFormat

# In a run's options: the names of those that whoever executes it must know.
NEEDS = "needs"

# What other layers note on one run, by option: the dotted path of what makes of it the note of another run.
# All that is neither here nor an option of jobs is dropped, such as a trace.
renewals: dict[str, str] = {}


def _limit(value: float | timedelta) -> float | None:
    length = seconds(value)
    return None if length == math.inf else length


def _option(
    check: Callable[[str, Any], None],
    *,
    kept: Callable[..., Any] | None = None,
    key: Callable[[Any], KeyFormat] | None = None,
    must_be_known: bool = False,
) -> Any:
    """Return the field of an option, which is None unless it is given, with what is known of it.

    Args:
        check: Called with the option's name and a value that is not None; raises for a wrong one.
        kept: Returns what a run's row keeps of a value, as JSON; a false one is not kept. None for an
            option that has a column of its own, or that no run needs.
        key: Returns the key that a value is about; `kept` is called with the value and with the key that was
            made of the call's arguments. None for an option that is not about a key.
        must_be_known: A process of a version without the option must not execute runs that have it: they
            wait for one that knows it.
    """
    known = {"check": check, "kept": kept, "key": key, "must_be_known": must_be_known}
    return field(default=None, metadata=known)


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
        atomic: The function's writes and its run's outcome are one commit; False. The alias of a database,
            where the function's data and the runs are in another than "default".
        expires: Seconds, or a timedelta, after which work that has not begun is worthless and
            is skipped; never, which `math.inf` says too.
        max_instances: Unfinished runs of a recurring job at the same time; 1. Like the next
            four, it is refused for an immediate job.
        overlap: What a recurring job does when it is due and `max_instances` of it are unfinished: "skip"
            records the firing as SKIPPED; "wait" has it wait until one ends, at most one firing with `coalesce`,
            otherwise each; "cancel_running" asks those before it to stop, and begins when they have; "skip".
        pause_after_failures: A recurring job is paused when so many runs in a row FAILED; never.
        coalesce: Missed firings of a recurring job become one run; True.
        misfire_grace_time: Whole seconds a firing may be late; no limit.
        limit: How many runs of a key may run at the same time, over all processes; no limit.
        fair_key: A format of the call's arguments, such as "org:{shop.org_id}". Among the waiting runs of one
            queue and priority, the key that was served longest ago comes first; in the order in which they
            were added.
        alert: When people are told that it FAILED, where the setting ALERTS says where; as that says.
        late: Seconds, or a timedelta, that a run may be due and not begun before people are told; no limit.
        longest: Seconds, or a timedelta, that an attempt may execute before people are told; no limit.
        log_level: Level from which records of `logging` in its code are lines of a run's log, too: DEBUG,
            INFO, WARNING, ERROR or CRITICAL; the setting LOG_LEVEL.
        keep: Seconds, or a timedelta, that its runs are kept after their end, in place of what the settings
            KEEP_DAYS and KEEP_RUNS_PER_JOB say; as those say, which `math.inf` says too.
        keep_arguments: False removes the arguments of runs that succeeded: they cannot run once more; True.
        sensitive: Names of parameters that pages and logs do not show.
        tags: Words to know the job and its runs by: at most 20, of 1 to 50 characters each; none.
        about: A saved model instance, or "app_label.model:pk", that the job is about: its runs are found by it.
        name: What pages call the job; the function's name.
        on_conflict: What to do when the `job_id` is unfinished: "raise", "skip", "replace".
        unique: At most one run of a key; see `Unique`. Like the next one, for jobs that are called for, not for
            the firings of a schedule.
        debounce: One run after many calls of a key; see `Debounce`. It goes in place of `unique`.
    """

    queue_name: str | None = _option(partial(check_text, shortest=1, longest=MAX_QUEUE_NAME_LENGTH))
    priority: int | None = _option(check_priority)
    retry: Retry | None = _option(partial(check_class, kind=Retry), kept=retry_to_json)
    timeout: float | timedelta | None = _option(check_duration, kept=_limit)
    at_most_once: bool | None = _option(check_flag, kept=bool)
    atomic: bool | str | None = _option(check_atomic, kept=lambda value: value, must_be_known=True)
    expires: float | timedelta | None = _option(check_duration, kept=_limit)
    max_instances: int | None = _option(check_count)
    overlap: str | None = _option(
        partial(check_word, words=("skip", "wait", "cancel_running")),
        kept=lambda value: None if value == "skip" else value,
    )
    pause_after_failures: int | None = _option(check_count, kept=int)
    coalesce: bool | None = _option(check_flag)
    misfire_grace_time: int | None = _option(check_count)
    limit: Limit | None = _option(
        partial(check_class, kind=Limit),
        kept=limit_to_json,
        key=lambda limit: limit.format,
        must_be_known=True,
    )
    fair_key: str | None = _option(
        check_fair_key, kept=lambda _, key: key, key=key_format, must_be_known=True
    )
    alert: Alert | None = _option(partial(check_class, kind=Alert), kept=alert_to_json)
    late: float | timedelta | None = _option(check_duration, kept=_limit)
    longest: float | timedelta | None = _option(check_duration, kept=_limit)
    log_level: str | None = _option(check_level, kept=str.upper)
    keep: float | timedelta | None = _option(check_duration, kept=_limit)
    # Written as a text: what is false is not kept.
    keep_arguments: bool | None = _option(
        check_flag, kept=lambda value: None if value else "no", must_be_known=True
    )
    sensitive: Collection[str] | None = _option(check_names, kept=sorted)
    tags: Collection[str] | None = _option(check_tags, kept=lambda tags: sorted(set(tags)))
    about: Model | str | None = _option(check_about, kept=reference)
    # An empty one is the function's name.
    name: str | None = _option(partial(check_text, shortest=0, longest=MAX_NAME_LENGTH))
    on_conflict: str | None = _option(partial(check_word, words=("raise", "skip", "replace")))
    unique: Unique | None = _option(partial(check_class, kind=Unique), kept=Unique.kept, key=format_of)
    debounce: Debounce | None = _option(
        partial(check_class, kind=Debounce), kept=Debounce.kept, key=format_of
    )

    def over(self, other: JobOptions) -> JobOptions:
        """Return these options, completed by another's."""
        if other is NO_OPTIONS:
            return self
        if self is NO_OPTIONS:
            return other
        if self.uniqueness is not None and other.uniqueness is not None:
            # Each says all of what becomes of a call whose key is taken.
            other = replace(other, unique=None, debounce=None)
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
        if self.unique is not None and self.debounce is not None:
            raise ValueError("debounce is unique until the run starts: give one of unique and debounce")

    @property
    def uniqueness(self) -> Unique | Debounce | None:
        """What a run says of the key that it holds, if anything."""
        return self.unique or self.debounce

    @property
    def keys(self) -> dict[str, KeyFormat]:
        """The formats of the keys that these options are about, by the option's name."""
        if self is NO_OPTIONS:
            return {}
        return {name: key(value) for name, key in _KEYS.items() if (value := getattr(self, name)) is not None}

    def check_function(self, func: Callable[..., Any]) -> None:
        """Refuse keys that no call of a function can have, and what cannot be done with the function.

        Raises:
            ValueError: A key names what is no parameter of the function.
            TypeError: `atomic` is for an `async def` function.
        """
        if self.atomic:
            atomicity.check_function(func)
        for name, key in self.keys.items():
            key.check(name, func)

    def stored(self, arguments: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return what each run keeps of these options, or None when that is nothing.

        Args:
            arguments: Of the call, by the function's parameters; only needed where there are `keys`.

        Raises:
            ValueError: A key cannot be made of the arguments.
        """
        if self is NO_OPTIONS:
            return None
        policy = {}
        for name, kept in _KEPT.items():
            value = getattr(self, name)
            if value is None:
                continue
            key = _KEYS.get(name)
            to_keep = kept(value) if key is None else kept(value, key(value).make(arguments or {}))
            if to_keep:
                policy[name] = to_keep
        if "fair_key" in policy and "limit" in policy:
            # Who waits in the line of such a limit does so by turns.
            policy["limit"]["by_turns"] = True
        if needs := sorted(_MUST_BE_KNOWN & policy.keys()):
            policy[NEEDS] = needs
        return policy or None


class JobWords(TypedDict, total=False):
    """The options of `JobOptions` that `@job`, `@recurring` and `@cron` take, for type checkers."""

    queue_name: str | None
    priority: int | None
    retry: Retry | None
    timeout: float | timedelta | None
    at_most_once: bool | None
    atomic: bool | str | None
    expires: float | timedelta | None
    max_instances: int | None
    overlap: str | None
    pause_after_failures: int | None
    coalesce: bool | None
    misfire_grace_time: int | None
    limit: Limit | None
    fair_key: str | None
    alert: Alert | None
    late: float | timedelta | None
    longest: float | timedelta | None
    log_level: str | None
    keep: float | timedelta | None
    keep_arguments: bool | None
    sensitive: Iterable[str] | None
    tags: Iterable[str] | None
    about: Model | str | None
    name: str | None
    unique: Unique | None
    debounce: Debounce | None


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
_KEPT: dict[str, Callable[..., Any]] = {
    one.name: kept for one in fields(JobOptions) if (kept := one.metadata["kept"]) is not None
}
_MUST_BE_KNOWN = {one.name for one in fields(JobOptions) if one.metadata["must_be_known"]}
_KEYS: dict[str, Callable[[Any], KeyFormat]] = {
    one.name: key for one in fields(JobOptions) if (key := one.metadata["key"]) is not None
}
NO_OPTIONS = JobOptions()
#: Options that only a schedule gives a meaning, and what does the like for an immediate job.
OF_SCHEDULES = {
    "max_instances": "to have one unfinished run at a time, use unique=Unique(key)",
    "overlap": "use a limit, which immediate jobs have as well",
    "pause_after_failures": "pause its queue, or cancel what waits",
    "coalesce": "an immediate job misses no firings, so leave it out",
    "misfire_grace_time": "use expires, which skips work that begins too late",
}


#: Those of them that one firing has nothing of.
OF_RECURRING = ("max_instances", "coalesce", "overlap", "pause_after_failures")
#: Options of calls, which the firings of a schedule have nothing of.
OF_CALLS = {
    "unique": "a recurring job has max_instances unfinished runs at most, which is 1 by default",
    "debounce": "leave it out, or call for the job with enqueue",
}
#: The options that a run of any kind keeps, in `Run.options`; the backend of Django Tasks takes them, too.
KEPT = tuple(name for name in _KEPT if name not in OF_SCHEDULES)


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


def unknown_needs(options: Mapping[str, Any]) -> list[str]:
    """Return the options of a run that whoever executes it must know, and this process does not."""
    needs = options.get(NEEDS)
    return [] if needs is None else [str(name) for name in needs if name not in _KEPT]
