"""The `async def` runs of a worker: awaited on one event loop, so many at the same time, the others in line."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from django_jobs.execution import outcomes
from django_jobs.execution.engines.event_loop import LoopEngine

if TYPE_CHECKING:
    from concurrent.futures import Future

    from django_jobs.execution.attempt import Attempt, Awaitable
    from django_jobs.storage.records import Outcome
    from django_jobs.worker.consumers import Consumer
    from django_jobs.worker.worker import Worker

    # A begun run, what to await for it, and the consumer that it keeps a slot of while it waits.
    InLine = tuple[Attempt, Awaitable, Consumer]


class AsyncSlots:
    """Takes attempts from the threads that began them, and has them awaited.

    Args:
        worker: Whose attempts.
        slots: At the same time.
    """

    def __init__(self, worker: Worker, slots: int) -> None:
        self._worker = worker
        self._slots = slots
        self._loop = LoopEngine()
        # On the loop.
        self._taken = 0
        # They wait for others to end, and are in `holdings` as waiting.
        self._line: deque[InLine] = deque()

    @property
    def is_full(self) -> bool:
        """Whether another attempt would have to wait; claims wait meanwhile."""
        return self._taken >= self._slots

    def put(self, attempt: Attempt, awaitable: Awaitable, consumer: Consumer) -> bool:
        """Have an attempt awaited; return False when it waits for others, and keeps its consumer's slot."""
        with self._worker.lock:
            if self.is_full:
                attempt.stop_clock()
                self._worker.holdings.add(attempt)
                self._line.append((attempt, awaitable, consumer))
                return False
            self._taken += 1
        self._submit(attempt, awaitable)
        return True

    def shutdown(self, *, wait: bool) -> None:
        """Cancel what is still awaited, and end the loop."""
        self._loop.shutdown(wait=wait)

    def _submit(self, attempt: Attempt, awaitable: Awaitable) -> None:
        try:
            future = self._loop.submit(awaitable)
        except RuntimeError as error:
            with self._worker.lock:
                self._taken -= 1
            if not self._worker.is_stopping:
                self._worker.runner.cannot_begin(attempt.run, error)
            # Else it is handed back with the rest.
            return
        future.add_done_callback(lambda done: self._ended(attempt, done))

    def _ended(self, attempt: Attempt, future: Future[Outcome]) -> None:
        with self._worker.lock:
            was_full = self.is_full
            following = self._next()
            if following is None:
                self._taken -= 1
        if following is not None:
            self._begin(*following)
        try:
            outcome = future.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing else would end the run
            outcome = outcomes.of_error(attempt, error)
        self._worker.runner.end(attempt, outcome)
        if was_full:
            self._worker.wake()

    def _next(self) -> InLine | None:
        while self._line:
            following = self._line.popleft()
            if self._worker.holdings.take(following[0].key) is not None:
                return following
            # Taken back meanwhile.
        return None

    def _begin(self, attempt: Attempt, awaitable: Awaitable, consumer: Consumer) -> None:
        attempt.start_clock()
        if attempt.deadline is not None:
            self._worker.attend()
        self._submit(attempt, awaitable)
        self._worker.free_slot(attempt.run, consumer)
