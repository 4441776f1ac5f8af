"""The default engine: a pool of threads that look after their database connections."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from django_jobs import describe
from django_jobs.printable import printable
from django_jobs.storage import connections

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Without a future for calls that nobody waits for.
_Work = tuple["Future[Any] | None", "Callable[..., Any]", tuple[Any, ...], dict[str, Any]]


class ThreadEngine(Executor):
    """Execute calls on up to `max_workers` threads.

    Unlike `concurrent.futures.ThreadPoolExecutor`, its threads are daemons (a function that never
    returns cannot keep a process from ending), and they give their database connections back
    after `idle_seconds` without work.

    Args:
        max_workers: Threads at most; they are started as work comes.
        name: Prefix of the threads' names.
        idle_seconds: Rest after which a thread's connections are closed.
    """

    def __init__(self, max_workers: int, *, name: str = "django_jobs", idle_seconds: float = 10.0) -> None:
        self._max_workers = max_workers
        self._name = name
        self._idle_seconds = idle_seconds
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Threads that rest, and for which no work has been put.
        self._idle = 0
        self._lock = threading.Lock()
        self._is_shut_down = False
        # The last thread could not be started.
        self._was_refused = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `concurrent.futures.Executor.submit`."""
        future: Future[T] = Future()
        self._put((future, fn, args, kwargs))
        return future

    def call(self, fn: Callable[..., object], /, *args: Any) -> None:
        """Call a function that raises nothing and leaves no transaction, on a thread; nobody waits for it."""
        self._put((None, fn, args, {}))

    def _put(self, work: _Work) -> None:
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot submit to an engine that was shut down")
            self._work.put(work)
            if self._idle:
                self._idle -= 1
            elif len(self._threads) < self._max_workers:
                self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # What was put waits for one of the others, or for the next that can be started.
            if not self._was_refused:
                logger.error("%s threads, no more can be started: %s", len(self._threads), printable(error))  # noqa: TRY400 - the system's limit, not our code
            self._was_refused = True
            return
        self._was_refused = False
        self._threads.append(thread)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `concurrent.futures.Executor.shutdown`."""
        with self._lock:
            self._is_shut_down = True
            if cancel_futures:
                self._cancel_waiting()
            for _ in self._threads:
                self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _cancel_waiting(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                return
            if work is not None and work[0] is not None:
                work[0].cancel()

    def _serve(self) -> None:
        try:
            self._serve_all()
        except BaseException as error:  # noqa: BLE001 - what was put would wait for this thread for ever
            thread = threading.current_thread()
            describe.log_error(logger, error, "%s died, and is replaced", thread.name)
            with self._lock:
                self._threads.remove(thread)
                if not self._is_shut_down:
                    self._start_thread()

    def _serve_all(self) -> None:
        connections.watch_sessions()
        connections.claim_context()
        while (work := self._next()) is not None:
            future, fn, args, kwargs = work
            del work
            if future is None:
                try:
                    # What it sets of language, time zone and other context variables ends with it.
                    contextvars.copy_context().run(fn, *args)
                except BaseException as error:  # noqa: BLE001 - nothing that a call raises may end the thread
                    describe.log_error(logger, error, "a call on %s failed", threading.current_thread().name)
                    connections.end_transactions()
                del fn, args, kwargs
                continue
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - an executor hands whatever was raised to the future
                connections.end_transactions()
                future.set_exception(error)
            else:
                connections.end_transactions()
                future.set_result(result)
            # Or a resting thread would keep the last call's arguments alive.
            del future, fn, args, kwargs
        connections.give_back()

    def _next(self) -> _Work | None:
        try:
            work = self._take()
        except queue.Empty:
            pass
        else:
            connections.tidy()
            return work
        began = time.monotonic()
        try:
            work = self._work.get(timeout=self._idle_seconds)
        except queue.Empty:
            connections.give_back()
            work = self._work.get()
        if work is not None:
            connections.tidy(time.monotonic() - began)
        return work

    def _take(self) -> _Work | None:
        """Take what waits, or be counted as resting.

        Raises:
            Empty: Nothing waits.
        """
        try:
            return self._work.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            # Once more: what was put until now was put for no resting thread.
            try:
                return self._work.get_nowait()
            except queue.Empty:
                self._idle += 1
                raise
