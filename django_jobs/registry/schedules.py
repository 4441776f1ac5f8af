"""`@recurring` and `@cron`, and the schedules that they declare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

from django_jobs import triggers
from django_jobs.conf import jobs_settings
from django_jobs.registry.arguments import check_arguments, stored_arguments
from django_jobs.registry.decorators import Decorator, is_decorated, job
from django_jobs.registry.functions import name_of, path_of
from django_jobs.registry.misplaced_options import refuse_call_options
from django_jobs.registry.option_checks import checked_id
from django_jobs.registry.options import JobOptions, JobWords, options_from

if TYPE_CHECKING:
    from datetime import date, time, timedelta, tzinfo

    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.triggers.left_out import NotOn


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One schedule that the code declares.

    Args:
        job_id: Of the job that it declares.
        func: The decorated function.
        trigger: When it fires; a start that nobody chose does not count.
        args: For the function.
        kwargs: For the function.
        options: Of `@recurring` or `@cron`; the function's own from `@job` complete them.
        has_default_zone: Whether it goes by the clock of a time zone and does not say which.
    """

    job_id: str
    func: Callable[..., Any]
    trigger: BaseTrigger
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: JobOptions
    has_default_zone: bool = False
    # Names of the setting ENVIRONMENT for which it is declared; None for any.
    environments: frozenset[str] | None = None


# By the path of the function.
_declared: dict[str, list[Declaration]] = {}


