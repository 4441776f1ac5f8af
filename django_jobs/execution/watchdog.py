"""What attempts under way are watched for: their limits of time, cancel requests, and their progress."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Protocol

from django.db import DatabaseError, InterfaceError

from django_jobs.execution import recording
from django_jobs.storage import connections, fences, outcomes
from django_jobs.storage.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from django_jobs.execution.attempt import Attempt

# How old the first unwritten line of a log is when it is written: runs that end sooner write it with their outcome.
LINES_SECONDS = 0.5
# Between two looks: at what progress and lines are to be written, and at what somebody wants cancelled.
PROGRESS_SECONDS = 0.5
CANCEL_SECONDS = 1.0


class Watched(Protocol):
    """Who has attempts under way."""

    def attempts(self) -> Sequence[Attempt]:
        """Return them."""

    def take_progress(self) -> Sequence[Attempt]:
        """Return those whose progress has changed since this was last called."""

    def stop_requests(self) -> Iterable[tuple[int, str]]:
        """Ask the database which runs are to end; return their ids, each with a reason."""

    def stop_run(self, run_id: int, reason: str) -> None:
        """Tell the attempts of a run to end."""


class Watchdog:
    """Watches somebody's attempts, on whatever thread calls it.

    Args:
        watched: Whose attempts.
        using: Alias of the database.
    """

    def __init__(self, watched: Watched, using: str) -> None:
        self._watched = watched
        self._using = using
        self._next_progress = 0.0
        self._next_requests = time.monotonic() + CANCEL_SECONDS

    def hold_to_time(self) -> float:
        """Tell those to end whose time is over, and interrupt those told; needs no database.

        Returns:
            Seconds until the next has to be told or interrupted.
        """
        now, wait = time.monotonic(), math.inf
        for attempt in self._watched.attempts():
            # Read once: it has none while the run waits for its turn on the loop.
            deadline = attempt.deadline
            if deadline is not None and not attempt.context.must_stop:
                if deadline > now:
                    wait = min(wait, deadline - now)
                    continue
                attempt.stop("timeout")
            if attempt.interrupt_at is not None:
                if attempt.interrupt_at > time.monotonic():
                    wait = min(wait, attempt.interrupt_at - now)
                else:
                    attempt.interrupt()
                    wait = min(wait, attempt.interrupt_at - now)
        return wait

    def look(self) -> None:
        """Write progress and heed requests to end a run, if it is time to.

        Raises:
            DatabaseError: The database is away.
        """
        now = time.monotonic()
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_SECONDS
            for attempt in self._watched.take_progress():
                if attempt.context.progress is not None:
                    outcomes.set_progress(attempt.run, attempt.context.progress, using=self._using)
            recording.write_lines(self._watched.attempts(), older_than=LINES_SECONDS, using=self._using)
        if now >= self._next_requests:
            self._next_requests = now + CANCEL_SECONDS
            for run_id, reason in self._watched.stop_requests():
                self._watched.stop_run(run_id, reason)

    def expect_requests(self) -> None:
        """Have the next look ask for requests: there is one."""
        self._next_requests = 0.0

    def rest(self, seconds: float, stopping: threading.Event) -> bool:
        """Leave the database alone for some time, and hold attempts to theirs; return whether it was ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if stopping.wait(max(0.0, min(left, self.hold_to_time(), PROGRESS_SECONDS))):
                return True
        return stopping.is_set()


class AttemptWatch:
    """Watches one attempt where no worker's maintenance does, on a thread of its own, for a `with` block.

    Args:
        attempt: The attempt.
        using: Alias of the database that progress is written to and requests are read from; None to
            hold the attempt to its time only, with no thread where it has no limit.
    """

    def __init__(self, attempt: Attempt, using: str | None = None) -> None:
        self._attempt = attempt
        self._using = using
        self._watchdog = Watchdog(self, using or "")
        self._written = attempt.context.progress
        self._is_over = threading.Event()
        self._liveness = Liveness("watch")
        self._thread: threading.Thread | None = None

    def __enter__(self) -> AttemptWatch:
        if self._using is not None or self._attempt.deadline is not None:
            self._thread = threading.Thread(target=self._serve, name="django_jobs-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        connections.claim_context()
        wait: float | None = 0.0
        while not self._is_over.wait(wait):
            wait = self._look()
        connections.give_back()

    def _look(self) -> float | None:
        wait = self._watchdog.hold_to_time()
        if self._using is None:
            return None if wait == math.inf else wait
        try:
            self._watchdog.look()
        except (DatabaseError, InterfaceError):
            # Whoever writes the outcome says that it is away.
            connections.give_back()
        except BaseException as error:  # noqa: BLE001 - or the attempt would have no limit of time any more
            self._liveness.note_mistake(error)
        return max(0.01, min(wait, PROGRESS_SECONDS))

    # What the watchdog asks

    def attempts(self) -> Sequence[Attempt]:
        """Return the one attempt."""
        return (self._attempt,)

    def take_progress(self) -> Sequence[Attempt]:
        """Return the attempt if its progress is another than the last that was written."""
        progress = self._attempt.context.progress
        if progress is self._written:
            return ()
        self._written = progress
        return (self._attempt,)

    def stop_requests(self) -> Iterable[tuple[int, str]]:
        """Ask whether the run is to be cancelled, or somebody else's by now."""
        run = self._attempt.run
        if self._attempt.context.must_stop or self._attempt.recorded or self._using is None:
            return
        held = fences.of_claim(run, using=self._using)
        is_cancelled = held.values_list("cancel_requested", flat=True).first()
        if is_cancelled is None:
            yield run.id, "lost"
        elif is_cancelled:
            yield run.id, "cancelled"

    def stop_run(self, run_id: int, reason: str) -> None:
        """Tell the attempt to end."""
        self._attempt.stop(reason)
