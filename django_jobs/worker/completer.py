"""Write what runs came to: one thread per process, one statement for all that has gathered."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import DatabaseError, InterfaceError
from django.db import connections as django_connections

from django_jobs.storage import connections, outcomes, statistics
from django_jobs.storage.connections import Call, ConnectionBackoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from django_jobs.storage.records import ClaimedRun, Outcome

MOST_AT_ONCE = 1000

T = TypeVar("T")


class Completer:
    """Takes outcomes from any thread, keeps them through an outage, and writes them.

    Alone, an outcome is written at once; while one statement is under way others gather for the next.

    Args:
        using: Alias of the database.
        on_written: Called on the completer's thread after each batch, with it.
    """

    def __init__(self, *, using: str, on_written: Callable[[list[tuple[ClaimedRun, Outcome]]], None]) -> None:
        self._using = using
        self._on_written = on_written
        # None is the last.
        self._outcomes: queue.SimpleQueue[tuple[ClaimedRun, Outcome] | Call[Any] | None] = queue.SimpleQueue()
        self._give_up = threading.Event()
        self._outage = ConnectionBackoff("completer", using)
        self._thread = threading.Thread(target=self._serve, name="django_jobs-completer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, run: ClaimedRun, outcome: Outcome) -> None:
        """Have an outcome written, in time."""
        self._outcomes.put((run, outcome))

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Have something done on this thread and its connection, after what was put before it."""
        call = Call(work)
        self._outcomes.put(call)
        return call.future

    def stop(self, timeout: float) -> bool:
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
        self._give_up.set()
        self._thread.join(1)
        return False

    def _serve(self) -> None:
        is_last = False
        while not is_last:
            batch: list[tuple[ClaimedRun, Outcome]] = []
            call: Call[Any] | None = None
            try:
                item = self._outcomes.get(timeout=statistics.seconds_until_due())
            except queue.Empty:
                statistics.flush_if_due(self._using)
                continue
            while True:
                if item is None:
                    is_last = True
                    break
                if isinstance(item, Call):
                    call = item
                    break
                batch.append(item)
                if len(batch) == MOST_AT_ONCE:
                    break
                try:
                    item = self._outcomes.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._write(batch)
                statistics.flush_if_due(self._using)
            if call is not None and not call.do():
                connections.discard(django_connections[self._using])
        if not self._give_up.is_set():
            statistics.flush(self._using)
        self._outage.close()
        connections.give_back()

    def _write(self, batch: list[tuple[ClaimedRun, Outcome]]) -> None:
        is_cut_down = has_failed = False
        while True:
            try:
                written = outcomes.finish(batch, using=self._using)
            except Exception as error:  # noqa: BLE001 - no outcome may end the thread that writes all others
                is_about_data = self._outage.is_about_data(error)
                if is_about_data and len(batch) > 1:
                    # One row that the database will not take must not keep the others from being written.
                    for one in batch:
                        self._write([one])
                    return
                if is_about_data and not is_cut_down:
                    batch = [_unstorable(*batch[0], error)]
                    is_cut_down = True
                    continue
                has_failed = True
                if self._give_up.wait(self._outage.failed(error)):
                    return
            else:
                self._outage.worked()
                break
        if has_failed:
            written |= self._written_before(batch, written)
        is_all = len(written) == len(batch)
        statistics.note_attempts(
            batch if is_all else [one for one in batch if (one[0].id, one[0].attempt) in written]
        )
        self._on_written(batch)
        for run, outcome in batch:
            outcomes.report_outcome(run, outcome, is_written=(run.id, run.attempt) in written)

    def _written_before(
        self, batch: list[tuple[ClaimedRun, Outcome]], written: set[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """Return what an earlier try had written already, whose answer was lost with its connection."""
        rest = [(run, outcome) for run, outcome in batch if (run.id, run.attempt) not in written]
        try:
            return {
                (run.id, run.attempt)
                for run, outcome in rest
                if outcomes.is_written(run, outcome, using=self._using)
            }
        except (DatabaseError, InterfaceError):
            # Only what is said of it is at stake: "refused" instead of "finished".
            return set()


def _unstorable(run: ClaimedRun, outcome: Outcome, error: Exception) -> tuple[ClaimedRun, Outcome]:
    outcome.status = "FAILED"
    outcome.result = None
    outcome.error = (
        f"{type(error).__name__}: the database refused the outcome of this run: {str(error)[:300]}"
    )
    outcome.traceback = ""
    outcome.exception = ""
    outcome.log = ""
    outcome.progress = None
    return run, outcome
