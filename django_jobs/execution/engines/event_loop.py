"""The engine of `async def` functions: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from django_jobs.execution import loops
from django_jobs.execution.sync_thread import SyncThread
from django_jobs.storage import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class LoopEngine:
    """Await coroutines on one event loop, as many at the same time as are submitted."""

    def __init__(self, *, name: str = "django_jobs-loop") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_shut_down = False

    def submit(
        self,
        begin: Callable[[], Coroutine[Any, Any, T]],
        *,
        on_left_open: Callable[[T, list[str]], T] | None = None,
    ) -> Future[T]:
        """Await what `begin` returns; the loop's thread starts with the first.

        Args:
            begin: Called on the loop.
            on_left_open: Given its result, and aliases of databases that it left a transaction open on;
                returns the result instead.

        Raises:
            RuntimeError: The engine was shut down, or its thread cannot be started.
        """
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot submit to an engine that was shut down")
            if self._loop is None or self._loop.is_closed():
                loop = loops.new_loop()
                thread = threading.Thread(target=self._serve, args=(loop,), name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return asyncio.run_coroutine_threadsafe(_with_own_thread(begin, on_left_open), self._loop)

    def shutdown(self, wait: bool = True) -> None:
        """Cancel what is still awaited, and end the loop."""
        with self._lock:
            if self._is_shut_down:
                return
            self._is_shut_down = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            # A job may have closed it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.stop)
            if wait:
                thread.join()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loops.serve(loop, lambda: self._is_shut_down)
        finally:
            loops.end(loop)
            asyncio.set_event_loop(None)


async def _with_own_thread(
    begin: Callable[[], Coroutine[Any, Any, T]], on_left_open: Callable[[T, list[str]], T] | None
) -> T:
    # Without a context of its own, all `sync_to_async` code of the process (Django's ORM from
    # async code, and under ASGI the requests too) would share one thread with this run.
    connections.watch_sessions()
    results: list[T] = []
    thread, context = SyncThread(), ThreadSensitiveContext()
    try:
        async with context:
            SyncToAsync.context_to_thread_executor[context] = thread
            try:
                results.append(await begin())
            finally:
                if thread.end_run():
                    left_open = await asyncio.shield(sync_to_async(connections.give_back)())
                    if left_open and results and on_left_open is not None:
                        results[0] = on_left_open(results[0], left_open)
    except asyncio.CancelledError:
        # One that comes when the result is there does not take it along.
        if not results:
            raise
    finally:
        # For tasks that the run left, which have its context; without them the key is freed now.
        SyncToAsync.context_to_thread_executor[context] = thread
    return results[0]
