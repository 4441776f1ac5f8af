"""`step` and its twin: call something once in a run, and remember what it returned."""

from __future__ import annotations

import inspect
import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import transaction

from django_jobs.exceptions import GiveUp, InvalidArgument
from django_jobs.execution.steps import memory as memories
from django_jobs.execution.steps.memory import Memory, value_of
from django_jobs.models import StepKind
from django_jobs.registry import atomicity, retry
from django_jobs.texts import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_jobs.models import Step
    from django_jobs.registry.retry import Retry

# A retry that is due this soon is waited for on the thread.
SHORT_SECONDS = 1.0


def call(
    memory: Memory,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    name: str | None,
    policy: Retry | None,
    atomic: bool,
) -> Any:
    """Return what a step returned; see `RunContext.step`."""
    memory.check_thread("astep")
    if inspect.iscoroutinefunction(func):
        raise TypeError(f"{func.__qualname__} is async: await current_run().astep(...) in an async function")
    asked = memory.ask(StepKind.STEP, _name_of(func) if name is None else name)
    memory.check_blocks("a step")
    if atomic:
        atomicity.check_database(atomicity.data_alias(atomic))
    while True:
        step = memory.find(asked)
        if step.finished_at is not None:
            return value_of(step)
        wait_for_turn(memory, step)
        memory.check_end()
        try:
            return _call_atomically(memory, step, func, args) if atomic else _call(memory, step, func, args)
        except Exception as error:  # noqa: BLE001 - a retry policy decides, and raises it
            _note_failure(memory, step, error, policy)


async def acall(
    memory: Memory, func: Callable[..., Any], args: tuple[Any, ...], *, name: str | None, policy: Retry | None
) -> Any:
    """Await what a step returned; see `RunContext.astep`."""
    asked = memory.ask(StepKind.STEP, _name_of(func) if name is None else name)
    while True:
        step = await sync_to_async(memory.find)(asked)
        if step.finished_at is not None:
            return await sync_to_async(value_of)(step)
        await sync_to_async(wait_for_turn)(memory, step)
        memory.check_end()
        began = await sync_to_async(memory.now)()
        try:
            with memories.inside(step.name):
                result = func(*args)
                result = await result if inspect.isawaitable(result) else result
        except Exception as error:  # noqa: BLE001 - a retry policy decides, and raises it
            await sync_to_async(_note_failure)(memory, step, error, policy)
            continue
        await sync_to_async(_remember)(memory, step, result, began)
        return await sync_to_async(value_of)(step)


def _call(memory: Memory, step: Step, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    began = memory.now()
    with memories.inside(step.name):
        result = func(*args)
    _remember(memory, step, result, began)
    return value_of(step)


def _call_atomically(memory: Memory, step: Step, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    pk = step.pk
    try:
        with transaction.atomic(using=memory.using):
            return _call(memory, step, func, args)
    except BaseException:
        # Rolled back, whatever the object says.
        step.pk, step.finished_at, step.value = pk, None, None
        memory.forget(step)
        raise


def _remember(memory: Memory, step: Step, result: object, began: Any) -> None:
    try:
        text = None if result is None else memories.stored(result, f"the result of step {step.name!r}")
    except (InvalidArgument, ValueError) as error:
        # It has done its work: to call it again would do that twice, and mend nothing.
        raise GiveUp(f"{error}. The step was done, and is not tried again") from error
    memory.keep(step, value=text, started_at=began, finished_at=memory.now(), error="", until=None)


def _note_failure(memory: Memory, step: Step, error: Exception, policy: Retry | None) -> None:
    """Note a failed try of a step, if another follows; else raise the error."""
    delay = None if policy is None else retry.decide(policy, step.tries + 1, error, random=random.random)
    if delay is None or isinstance(error, GiveUp):
        raise error
    now = memory.now()
    memory.keep(
        step,
        tries=step.tries + 1,
        error=describe.in_a_line(error),
        started_at=step.started_at or now,
        until=now + timedelta(seconds=delay),
    )


def wait_for_turn(memory: Memory, step: Step) -> None:
    """Wait until a step that failed is due again: here if that is soon, else without a thread."""
    if step.until is None:
        return
    seconds = (step.until - memory.now()).total_seconds()
    if seconds <= 0:
        return
    if seconds <= SHORT_SECONDS or memory.run.options.get("at_most_once"):
        memory.attempt.context.wait(seconds)
        memory.check_end()
        return
    memory.leave(step)


def _name_of(func: Callable[..., Any]) -> str:
    func = func.func if isinstance(func, partial) else func
    name = getattr(func, "__qualname__", "")
    if not name or "<lambda>" in name:
        raise ValueError(f"{func!r} has no name to remember its result by: say name=...")
    return str(name)
