"""The default engine: a pool of threads that look after their database connections."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
import queue
import threading
import time
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from django_jobs.storage import connections
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Without a future for calls that nobody waits for.
_Work = tuple["Future[Any] | None", "Callable[..., Any]", tuple[Any, ...], dict[str, Any]]
# Work that is worth one more thread: Python's threads take turns every 5 ms.
WORTH_SECONDS = 0.005
# What a thread that rests waits for: whether it is to watch the line, or to look for work.
_Bell = queue.SimpleQueue[bool]
# Few threads are awake for short calls. All are woken when none has taken what is next for so long.
STALL_SECONDS = 0.002


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
        # One line for all threads: nothing waits behind a long call while a thread rests.
        self._work: deque[_Work] = deque()
        self._threads: list[threading.Thread] = []
        # The last to rest is the first to be woken.
        self._resting: list[_Bell] = []
        # Of the thread that watches whether work is taken; see `_watch`.
        self._guard: _Bell | None = None
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

    def call_each(
        self, fn: Callable[..., object], calls: Iterable[tuple[Any, ...]], *, seconds: float
    ) -> None:
        """Make many calls as `call` does, on no more threads than they are worth.

        Args:
            fn: As for `call`.
            calls: The arguments of each call.
            seconds: How long one call is likely to take. When one takes longer, other threads take those
                behind it within milliseconds.
        """
        with self._lock:
            self._refuse_if_shut_down()
            was_empty = not self._work
            self._work.extend([(None, fn, args, {}) for args in calls])
            waiting = len(self._work)
            awake = len(self._threads) - len(self._resting) - (self._guard is not None)
            # Each thread more takes its turns with the interpreter, which cost more than short calls: a fifth of the
            # processor's time of an empty run.
            worth = max(was_empty, math.ceil(waiting * seconds / WORTH_SECONDS) - awake)
            self._wake(min(waiting, worth))
            if worth < waiting:
                self._have_guarded()

    def _put(self, work: _Work) -> None:
        with self._lock:
            self._refuse_if_shut_down()
            self._work.append(work)
            self._wake(1)

    def _refuse_if_shut_down(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot submit to an engine that was shut down")

    # With the lock held

    def _wake(self, count: int) -> None:
        """Have some more threads look for work: those that rest, then new ones, then the guard."""
        for _ in range(count):
            if self._resting:
                self._resting.pop().put(False)
            elif len(self._threads) == self._max_workers or not self._start_thread():
                self._dismiss_guard()
                break

    def _have_guarded(self) -> None:
        """Have a thread watch the line; none does where all are awake, and look for work when they are free."""
        if self._guard is not None:
            return
        if self._resting:
            self._guard = self._resting.pop()
            self._guard.put(True)
        elif len(self._threads) < self._max_workers:
            self._start_thread(is_guard=True)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.put(False)
            self._guard = None

    def _start_thread(self, *, is_guard: bool = False) -> bool:
        bell: _Bell = queue.SimpleQueue()
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(bell, is_guard), name=name, daemon=True)
        if is_guard:
            self._guard = bell
        try:
            thread.start()
        except RuntimeError as error:
            # What was put waits for one of the others, or for the next that can be started.
            if not self._was_refused:
                logger.error("%s threads, no more can be started: %s", len(self._threads), printable(error))  # noqa: TRY400 - the system's limit, not our code
            self._was_refused = True
            if is_guard:
                self._guard = None
            return False
        self._was_refused = False
        self._threads.append(thread)
        return True

    # Without it

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `concurrent.futures.Executor.shutdown`."""
        with self._lock:
            self._is_shut_down = True
            if cancel_futures:
                self._cancel_waiting()
            self._dismiss_guard()
            while self._resting:
                self._resting.pop().put(False)
        if wait:
            for thread in self._threads:
                thread.join()

    def _cancel_waiting(self) -> None:
        while self._work:
            try:
                future = self._work.popleft()[0]
            except IndexError:
                return
            if future is not None:
                future.cancel()

    def _serve(self, bell: _Bell, is_guard: bool) -> None:
        try:
            self._serve_all(bell, is_guard)
        except BaseException as error:  # noqa: BLE001 - what was put would wait for this thread forever
            thread = threading.current_thread()
            describe.log_error(logger, error, "%s died, and is replaced", thread.name)
            with self._lock:
                self._threads.remove(thread)
                if bell in self._resting:
                    self._resting.remove(bell)
                if self._guard is bell:
                    self._guard = None
                if not self._is_shut_down:
                    self._start_thread()

    def _serve_all(self, bell: _Bell, is_guard: bool) -> None:
        connections.watch_sessions()
        connections.claim_context()
        if is_guard:
            self._watch(bell)
        while (work := self._next(bell)) is not None:
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

    def _next(self, bell: _Bell) -> _Work | None:
        """Take what is next in line, or rest until something is; None after the shutdown."""
        rested_since: float | None = None
        while True:
            try:
                work = self._work.popleft()
                break
            except IndexError:
                pass
            with self._lock:
                # Once more: what was put until now was put for threads that rest.
                if self._work:
                    continue
                if self._is_shut_down:
                    return None
                self._resting.append(bell)
            rested_since = rested_since or time.monotonic()
            self._rest(bell)
        connections.tidy(0.0 if rested_since is None else time.monotonic() - rested_since)
        return work

    def _rest(self, bell: _Bell) -> None:
        try:
            is_guard = bell.get(timeout=self._idle_seconds)
        except queue.Empty:
            connections.give_back()
            is_guard = bell.get()
        if is_guard:
            self._watch(bell)

    def _watch(self, bell: _Bell) -> None:
        """Rest as the guard: when what waits is not taken, because calls take longer than they did, wake all."""
        while True:
            following = self._following()
            with contextlib.suppress(queue.Empty):
                bell.get(timeout=STALL_SECONDS)
                return
            with self._lock:
                if self._guard is not bell:
                    # Dismissed in this instant.
                    bell.get()
                    return
                now_following = self._following()
                if now_following is None or now_following is following:
                    self._guard = None
                    self._wake(len(self._work))
                    return

    def _following(self) -> _Work | None:
        try:
            return self._work[0]
        except IndexError:
            return None
