"""`sleep` and `wait_for`: wait without a thread, a lease or an attempt."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.execution.steps.memory import Memory, value_of
from django_jobs.storage import events

if TYPE_CHECKING:
    from django_jobs.models import Step

# Some thirty years.
MAX_SECONDS = 1_000_000_000


def sleep(memory: Memory, asked: Step, length: timedelta) -> None:
    """Wait some time; see `RunContext.sleep`."""
    step = memory.find(asked)
    if step.finished_at is not None:
        return
    now = memory.now()
    if step.pk is None:
        memory.keep(step, started_at=now, until=now + length)
    if step.until is None or step.until <= now:
        memory.keep(step, finished_at=now)
        return
    memory.leave(step)


def wait_for(memory: Memory, asked: Step, timeout: timedelta | None) -> Any:
    """Wait for an event; see `RunContext.wait_for`."""
    step = memory.find(asked)
    if step.finished_at is None:
        now = memory.now()
        if step.pk is None:
            until = None if timeout is None else now + timeout
            # Committed before it looks for an event: a sender looks for it after its commit.
            memory.keep(step, started_at=now, until=until, event=step.name)
        step = events.receive(memory.run, step.pk, using=memory.using)
        memory.replace(step)
    if step.finished_at is None:
        memory.leave(step)
    if step.error == events.TIMED_OUT:
        raise TimeoutError(f"the event {step.name!r} was not sent in time")
    return value_of(step)


def ask(memory: Memory, kind: str, name: str, what: str) -> Step:
    """Return what is to be waited for; the checks touch no database.

    Raises:
        RuntimeError: The function cannot leave its thread here.
    """
    asked = memory.ask(kind, name)
    memory.check_blocks(what)
    if memory.run.options.get("at_most_once"):
        raise RuntimeError(f"{what} begins the function again, which at_most_once forbids")
    return asked


def length(name: str, value: float | timedelta) -> timedelta:
    """Return a duration.

    Raises:
        ValueError: It is negative, not a number, or longer than anybody waits.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"{name} must be a timedelta or seconds, 0 to {MAX_SECONDS}, not {value!r}")
    return timedelta(seconds=seconds if math.isfinite(seconds) else MAX_SECONDS)
