"""Write the outcomes of runs: one thread per process, one statement for all that has gathered."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import DatabaseError, InterfaceError
from django.db import connections as django_connections

from django_jobs.execution import recording
from django_jobs.storage import connections, notifications, outcomes, statistics
from django_jobs.storage.components import Component
from django_jobs.storage.connections import Call
from django_jobs.storage.notifications.sqlite import OtherWriters
from django_jobs.worker.refusals import Refusals, unstorable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from django_jobs.storage.records import ClaimedRun, Key, Outcome

BATCH = 1000
# For what others write to be noticed on this thread; after that every commit is taken for theirs.
LOOK_SECONDS = 0.25

T = TypeVar("T")


class Completer(Component):
    """Takes outcomes from any thread, keeps them while the database is away, and writes them.

    Alone, an outcome is written immediately; while one statement is under way others gather for the next.

    Args:
        using: Alias of the database.
        record: Writes outcomes; as `recording.record`.
        on_written: Called on the completer's thread after each batch, with it.
    """

    def __init__(
        self,
        *,
        using: str,
        record: Callable[[list[tuple[ClaimedRun, Outcome]]], set[Key]],
        on_written: Callable[[list[tuple[ClaimedRun, Outcome]]], None],
    ) -> None:
        super().__init__("completer", using)
        self._record = record
        self._on_written = on_written
        # None is the last.
        self._outcomes: queue.SimpleQueue[tuple[ClaimedRun, Outcome] | Call[Any] | None] = queue.SimpleQueue()
        self._has_last = False
        self._others = OtherWriters(using)
        # Whether it has written since it was last asked for others, and until when it may answer (monotonic).
        self._has_written = False
        self._looks_until: float | None = None

    def put(self, run: ClaimedRun, outcome: Outcome) -> None:
        """Have an outcome written."""
        self._outcomes.put((run, outcome))

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Have something done on this thread and its connection, after what was put before it."""
        call = Call(work)
        self._outcomes.put(call)
        return call.future

    def looks_for_others(self) -> bool:
        """See `notifications.thread.Writer`; for SQLite, where it costs nobody a look at what is due.

        Without it the clock and the claim loop would ask the database a hundred times a second while outcomes
        are written: a fifth of the processor's time of an empty run.
        """
        now = time.monotonic()
        if self._looks_until is None:
            if not self._has_written:
                return False
            self._has_written, self._looks_until = False, now + LOOK_SECONDS
            self.call(self._look_for_others)
        return now < self._looks_until

    def _look_for_others(self) -> None:
        self._looks_until = None
        have_written = True
        try:
            have_written = self._others.have_written()
        finally:
            if have_written:
                notifications.notify_local(notifications.ANYTHING)

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
                connections.leave_replaced()
                self._write_next()
                self.liveness.note_success()
                connections.forget_queries(django_connections[self.using])
            except BaseException as error:  # noqa: BLE001 - nothing may end the thread that writes all outcomes
                self.liveness.note_mistake(error)
            finally:
                self.liveness.end_step()
        if not self.is_stopping:
            statistics.flush(self.using)

    def _write_next(self) -> None:
        """Wait for outcomes, and write all that there are; or do a call that comes after them."""
        try:
            item = self._outcomes.get(timeout=statistics.seconds_until_due())
        except queue.Empty:
            statistics.flush_if_due(self.using)
            return
        self.liveness.begin_step()
        batch: list[tuple[ClaimedRun, Outcome]] = []
        while isinstance(item, tuple):
            batch.append(item)
            # Nobody else takes from it.
            if len(batch) == BATCH or self._outcomes.empty():
                break
            item = self._outcomes.get_nowait()
        self._has_last = item is None
        if batch:
            # The commit may be heard before it has returned here, and what was asked for meanwhile looked at before it.
            self._has_written = True
            self._write(batch)
            statistics.flush_if_due(self.using)
            self._has_written = True
        if isinstance(item, Call):
            writes = item.work != self._look_for_others
            self._has_written |= writes
            if not item.do():
                connections.discard(django_connections[self.using])
            self._has_written |= writes

    def _write(self, batch: list[tuple[ClaimedRun, Outcome]]) -> None:
        refusals = Refusals(self.using)
        has_failed = False
        while True:
            try:
                written = self._record(batch)
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
