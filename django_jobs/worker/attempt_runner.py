"""What a worker does with a claimed run: give it to a consumer's thread, take its steps there, pass on its outcome."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings
from django_jobs.execution import outcomes
from django_jobs.execution.attempt import Attempt
from django_jobs.execution.engines.pool import CannotStart, ProcessDied
from django_jobs.storage import leases
from django_jobs.storage.connections import ConnectionBackoff
from django_jobs.storage.records import Outcome
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.execution.attempt import Begun
    from django_jobs.execution.engines.pool import Pool
    from django_jobs.storage.records import ClaimedRun, Key
    from django_jobs.worker.consumers import Consumer
    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)

# Before a run is handed back that nothing here could be started for.
REFUSED_SECONDS = 1.0


class AttemptRunner:
    """Has a worker's attempts executed.

    Args:
        worker: Whose attempts.

    Attributes:
        accepted: Runs so far.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._max_rescues = jobs_settings().MAX_RESCUES
        self.accepted = 0

    def accept(self, run: ClaimedRun, *, is_wanted: Callable[[], bool] | None = None) -> None:
        """Give a claimed run to a thread.

        Args:
            run: As claimed.
            is_wanted: Asked with the worker's lock held; the run is left alone where it says no.

        Raises:
            RuntimeError: The worker has stopped.
        """
        worker = self._worker
        attempt = Attempt(run, report_progress=worker.note_progress)
        with worker.lock:
            if is_wanted is not None and not is_wanted():
                return
            worker.holdings.add(attempt)
            consumer = worker.consumers.take_slot(run)
            self.accepted += 1
        consumer.engine.call(self._run, attempt.key, consumer)

    def accept_all(self, runs: Sequence[ClaimedRun]) -> None:
        """Give the runs of one claim to threads, as many as they are worth; see `accept`.

        They wait in one line, where any thread takes them, and a worker that stops takes them back.
        """
        worker = self._worker
        attempts = [Attempt(run, report_progress=worker.note_progress) for run in runs]
        calls: defaultdict[Consumer, list[tuple[Key, Consumer]]] = defaultdict(list)
        with worker.lock:
            for attempt in attempts:
                worker.holdings.add(attempt)
                consumer = worker.consumers.take_slot(attempt.run)
                calls[consumer].append((attempt.key, consumer))
            self.accepted += len(attempts)
        for consumer, theirs in calls.items():
            consumer.engine.call_each(self._run, theirs, seconds=consumer.seconds_per_run)

    def _run(self, key: Key, consumer: Consumer) -> None:
        """Take an attempt's steps, on a consumer's thread."""
        attempt = self._worker.holdings.take(key)
        if attempt is None:
            # Taken back before it began.
            return
        began = time.monotonic()
        keeps_slot = False
        try:
            attempt.begin()
            if attempt.deadline is not None:
                self._worker.attend()
            begun = attempt.execute() if consumer.pool is None else self._execute_in(consumer.pool, attempt)
            if isinstance(begun, Outcome):
                self.end(attempt, begun)
            elif begun is not None:
                # What cannot be awaited yet keeps its slot: no more is claimed meanwhile.
                keeps_slot = not self._worker.async_slots.put(attempt, begun, consumer)
        except BaseException as error:  # noqa: BLE001 - a mistake of ours; without an end the run would stay RUNNING
            describe.log_error(logger, error, "worker=%s: executing run=%s failed", self._worker.id, key[0])
            self.end(attempt, outcomes.of_error(attempt, error))
        finally:
            if not keeps_slot:
                self._worker.free_slot(attempt.run, consumer, time.monotonic() - began)

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        """Have an outcome recorded, or its run handed back if its worker's end interrupted it."""
        if attempt.is_interrupted and self._worker.is_stopping:
            # With all others, when nothing of them goes on.
            self._worker.holdings.note_over(attempt)
        elif attempt.is_interrupted:
            # Not here: an event loop's thread must not use the database.
            self._worker.completer.call(partial(self._worker.release.begun, attempt))
        elif self._worker.skew.takes(attempt, outcome):
            # Not this process's to decide alone.
            return
        elif self._worker.holdings.end(attempt):
            self._worker.completer.put(attempt.run, outcome)
        # Else it was handed back meanwhile: somebody else executes it.

    def cannot_begin(self, run: ClaimedRun, error: Exception) -> None:
        """Hand back a run whose function cannot be called: the system refused a thread or a process."""
        logger.error(
            "worker=%s: job=%s run=%s cannot begin here: %s",
            self._worker.id,
            printable(run.job_id),
            run.id,
            printable(error),
        )
        # Or it would be claimed again immediately, and again.
        self._worker.claim_loop.rest(REFUSED_SECONDS)
        self._worker.release.claims([run])

    def _execute_in(self, pool: Pool, attempt: Attempt) -> Begun | None:
        """Have an attempt executed by a pool; return None when its process died, and the run is seen to."""
        try:
            return pool.execute(attempt)
        except CannotStart as error:
            self.cannot_begin(attempt.run, error)
            return None
        except ProcessDied as death:
            outcome = outcomes.of_killed(attempt, str(death))
            if outcome is None:
                self._rescue(attempt.run, str(death))
                self._worker.forget([attempt.run])
            return outcome

    def _rescue(self, run: ClaimedRun, reason: str) -> None:
        """Write that a run's process died, as if its worker had."""
        using = self._worker.using
        backoff = ConnectionBackoff("engine", using)
        while True:
            try:
                rescued = leases.rescue_one(run, reason, max_rescues=self._max_rescues, using=using)
            except (DatabaseError, InterfaceError) as error:
                if self._worker.claim_loop.rest(backoff.failed(error)):
                    # Its lease does the rest.
                    backoff.close()
                    return
            else:
                backoff.worked()
                if rescued is not None:
                    leases.report_rescues([rescued], using=using)
                return
