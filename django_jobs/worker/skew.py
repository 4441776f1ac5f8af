"""Version skew: what a worker does with runs that need something that its process does not know.

While a deploy rolls out, processes of the old version claim runs whose functions only the new one has. Such a
run goes back to the queue, and no attempt is counted. This worker leaves runs of that function to others from
then on. The run ends as its outcome says once no live process may know what it needs, and none has come in
VERSION_SKEW_SECONDS.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings
from django_jobs.exceptions import FunctionNotFound
from django_jobs.execution import instrumentation
from django_jobs.storage import release, skew
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.records import ClaimedRun, Outcome
    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)

# Functions that one worker leaves to others at the same time: each is a parameter of its claims.
MOST_EXCLUDED = 100
# Before a worker looks again whether another one may know what it does not.
LOOK_SECONDS = 30.0
# Until that was asked for the first time.
ASKING_SECONDS = 5.0
# Before a run is due again that is not left out by its function.
SHORTEST_DELAY, LONGEST_DELAY = 1.0, 30.0


class Skew:
    """What one worker's process does not know.

    Args:
        worker: The worker.
        is_told: Somebody else says which runs it claims, so it cannot leave out functions.
    """

    def __init__(self, worker: Worker, *, is_told: bool) -> None:
        self._worker = worker
        self._most_excluded = 0 if is_told else MOST_EXCLUDED
        self._grace = jobs_settings().VERSION_SKEW_SECONDS
        self._lock = threading.Lock()
        # Functions that it does not claim runs of, and until when (monotonic).
        self._excluded: dict[str, float] = {}
        # What nobody knows and is not waited for any more, and until when that is not asked again.
        self._given_up: dict[str, float] = {}
        # What it has met.
        self._met: set[str] = set()

    def excluded(self) -> tuple[str, ...]:
        """Return the functions that the worker leaves to others for now."""
        if not self._excluded:
            return ()
        now = time.monotonic()
        with self._lock:
            self._excluded = {func: until for func, until in self._excluded.items() if until > now}
            return tuple(self._excluded)

    def takes(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Return whether an attempt's outcome is not written yet: its run may be another process's.

        If so it is decided on the completer's thread, which an event loop's must not wait for.
        """
        if not outcome.unknown:
            if self._met and attempt.run.func in self._met:
                self._worker.completer.call(lambda: self._found(attempt.run.func))
            return False
        if self._grace == 0 or self._given_up.get(outcome.unknown, 0) > time.monotonic():
            self._give_up(attempt, outcome)
            return False
        if outcome.unknown == attempt.run.func:
            # Before its slot is free: the next claim would find it again.
            self._exclude(outcome.unknown, ASKING_SECONDS)
        self._worker.completer.call(lambda: self._decide(attempt, outcome))
        return True

    @staticmethod
    def _give_up(attempt: Attempt, outcome: Outcome) -> None:
        """Tell observers what the attempt came to: it is an end only now."""
        if instrumentation.installed:
            # It was raised in a child process, perhaps.
            attempt.raised = attempt.raised or FunctionNotFound(outcome.error)
            attempt.observed(outcome)

    def _exclude(self, func: str, seconds: float) -> None:
        with self._lock:
            if func in self._excluded or len(self._excluded) < self._most_excluded:
                self._excluded[func] = time.monotonic() + seconds

    def _decide(self, attempt: Attempt, outcome: Outcome) -> None:
        """Return a run to the queue, or have its outcome written where nobody is left to wait for."""
        run, what, using = attempt.run, outcome.unknown, self._worker.using
        grace = timedelta(seconds=self._grace)
        try:
            found = skew.note(run.worker_id, run.queue_name, what, grace=grace, using=using)
        except (DatabaseError, InterfaceError):
            # As any claimed run that cannot be executed: maintenance sees to it when the database is back.
            self._worker.release.claims([run])
            return
        left = self._grace - found.for_seconds
        is_waited_for = left > 0 or found.may_be_known
        if not self._worker.holdings.end(attempt):
            return
        if not is_waited_for:
            with self._lock:
                self._given_up[what] = time.monotonic() + LOOK_SECONDS
                self._excluded.pop(what, None)
            self._give_up(attempt, outcome)
            self._worker.completer.put(run, outcome)
            return
        if what not in self._met:
            logger.warning(
                "worker=%s: job=%s run=%s goes back to the queue, for a process that knows %s: %s",
                run.worker_id, printable(run.job_id), run.id, printable(what), printable(outcome.error),
            )  # fmt: skip
        self._met.add(what)
        delay = min(max(found.for_seconds, SHORTEST_DELAY), LONGEST_DELAY)
        if what == run.func:
            self._exclude(what, left if left > 0 else LOOK_SECONDS)
            if what in self._excluded:
                delay = 0.0
        self._return(run, f"Waits for a process that knows {what} ({outcome.error})", delay)

    def _return(self, run: ClaimedRun, reason: str, delay: float) -> None:
        worker = self._worker
        try:
            release.release_unknown(run, reason, delay=delay, using=worker.using)
        except (DatabaseError, InterfaceError):
            worker.release.claims([run])
            return
        worker.forget([run])

    def _found(self, func: str) -> None:
        """Note that the process knows a function after all: its module could not be imported for a while."""
        if func in self._met:
            self._met.discard(func)
            skew.forget(self._worker.id, func, using=self._worker.using)
