"""How a worker returns runs to the queue that it claimed and does not execute to their end."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.execution import outcomes, recording
from django_jobs.storage import endings, release, transactions
from django_jobs.storage.records import INTERRUPTED, PROGRESSED
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.records import ClaimedRun, Outcome
    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)

# How often one attempt may be handed back: one that outlasts every worker would begin without end.
MOST_INTERRUPTIONS = 20
# For each lock that somebody else holds on a run, while the worker stops.
LOCK_SECONDS = 2.0
# For functions that were interrupted to end.
END_SECONDS = 1.0


class Release:
    """Returns a worker's runs to the queue.

    Args:
        worker: Whose runs.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def waiting(self) -> None:
        """Return the claimed runs that wait for a thread."""
        unbegun = [attempt.run for attempt in self._worker.holdings.take_waiting()]
        for run in unbegun:
            self._worker.free_slot(run, self._worker.consumers.of(run))
        self.claims(unbegun)

    def stuck(self, seconds: float = 1.0) -> None:
        """Return what was prefetched, if some of it has waited for a thread for some seconds."""
        since = time.monotonic() - seconds
        stuck = [attempt for attempt in self._worker.holdings.waiting() if attempt.claimed_at < since]
        for attempt in stuck:
            # Runs here take longer than they used to: claim no more than there are threads.
            consumer = self._worker.consumers.of(attempt.run)
            consumer.seconds_per_run = max(consumer.seconds_per_run, seconds)
        if stuck:
            self.waiting()

    def claims(self, runs: Sequence[ClaimedRun]) -> None:
        """Return claimed runs whose functions were not called."""
        if not runs:
            return
        using = self._worker.using
        are_marked = any(endings.concerns(run.options) for run in runs)
        try:
            for worker_id in {run.worker_id for run in runs}:
                theirs = [run.key for run in runs if run.worker_id == worker_id]
                with self._patience():
                    release.release_claims(worker_id, theirs, are_marked=are_marked, using=using)
        except (DatabaseError, InterfaceError) as error:
            # While this worker lives, it looks for them when the database is back.
            self._worker.claim_loop.may_hold_unknown = True
            self._worker.local_start.note_unanswered(*(run.key for run in runs))
            self._log_failure(len(runs), error)
        self._worker.forget(runs)

    def begun(self, attempt: Attempt) -> None:
        """Return a run whose function has been called, or end it where it must not be called again."""
        if not self._worker.holdings.end(attempt):
            # It ended at this instant, or is handed back already.
            return
        outcome = attempt.recorded or _at_last(attempt)
        if outcome is not None:
            self._worker.completer.put(attempt.run, outcome)
            return
        entry = outcomes.cut_off(attempt, PROGRESSED if attempt.has_kept else INTERRUPTED)
        try:
            # The next attempt's log takes the place of this one's.
            recording.write_lines([attempt], using=self._worker.using)
            with self._patience():
                release.release_interrupted(attempt.run, entry, using=self._worker.using)
        except (DatabaseError, InterfaceError) as error:
            self._worker.holdings.leave_to_lease(attempt.key)
            self._log_failure(1, error)
        self._worker.forget([attempt.run])

    def running(self) -> None:
        """End what can be ended of what still runs, then return the rest: its process must end."""
        worker = self._worker
        # Before: another worker may begin a run in the instant that it is handed back.
        worker.consumers.shutdown()
        for attempt in worker.attempts():
            attempt.interrupt()
        worker.holdings.wait_empty(END_SECONDS)
        for attempt in worker.attempts():
            if not worker.holdings.is_over(attempt):
                logger.warning(
                    "worker=%s: job=%s run=%s does not end and is handed back; what it does is done again",
                    worker.id, printable(attempt.run.job_id), attempt.run.id,
                )  # fmt: skip
            self.begun(attempt)

    def _patience(self) -> AbstractContextManager[None]:
        """Wait for nobody's lock for long while the worker stops: the lease ends by itself."""
        if self._worker.is_stopping:
            return transactions.patient(self._worker.using, LOCK_SECONDS)
        return nullcontext()

    def _log_failure(self, count: int, error: Exception) -> None:
        logger.warning(
            "worker=%s could not hand back %s runs; they are rescued when its lease ends: %s",
            self._worker.id, count, printable(error),
        )  # fmt: skip


def _at_last(attempt: Attempt) -> Outcome | None:
    """Return how a run ends whose worker stops; None where another worker may begin it again."""
    run = attempt.run
    if run.options.get("at_most_once"):
        return outcomes.cut_off(attempt, f"{INTERRUPTED}, and at_most_once forbids another attempt")
    # Of this attempt: the next one is counted from none. And since it last came further.
    before = 0
    for entry in reversed(run.errors):
        if entry.get("error") == PROGRESSED:
            break
        before += entry.get("attempt") == run.attempt and str(entry.get("error")).startswith(INTERRUPTED)
    if attempt.has_kept or before < MOST_INTERRUPTIONS:
        return None
    return outcomes.cut_off(attempt, f"{INTERRUPTED} {before + 1} times before it ended")
