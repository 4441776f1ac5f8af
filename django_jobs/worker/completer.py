"""Write the outcomes of runs: one thread per process, one statement for all that has gathered."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import DatabaseError, InterfaceError
from django.db import connections as django_connections

from django_jobs.execution import recording
from django_jobs.storage import connections, outcomes, statistics
from django_jobs.storage.components import Component
from django_jobs.storage.connections import Call
from django_jobs.worker.refusals import Refusals, unstorable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from django_jobs.storage.records import ClaimedRun, Key, Outcome

BATCH = 1000

T = TypeVar("T")


class Completer(Component):
    """Takes outcomes from any thread, keeps them while the database is away, and writes them.

    Alone, an outcome is written immediately; while one statement is under way others gather for the next.

    Args:
        using: Alias of the database.
        on_written: Called on the completer's thread after each batch, with it.
    """

    def __init__(self, *, using: str, on_written: Callable[[list[tuple[ClaimedRun, Outcome]]], None]) -> None:
        super().__init__("completer", using)
        self._on_written = on_written
        # None is the last.
        self._outcomes: queue.SimpleQueue[tuple[ClaimedRun, Outcome] | Call[Any] | None] = queue.SimpleQueue()
        self._has_last = False

    def put(self, run: ClaimedRun, outcome: Outcome) -> None:
        """Have an outcome written."""
        self._outcomes.put((run, outcome))

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Have something done on this thread and its connection, after what was put before it."""
        call = Call(work)
        self._outcomes.put(call)
        return call.future

    def stop(self, timeout: float | None = None) -> bool:
        """Write what is left, then end.

        Args:
            timeout: Seconds to wait for a database that does not answer; after that the lease of
                the runs ends and they are executed again.

        Returns:
            Whether all was written.
        """
        self._outcomes.put(None)
        if self._thread.ident is None:
            # It could not be started.
            return True
        self._thread.join(timeout)
        if not self._thread.is_alive():
            return True
        # Give up.
        super().stop(1)
        return False

    def run(self) -> None:
        """Write until told that no more comes."""
        while not self._has_last:
            try:
                self._write_next()
                self.failure = None
                connections.forget_queries(django_connections[self.using])
            except BaseException as error:  # noqa: BLE001 - nothing may end the thread that writes all outcomes
                self.note_mistake(error)
        if not self.is_stopping:
            statistics.flush(self.using)

    def _write_next(self) -> None:
        """Wait for outcomes, and write all that there are; or do a call that comes after them."""
        try:
            item = self._outcomes.get(timeout=statistics.seconds_until_due())
        except queue.Empty:
            statistics.flush_if_due(self.using)
            return
        batch: list[tuple[ClaimedRun, Outcome]] = []
        while isinstance(item, tuple):
            batch.append(item)
            # Nobody else takes from it.
            if len(batch) == BATCH or self._outcomes.empty():
                break
            item = self._outcomes.get_nowait()
        self._has_last = item is None
        if batch:
            self._write(batch)
            statistics.flush_if_due(self.using)
        if isinstance(item, Call) and not item.do():
            connections.discard(django_connections[self.using])

    def _write(self, batch: list[tuple[ClaimedRun, Outcome]]) -> None:
        refusals = Refusals(self.using)
        has_failed = False
        while True:
            try:
                written = recording.record(batch, using=self.using)
            except Exception as error:  # noqa: BLE001 - no outcome may end the thread that writes all others
                if refusals.are_about_data(error, batch):
                    if len(batch) > 1:
                        # One row that the database will not take must not keep the others from being written.
                        for one in batch:
                            self._write([one])
                        return
                    batch = [unstorable(*batch[0], error)]
                    refusals = Refusals(self.using, is_last=True)
                    continue
                has_failed = True
                if refusals.are_repeated:
                    continue
                if self.rest(self.backoff.failed(error)):
                    return
            else:
                self.backoff.worked()
                break
        if has_failed:
            written |= self._written_before(batch, written)
        self._on_written(batch)
        recording.report(batch, written)

    def _written_before(self, batch: list[tuple[ClaimedRun, Outcome]], written: set[Key]) -> set[Key]:
        """Return what an earlier try had written already, whose answer was lost with its connection."""
        rest = [(run, outcome) for run, outcome in batch if run.key not in written]
        try:
            return {run.key for run, outcome in rest if outcomes.is_written(run, outcome, using=self.using)}
        except (DatabaseError, InterfaceError):
            # Only what is reported is at stake: "refused" instead of "finished".
            return set()
