"""Threads that execute the plain code of `async def` runs, and give their connections back.

A task that a run leaves behind lives as long as it likes, and so would a connection of its thread.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from django_jobs.storage import connections

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")


class SyncThread(Executor):
    """The thread of one run's `sync_to_async` code, which starts with the first of it.

    While the run lasts it keeps its connections. After that, for tasks that the run left, it gives them back
    after each call.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._is_over = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call something on the thread."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1)
        return self._pool.submit(self._call, fn, *args, **kwargs)

    def end_run(self) -> bool:
        """Note that the run is over; return whether it used the thread, and connections are to be given back."""
        self._is_over = True
        return self._pool is not None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread; another call starts a new one."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        try:
            return fn(*args, **kwargs)
        finally:
            if self._is_over:
                connections.give_back_own()


class LoopThreads(ThreadPoolExecutor):
    """The threads of a loop's `to_thread` calls: nobody knows which is the last, so each gives back."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call something on one of the threads."""
        return super().submit(_call_and_give_back, fn, *args, **kwargs)


def _call_and_give_back(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    try:
        return fn(*args, **kwargs)
    finally:
        connections.give_back_own()
