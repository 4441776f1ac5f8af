"""Options that are given where they do nothing: they are refused, with what to use instead."""

from __future__ import annotations

from dataclasses import replace

from django_jobs.registry.options import NO_OPTIONS, OF_CALLS, OF_RECURRING, OF_SCHEDULES, JobOptions


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


def refuse_recurring_options(options: JobOptions) -> None:
    """Refuse options that a job that runs once, at a time, does nothing with.

    Raises:
        TypeError: One of `OF_RECURRING` is given for the call.
    """
    for name in OF_RECURRING:
        if getattr(options, name) is not None:
            raise TypeError(
                f"{name} is for recurring jobs, and does nothing for one that runs once: leave it out"
            )


def refuse_idle_options(path: str, own: JobOptions) -> None:
    """Refuse to add an immediate job of a function whose `@job` has options that nothing heeds.

    Args:
        path: Of the function, which no schedule in the code is of.
        own: What `@job` says of it.

    Raises:
        TypeError: It says one of `OF_SCHEDULES`.
    """
    if own is NO_OPTIONS:
        return
    for name, instead in OF_SCHEDULES.items():
        if getattr(own, name) is not None:
            raise TypeError(
                f"{name} in @job of {path} is for schedules, and does nothing for an immediate job: {instead}. "
                f"Where the function also has a schedule, give it there, as in @recurring({name}=...)"
            )


def refuse_call_options(options: JobOptions) -> None:
    """Refuse options that a job with a schedule does nothing with.

    Args:
        options: What was given for the schedule. Those of `@job` may be for calls of the function.

    Raises:
        TypeError: One of `OF_CALLS` is given; the message says what to use instead.
    """
    for name, instead in OF_CALLS.items():
        if getattr(options, name) is not None:
            raise TypeError(f"{name} is for jobs that are called for, not for a schedule: {instead}")


def of_schedule(options: JobOptions) -> JobOptions:
    """Return the options of a function's call as its schedule has them."""
    return options if options.uniqueness is None else replace(options, unique=None, debounce=None)
