"""The thread that claims runs for a worker's free slots."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError
from django.db import connections as django_connections

from django_jobs.conf import jobs_settings
from django_jobs.storage import claims, fences, notifications
from django_jobs.storage.components import Component

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_jobs.storage.records import ClaimedRun
    from django_jobs.worker.consumers import Consumer
    from django_jobs.worker.worker import Worker


class ClaimLoop(Component):
    """Claims when there may be work: after a notice, when a deferred run is due, or when a slot is free again.

    Args:
        worker: That claims.
        consumers: Those of its consumers that it claims for.

    Attributes:
        next_look: Monotonic time at which it looks by itself.
        is_claiming: Whether a claim is under way; changes with the worker's lock held.
        may_hold_unknown: A claim may have been made whose answer was lost.
    """

    def __init__(self, worker: Worker, consumers: Iterable[Consumer]) -> None:
        self._poll_seconds = jobs_settings().POLL_SECONDS
        super().__init__("worker", worker.using, mistake_seconds=self._poll_seconds)
        self._worker = worker
        self._consumers = tuple(consumers)
        self._claims_on_completer = django_connections[worker.using].vendor == "sqlite"
        self.next_look = math.inf
        self.is_claiming = False
        self.may_hold_unknown = False

    def start(self) -> None:
        """Start the thread, and listen to notices."""
        super().start()
        notifications.subscribe(self._heard)

    def stop(self, timeout: float | None = None) -> bool:
        """Claim no more."""
        notifications.unsubscribe(self._heard)
        return super().stop(timeout)

    def _heard(self, topic: str) -> None:
        if topic in {notifications.RUNS, notifications.QUEUES, notifications.ANYTHING}:
            self.wake()

    def look(self) -> float | None:
        """Claim while there are free slots."""
        try:
            if self.may_hold_unknown:
                # Before, not after: another thread may find a reason to look again meanwhile.
                self.may_hold_unknown = False
                self._worker.local_start.release_unknown()
            wait = min((self._claim_for(consumer) for consumer in self._consumers), default=math.inf)
        except (DatabaseError, InterfaceError):
            self.may_hold_unknown = True
            raise
        self.next_look = time.monotonic() + wait
        return None if wait == math.inf else wait

    def _claim_for(self, consumer: Consumer) -> float:
        """Claim a consumer's runs; return the seconds until there may be more."""
        while not self.is_stopping:
            free = self._worker.free_slots(consumer)
            if free < 1:
                consumer.is_drained = False
                return math.inf
            claimed = self._claim(free, consumer)
            consumer.is_drained = claimed < free
            if consumer.is_drained:
                break
        due = claims.seconds_until_ready(
            queues=consumer.queues,
            others=consumer.others,
            within=2 * self._poll_seconds,
            using=self.using,
        )
        wait = math.inf if due is None else due + 0.001
        # Maintenance says what is due; without it this must be looked for.
        return wait if self._worker.maintenance is not None else min(wait, self._poll_seconds)

    def _claim(self, limit: int, consumer: Consumer) -> int:
        """Claim runs and have them executed; return how many."""
        with self._worker.lock:
            self.is_claiming = True
        try:
            runs = self._claim_runs(limit, consumer)
            self._worker.runner.accept_all(runs)
        finally:
            with self._worker.lock:
                self.is_claiming = False
        return len(runs)

    def _claim_runs(self, limit: int, consumer: Consumer) -> list[ClaimedRun]:
        """Claim on this thread; on SQLite on the completer's.

        A SQLite connection forgets all pages that it has read when another one writes, and two that write
        sleep while they wait for each other: on one, both take half the time.
        """

        def claim() -> list[ClaimedRun]:
            fence = fences.new_fence()
            try:
                return claims.claim(
                    self._worker.id,
                    limit=limit,
                    queues=consumer.queues,
                    others=consumer.others,
                    unknown=self._worker.skew.excluded(),
                    fence=fence,
                    start=consumer.claim_start,
                    using=self.using,
                )
            except BaseException:
                self._worker.local_start.note_unanswered(fence)
                raise

        if not self._claims_on_completer:
            return claim()
        future = self._worker.completer.call(claim)
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                # A file that is locked for long keeps the completer, but not a worker that stops.
                if self.is_stopping and future.cancel():
                    return []