@overload
def recurring(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    anchor: time | str | None = None,
    timezone: str | tzinfo | None = None,
    start: date | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
    not_on: NotOn | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    environments: Collection[str] | None = None,
    **options: Unpack[JobWords],
) -> Decorator: ...
@overload
def recurring(
    trigger: BaseTrigger,
    /,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    environments: Collection[str] | None = None,
    **options: Unpack[JobWords],
) -> Decorator: ...
def recurring(
    trigger: Any = None,
    /,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    anchor: time | str | None = None,
    timezone: str | tzinfo | None = None,
    start: date | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
    not_on: NotOn | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    environments: Collection[str] | None = None,
    **options: Any,
) -> Any:
    """Declare that a function is called again and again, by the processes that have a clock.

    The job is added, changed and removed as the declaration is, once over all processes. Several
    declarations of one function may be stacked, each with its own `job_id`.

    Args:
        trigger: In place of an interval and its limits: what `django_jobs.triggers.calendar` and `crontab`
            make, or a trigger of APScheduler's as for `add_job`, but not for one time.
        weeks: Of the interval; the first firing comes one interval after the job was added.
        days: Of the interval.
        hours: Of the interval.
        minutes: Of the interval.
        seconds: Of the interval.
        anchor: A time of the day that the interval counts from, by the clock on the wall: with `hours=6`,
            "03:00" is 03:00, 09:00, 15:00 and 21:00. The interval must divide an hour or a day.
        timezone: Of `anchor`: whose clock; CRON_TIME_ZONE, which is UTC by default.
        start: When it fires first, and what the interval counts from: an aware datetime, which may be in
            the past, or a date for midnight in UTC. With `anchor` it does not fire before.
        end: It does not fire after. An aware datetime, or a date: that day is the last one.
        times: How often it fires at most, from 1 to 10,000, counted from `start`, which must be given.
        jitter: Seconds, or a timedelta, by which each firing comes later at most, at random. The next one
            is counted as if there were none.
        not_on: Dates on which it does not fire: a list or set of them, or a module-level function that is
            given a date and returns whether to leave it out. Of UTC, or of the zone of `anchor`.
        args: For the function, as a list or tuple.
        kwargs: For the function.
        job_id: Stays the same over deploys; "module:function" by default.
        environments: Values of the setting ENVIRONMENT with which it is declared, as ["production"]: a copy of
            the database elsewhere does not fire it. Any by default.
        **options: Those of `@job`, for this schedule only.

    Raises:
        ValueError: There is no interval, or something is out of range; or the id is taken, or no process
            could find the function by its name.
        TypeError: The function cannot be called with these arguments, or an option does not exist.
    """
    length = triggers.length_of(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    limits: dict[str, Any] = {"start": start, "end": end, "times": times, "jitter": jitter}
    own = {"anchor": anchor, "timezone": timezone, **limits, "not_on": not_on}
    has_default_zone = anchor is not None and timezone is None
    if trigger is not None:
        made = _checked_trigger(trigger, [name for name, value in own.items() if value is not None], length)
    elif not length:
        raise ValueError("@recurring needs an interval, as in @recurring(minutes=30)")
    elif anchor is not None:
        made = triggers.anchored(length, anchor, timezone, **limits)
    elif timezone is not None:
        raise TypeError(
            "timezone belongs to the anchor, as in @recurring(hours=6, anchor='03:00', timezone=...)"
        )
    else:
        made = triggers.interval(length, **limits)
    if not_on is not None:
        made = triggers.leaving_out(made, not_on)
    return _decorator(
        made, args, kwargs, job_id, options, has_default_zone=has_default_zone, environments=environments
    )


def _checked_trigger(trigger: Any, given: Sequence[str], length: timedelta) -> BaseTrigger:
    """Return the trigger that a declaration has in place of an interval."""
    if not hasattr(trigger, "get_next_fire_time"):
        raise TypeError("@recurring needs an interval in parentheses, as in @recurring(minutes=30)")
    if length or given:
        raise TypeError(
            f"a trigger says itself when it fires: leave out {', '.join(given) or 'the interval'}"
        )
    if triggers.is_once(trigger):
        raise ValueError(
            "a trigger for one time cannot be declared: use add_scheduled_job or manage.py jobs add"
        )
    return triggers.storable(trigger)


def cron(
    expression: str,
    /,
    *,
    timezone: str | tzinfo | None = None,
    repeats: bool = False,
    start: date | None = None,
    end: date | None = None,
    times: int | None = None,
    jitter: float | timedelta | None = None,
    not_on: NotOn | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    environments: Collection[str] | None = None,
    **options: Unpack[JobWords],
) -> Decorator:
    """Declare that a function is called by a crontab expression; otherwise as `recurring`.

    Args:
        expression: Five fields as in crontab(5), where weekdays 0 and 7 are Sunday; or @daily and
            its like.
        timezone: Whose wall clock the expression speaks of; CRON_TIME_ZONE, which is UTC by default.
        repeats: Whether a time that the clocks repeat in autumn fires twice, whatever the hour is.
        start: It does not fire before. An aware datetime, or a date: from midnight in its time zone.
        end: It does not fire after. An aware datetime, or a date: that day is the last one.
        times: As for `recurring`.
        jitter: As for `recurring`.
        not_on: As for `recurring`, in the time zone of the expression.
        args: For the function, as a list or tuple.
        kwargs: For the function.
        job_id: As for `recurring`.
        environments: As for `recurring`.
        **options: As for `recurring`.

    Raises:
        ValueError: The expression or the time zone is wrong, with the field and its range; otherwise
            as for `recurring`.
        TypeError: As for `recurring`.
    """
    if not isinstance(expression, str):
        raise TypeError('@cron needs an expression in parentheses, as in @cron("30 3 * * mon-fri")')
    trigger = triggers.crontab(
        expression, timezone, repeats=repeats, start=start, end=end, times=times, jitter=jitter
    )
    if not_on is not None:
        trigger = triggers.leaving_out(trigger, not_on)
    return _decorator(
        trigger, args, kwargs, job_id, options, has_default_zone=timezone is None, environments=environments
    )


def _decorator(
    trigger: BaseTrigger,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    job_id: str | None,
    words: Mapping[str, Any],
    *,
    has_default_zone: bool = False,
    environments: Collection[str] | None = None,
) -> Decorator:
    if not isinstance(args, list | tuple):
        raise TypeError(f"args must be a list or tuple of arguments, not {args!r}")
    if not isinstance(kwargs, Mapping | None):
        raise TypeError(f"kwargs must be a dict of arguments, not {kwargs!r}")
    options = options_from(words)
    options.validate()
    if options.on_conflict is not None:
        raise TypeError("on_conflict has no meaning for a declared schedule: its job is updated")

    def decorate(function: Callable[..., Any]) -> Any:
        if not is_decorated(function):
            job(function)
        path = name_of(function)
        _add_declaration(
            path,
            Declaration(
                job_id=checked_id(path if job_id is None else job_id),
                func=function,
                trigger=trigger,
                args=tuple(args),
                kwargs=dict(kwargs or {}),
                options=options,
                has_default_zone=has_default_zone,
                environments=_checked_environments(environments),
            ),
        )
        return function

    return decorate


def _checked_environments(names: Collection[str] | None) -> frozenset[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f'environments must be names as ["production", "staging"], not {names!r}')
    return frozenset(names)


def _add_declaration(path: str, declaration: Declaration) -> None:
    check_arguments(path, declaration.func, declaration.args, declaration.kwargs)
    refuse_call_options(declaration.options)
    declaration.options.check_function(declaration.func)
    # Another function of this name: its module was loaded again.
    mine = [known for known in _declared.get(path, []) if known.func is declaration.func]
    if any(known.job_id == declaration.job_id for known in mine):
        raise ValueError(
            f"{path} declares two schedules with the id {declaration.job_id!r}: "
            'give each an id of its own, as in @recurring(minutes=30, job_id="...")'
        )
    _declared[path] = [*mine, declaration]


def is_declared(path: str) -> bool:
    """Return whether the modules imported so far declare a schedule of a function, by its `module:qualname`."""
    return path in _declared


def declarations() -> list[Declaration]:
    """Return the schedules that the modules imported so far declare for this environment, by id.

    Of several with one id, which `manage.py check` reports, the first by function is left.
    """
    first: dict[str, Declaration] = {}
    here = jobs_settings().ENVIRONMENT
    for path in sorted(_declared):
        for declaration in _declared[path]:
            if declaration.environments is None or here in declaration.environments:
                first.setdefault(declaration.job_id, declaration)
    return [first[job_id] for job_id in sorted(first)]


def check_declarations() -> None:
    """Refuse declared schedules that could not be called, now that their modules are whole.

    Raises:
        ValueError: No process could find the function by its name; or its arguments are too large.
        TypeError: An argument cannot be stored.
    """
    for declaration in declarations():
        try:
            path_of(declaration.func)
            stored_arguments(declaration.args, declaration.kwargs)
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"the schedule {declaration.job_id!r} is declared wrongly: {error}") from error


def named_environments() -> set[str]:
    """Return the environments that any declared schedule names."""
    return {name for declared in _declared.values() for one in declared for name in one.environments or ()}


def contested_ids() -> dict[str, list[str]]:
    """Return the ids that more than one function declares, with the functions."""
    by_id: dict[str, list[str]] = {}
    for path in sorted(_declared):
        for declaration in _declared[path]:
            by_id.setdefault(declaration.job_id, []).append(path)
    return {job_id: paths for job_id, paths in by_id.items() if len(paths) > 1}
