"""The engine of `async def` functions: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

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

    def submit(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Await what `begin` returns; the loop's thread starts with the first.

        Raises:
            RuntimeError: The engine was shut down, or its thread cannot be started.
        """
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot submit to an engine that was shut down")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=self._serve, args=(loop,), name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return asyncio.run_coroutine_threadsafe(_with_own_thread(begin), self._loop)

    def shutdown(self, wait: bool = True) -> None:
        """Cancel what is still awaited, and end the loop."""
        with self._lock:
            if self._is_shut_down:
                return
            self._is_shut_down = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if wait:
                thread.join()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            pending = asyncio.all_tasks(loop)
            for task in pending:
                task.cancel()
            if pending:
                loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _with_own_thread(begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # Without a context of its own, all `sync_to_async` code of the process (Django's ORM from
    # async code, and under ASGI the requests too) would share one thread with this run.
    results: list[T] = []
    try:
        async with ThreadSensitiveContext() as context:
            try:
                results.append(await begin())
            finally:
                if context in SyncToAsync.context_to_thread_executor:
                    await asyncio.shield(sync_to_async(connections.give_back)())
    except asyncio.CancelledError:
        # One that comes when the result is there does not take it along.
        if not results:
            raise
    return results[0]
