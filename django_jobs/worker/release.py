"""How a worker returns runs to the queue that it claimed and does not execute to their end."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.execution import outcomes
from django_jobs.printable import printable
from django_jobs.storage import release
from django_jobs.storage.records import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.records import ClaimedRun, Outcome
    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)

# How often one attempt may be handed back: one that outlasts every worker would begin without end.
MOST_INTERRUPTIONS = 20


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
        try:
            for worker_id in {run.worker_id for run in runs}:
                theirs = [run.key for run in runs if run.worker_id == worker_id]
                release.release_claims(worker_id, theirs, using=using)
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
        outcome = _at_last(attempt)
        if outcome is not None:
            self._worker.completer.put(attempt.run, outcome)
            return
        entry = outcomes.cut_off(attempt, INTERRUPTED)
        try:
            release.release_interrupted(attempt.run, entry, using=self._worker.using)
        except (DatabaseError, InterfaceError) as error:
            self._worker.holdings.leave_to_lease(attempt.key)
            self._log_failure(1, error)
        self._worker.forget([attempt.run])

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
    # Of this attempt: the next one is counted from none.
    before = sum(
        entry.get("attempt") == run.attempt and str(entry.get("error")).startswith(INTERRUPTED)
        for entry in run.errors
    )
    if before < MOST_INTERRUPTIONS:
        return None
    return outcomes.cut_off(attempt, f"{INTERRUPTED} {before + 1} times before it ended")
