"""Plain calls from where an event loop runs, and the async twins of plain methods."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from django_jobs.execution.engines.threads import ThreadEngine
from django_jobs.storage import connections, forks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def sync_safe(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], R]:
    """Let a method that uses the database be called from a thread that runs an event loop.

    Django forbids queries there. The call is made on a helper thread and waited for: one short
    statement, as against the whole view having to change.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not is_in_a_loop():
            return method(self, *args, **kwargs)
        return called_in_a_loop(lambda: method(self, *args, **kwargs))

    return call


def called_in_a_loop(work: Callable[[], R]) -> R:
    """Call something on a helper thread, and wait for it."""
    # With the caller's context: what traces its request finds the request there.
    called = contextvars.copy_context()
    with _helper() as helper:
        result: R = helper.submit(called.run, work).result()
    return result


def is_in_a_loop() -> bool:
    """Return whether the calling thread runs an event loop at this moment."""
    # The call itself is not made where this is caught: its errors would have it as their context.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def async_version(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Return the async form of a method: the same call on Django's thread for synchronous code."""

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(method)(self, *args, **kwargs)

    call.__doc__ = f"Await `{method.__name__}`."
    return call


_lock = threading.Lock()
# Helpers that nobody waits for. Each has one thread, which keeps its connection for the next call.
_free: list[ThreadEngine] = []


@contextmanager
def _helper() -> Iterator[ThreadEngine]:
    """Take a helper that is free, or a new one: another loop may wait long for what its own does."""
    with _lock:
        helper = _free.pop() if _free else ThreadEngine(1, name="django_jobs-helper")
    try:
        yield helper
    finally:
        with _lock:
            _free.append(helper)


def give_back_connections() -> None:
    """Close the connections of helpers that nobody waits for."""
    with _lock:
        calls = [helper.submit(connections.give_back) for helper in _free]
    for call in calls:
        call.result()


@forks.on_fork_reset
def _drop_helpers() -> None:
    # Their threads are not in a child that is forked.
    global _lock
    _lock = threading.Lock()
    _free.clear()
