"""The worker of one process: it claims runs, has them executed, and has their outcomes written.

A run enters each part once: `claim_loop` claims it, `attempt_runner` gives it to a thread and takes its steps,
`async_slots` has `async def` functions awaited, `completer` writes what it came to. `holdings` knows where it
is; `release` returns it to the queue where it cannot be executed to its end.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from django_jobs import signals
from django_jobs.conf import jobs_settings, queues_of
from django_jobs.execution import outcomes
from django_jobs.storage import claims, identity, notifications
from django_jobs.worker import registration
from django_jobs.worker.async_slots import AsyncSlots
from django_jobs.worker.attempt_runner import AttemptRunner
from django_jobs.worker.claim_loop import ClaimLoop
from django_jobs.worker.completer import Completer
from django_jobs.worker.consumers import consumers as consumers_for
from django_jobs.worker.holdings import Holdings
from django_jobs.worker.local_start import LocalStart
from django_jobs.worker.release import Release
from django_jobs.worker.skew import Skew
from django_jobs.worker.successors import Successors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.components import Component
    from django_jobs.storage.records import ClaimedRun, Outcome
    from django_jobs.worker.consumers import Consumer, Consumers

logger = logging.getLogger(__name__)


class Worker:
    """The parts of a worker, its row in the database, and its start and stop.

    Args:
        using: Alias of the database.
        queues: Names to serve; empty means all.
        threads: Plain functions at the same time; None for the setting.
        async_runs: `async def` functions at the same time; None for the setting.
        has_clock: Whether a clock runs beside it; only said in its row.
        consumers: None for those that the queues' engines need.
        claims: Whether it looks for runs by itself.
        queue_threads: Queues that take at most so many of its threads, over the setting.

    Attributes:
        id: Of its row; another one after it was taken for dead.
        last_heartbeat: Monotonic time at which its lease was last extended.
        maintenance: The thread that extends it, if there is one.
        lock: Of all its parts: a run moves from one to the next under it.
    """

    def __init__(
        self,
        *,
        using: str,
        queues: Sequence[str] = (),
        threads: int | None = None,
        async_runs: int | None = None,
        has_clock: bool = False,
        consumers: Consumers | None = None,
        claims: bool = True,
        queue_threads: Mapping[str, int] | None = None,
    ) -> None:
        settings = jobs_settings()
        self.using = using
        self.queues = tuple(queues)
        self.threads = settings.THREADS if threads is None else threads
        self.has_clock = has_clock
        self.lease_seconds = settings.LEASE_SECONDS
        self.id = identity.new_worker_id()
        self.last_heartbeat = 0.0
        # As its row has it.
        self.queue_threads = {**settings.QUEUE_THREADS, **(queue_threads or {})}
        self.details = registration.details(queue_threads=self.queue_threads)
        self.maintenance: Component | None = None
        self.lock = threading.Lock()
        self.consumers = consumers or consumers_for(
            queues=self.queues, threads=self.threads, settings=settings, queue_threads=queue_threads
        )
        self.holdings = Holdings(self.lock)
        self.release = Release(self)
        self.successors = Successors(self)
        self.completer = Completer(using=using, record=self.successors.record, on_written=self.note_written)
        self.async_slots = AsyncSlots(self, settings.ASYNC_RUNS if async_runs is None else async_runs)
        self.runner = AttemptRunner(self)
        self.local_start = LocalStart(self)
        self.skew = Skew(self, is_told=not claims)
        self.claim_loop = ClaimLoop(self, self.consumers if claims else ())

    # Its row

    def register(self, worker_id: str = "") -> None:
        """Write a row for this worker, or for another id; only then may it claim under that id."""
        registration.open_row(self, worker_id or self.id)
        self.last_heartbeat = time.monotonic()

    def lose(self) -> None:
        """Note that this worker was taken for dead: its runs belong to others; go on under a new id.

        Raises:
            DatabaseError: The new row could not be written; call again.
        """
        fresh = identity.new_worker_id()
        # Before anything is claimed under it: a run of a worker without a row is taken for orphaned.
        self.register(fresh)
        lost, self.id = self.id, fresh
        for attempt in self.attempts():
            if attempt.run.worker_id == lost:
                attempt.stop("lost")
        signals.emit(signals.worker_lost, worker_id=lost)

    def close_row(self) -> None:
        """Close the row, once nothing extends its lease: a closed row is that of a dead worker."""
        registration.close_row(self)
        signals.emit(signals.worker_stopped, worker_id=self.id)

    # Start and stop

    def start(self) -> None:
        """Register, and begin to claim.

        Raises:
            DatabaseError: The row could not be written.
            RuntimeError: No thread can be started.
        """
        self.register()
        try:
            self.completer.start()
            self.claim_loop.start()
        except RuntimeError:
            self.claim_loop.stop()
            self.completer.stop(1.0)
            self.close_row()
            raise
        signals.emit(
            signals.worker_started,
            worker_id=self.id,
            queues=self.queues,
            threads=self.threads,
            has_clock=self.has_clock,
        )

    @property
    def is_stopping(self) -> bool:
        """Whether it claims no more."""
        return self.claim_loop.is_stopping

    def stop_claiming(self) -> None:
        """Claim no more, and hand back what no thread has begun."""
        self.claim_loop.stop()
        self.release.waiting()

    def stop(self, timeout: float) -> bool:
        """Stop claiming, let running work finish, and hand back the rest; `close_row` comes next.

        Args:
            timeout: Seconds that running work may take; then it is told to stop, and handed back
                without counting an attempt, or FAILED where it must not begin twice.

        Returns:
            Whether everything that ran had finished.
        """
        self.stop_claiming()
        running = len(self.attempts())
        if running and timeout:
            logger.info("worker=%s stops, and waits for %s runs: at most %g s", self.id, running, timeout)
        has_ended = self.holdings.wait_empty(timeout)
        if not has_ended:
            for attempt in self.attempts():
                attempt.stop("shutdown")
            # A moment for those that listen.
            self.holdings.wait_empty(min(1.0, timeout / 10))
            # One that was promised may have come since.
            self.release.waiting()
            self.release.running()
        self.consumers.shutdown()
        self.async_slots.shutdown(wait=has_ended)
        is_written = self.completer.stop(max(1.0, timeout))
        return has_ended and is_written

    # What it does and has to do

    @property
    def is_idle(self) -> bool:
        """Whether it holds no run, is about to hold none, and has written all outcomes."""
        with self.lock:
            return (
                self.holdings.are_none() and not self.claim_loop.is_claiming and not self.local_start.recent()
            )

    @property
    def claims(self) -> int:
        """How many runs it has claimed so far, or begun without a claim."""
        return self.runner.accepted

    def has_nothing_due(self) -> bool:
        """Ask the queue whether no run is due that this worker would claim."""
        # Celery's are dispatched to its workers.
        others = queues_of("celery")
        return not claims.is_any_due(
            self.id, queues=self.queues, others=others, unknown=self.skew.excluded(), using=self.using
        )

    def wake(self) -> None:
        """Look for work now."""
        self.claim_loop.wake()

    def attend(self) -> None:
        """Have maintenance look: an attempt has a limit of time, or made progress."""
        if self.maintenance is not None:
            self.maintenance.wake()

    # Slots

    def free_slots(self, consumer: Consumer) -> int:
        """Return how many runs may be claimed for a consumer now."""
        with self.lock:
            return 0 if self.async_slots.is_full else consumer.free

    def free_slot(self, run: ClaimedRun, consumer: Consumer, seconds: float | None = None) -> None:
        """Free the slot that a run took.

        Args:
            run: That was claimed.
            consumer: That executed it.
            seconds: How long it took; None where it was not executed.
        """
        with self.lock:
            if seconds is not None:
                consumer.note(seconds)
            claiming = self.consumers.free_slot(run, consumer)
            is_hungry = claiming.is_hungry and not claiming.is_drained
        if is_hungry:
            self.wake()

    # What the watchdog asks

    def attempts(self) -> list[Attempt]:
        """Return the attempts that are under way or wait for a thread."""
        return self.holdings.attempts()

    def note_progress(self, attempt: Attempt) -> None:
        """Note that an attempt's progress changed, and is to be written."""
        if self.holdings.note_progress(attempt):
            self.attend()

    def take_progress(self) -> list[Attempt]:
        """Return the attempts whose progress changed since the last call."""
        return self.holdings.take_progress()

    def stop_requests(self) -> Iterable[tuple[int, str]]:
        """Ask which of its runs somebody wants cancelled."""
        return ((run_id, "cancelled") for run_id in claims.cancel_requests(self.id, using=self.using))

    def stop_run(self, run_id: int, reason: str) -> None:
        """Tell the attempts of a run to end; one that has not begun is ended here."""
        for attempt in self.attempts():
            if attempt.run.id != run_id:
                continue
            if reason == "cancelled" and self.holdings.take(attempt.key) is not None:
                self.runner.end(attempt, outcomes.never_begun("CANCELLED", "cancelled before it began"))
                self.free_slot(attempt.run, self.consumers.of(attempt.run))
            else:
                attempt.stop(reason)

    # What becomes of its runs

    def note_written(self, batch: Sequence[tuple[ClaimedRun, Outcome]]) -> None:
        """Note that outcomes are written, or refused; called by the completer."""
        if any(outcome.status == "READY" for _, outcome in batch):
            # To be tried again: know when.
            self.wake()
        self.holdings.written(run.key for run, _ in batch)
        notifications.notify_local(notifications.FINISHED)

    def forget(self, runs: Sequence[ClaimedRun]) -> None:
        """Note that runs are no longer this worker's."""
        self.holdings.forget(run.key for run in runs)
        notifications.notify_local(notifications.RUNS)
