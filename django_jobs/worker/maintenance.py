"""Keep a worker alive in the others' eyes, and see to what its loop has no time for.

Heartbeat, rescue of dead workers' runs, time limits, cancel requests, progress.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from django_jobs.conf import jobs_settings
from django_jobs.execution.watchdog import CANCEL_SECONDS, PROGRESS_SECONDS, Watchdog
from django_jobs.storage import fairness, host_clock, identity, leases, notifications
from django_jobs.storage.components import Component
from django_jobs.storage.limits import line
from django_jobs.storage.statistics import depth
from django_jobs.worker import registration
from django_jobs.worker.pruner import Pruner
from django_jobs.worker.rescue import rescue
from django_jobs.worker.side_thread import SideThread
from django_jobs.worker.steadiness import Steadiness

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django_jobs.storage.notifications.thread import ListenerThread
    from django_jobs.worker.worker import Worker


class Maintainer(Component):
    """The second thread of a worker.

    Args:
        worker: The worker to keep.
        listener_thread: Of its process, if there is one: it need not hear the heartbeats.
        expect_due: Told at each heartbeat in how many seconds the next job is due, None for never.
        problems: Asked at each heartbeat what is wrong in its process.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        listener_thread: ListenerThread | None = None,
        expect_due: Callable[[float | None], None] | None = None,
        problems: Callable[[], list[str]] | None = None,
    ) -> None:
        settings = jobs_settings()
        # A heartbeat also looks for what nobody told this process of.
        self._heartbeat_seconds = min(settings.HEARTBEAT_SECONDS, settings.POLL_SECONDS)
        super().__init__("maintenance", worker.using, mistake_seconds=self._heartbeat_seconds)
        self._worker = worker
        self._listener_thread = listener_thread
        self._expect_due = expect_due
        self._problems = problems
        self._max_rescues = settings.MAX_RESCUES
        self._next_heartbeat = 0.0
        # The minute for which this process last saw to a sample of what waits.
        self._sampled_at: datetime | None = None
        self._sampler = SideThread("depth", "what waits was not counted; it will be in the next minute: ")
        self._watchdog = Watchdog(worker, worker.using)
        self.steadiness = Steadiness(worker)
        self._pruner = Pruner(worker.using)

    def start(self) -> None:
        """Start the thread."""
        # The database may have been away for all others until now.
        self.steadiness.doubt()
        self._worker.maintenance = self
        notifications.subscribe(self._heard)
        super().start()

    def stop(self, timeout: float | None = None) -> bool:
        """End the thread."""
        notifications.unsubscribe(self._heard)
        has_ended = super().stop(timeout)
        self._pruner.stop()
        self._sampler.stop()
        return has_ended

    def _heard(self, topic: str) -> None:
        if topic == notifications.CANCELS:
            self._watchdog.expect_requests()
            self.wake()

    def rest(self, seconds: float) -> bool:
        """Leave the database alone for some time; limits of time hold meanwhile."""
        # No longer than until the next heartbeat: others go by the lease once the database is back.
        return self._watchdog.rest(min(seconds, self._heartbeat_seconds), self._stopping)

    def look(self) -> float:
        """Do what is due; return the seconds until something else is."""
        # First: it needs no database.
        until_late = self._watchdog.hold_to_time()
        if time.monotonic() >= self._next_heartbeat:
            self.beat()
            self._next_heartbeat = time.monotonic() + self._heartbeat_seconds
        if not self._worker.is_stopping:
            self._pruner.look()
        # Woken by nothing else it still looks, in memory, whether something runs that could be cancelled.
        wait = CANCEL_SECONDS
        if self._worker.attempts():
            self._watchdog.look()
            wait = min(PROGRESS_SECONDS, until_late)
        return max(0.0, min(wait, self._next_heartbeat - time.monotonic()))

    def beat(self) -> None:
        """Extend the lease, and see to what others leave: runs of dead workers, work nobody told of."""
        worker = self._worker
        asked = time.monotonic()
        silent = asked - worker.last_heartbeat
        beat = self._extend_lease()
        if beat is None:
            worker.lose()
            asked = time.monotonic()
            beat = self._extend_lease()
            if beat is None:
                # Dead again already: somebody's clock is wrong, or ours. At the next heartbeat.
                return
        worker.last_heartbeat = time.monotonic()
        took = worker.last_heartbeat - asked
        host_clock.note(beat.now, took)
        self._say_how_it_is()
        is_steady = self.steadiness.note_heartbeat(beat.now, silent, took)
        gone = [peer for peer, key in beat.peers if identity.is_gone(key)]
        if gone or beat.has_orphans:
            rescue(beat.now, gone, using=self.using, max_rescues=self._max_rescues, by_lease=is_steady)
        if beat.held:
            worker.local_start.release_forgotten()
        worker.local_start.forget_old()
        worker.release.stuck()
        if line.may_be_used(using=self.using):
            line.sweep(using=self.using)
            fairness.sweep(using=self.using)
        if not worker.is_stopping:
            self._sample_depth(beat)
        self._tell_what_is_due(beat)

    def _sample_depth(self, beat: leases.Heartbeat) -> None:
        """Have what waits counted once a minute, where something does, beside this thread; else no query."""
        minute = depth.minute_of(beat.now)
        is_waiting = beat.next_ready is not None and beat.next_ready <= beat.now
        if not is_waiting or minute == self._sampled_at or self._sampler.is_busy:
            return
        self._sampled_at = minute
        if not depth.is_sampled(minute, using=self.using):
            # Of a million it takes seconds, and many on a slow disk: the lease must not wait for that.
            self._sampler.begin(partial(depth.sample, beat.now, using=self.using))

    def _say_how_it_is(self) -> None:
        """Have the worker's row say what is wrong in this process; no query while that stays as it is."""
        details = registration.details(
            problems=() if self._problems is None else self._problems(),
            clock_ahead=host_clock.notable_seconds(),
            queue_threads=self._worker.queue_threads,
            is_quiet=self._worker.is_stopping,
            before=self._worker.details,
        )
        if details != self._worker.details:
            registration.write_details(self._worker, details)

    def _extend_lease(self) -> leases.Heartbeat | None:
        def extend() -> leases.Heartbeat | None:
            return leases.heartbeat(
                self._worker.id,
                lease_seconds=self._worker.lease_seconds,
                host=identity.host(),
                has_clock=self._expect_due is not None,
                using=self.using,
            )

        return extend() if self._listener_thread is None else self._listener_thread.unheard(extend)

    def _tell_what_is_due(self, beat: leases.Heartbeat) -> None:
        """Have looked for what a lost notice was about, and for what comes before the next heartbeat."""
        if beat.next_ready is not None:
            seconds = (beat.next_ready - beat.now).total_seconds()
            if (
                seconds < self._heartbeat_seconds * 1.5
                and time.monotonic() + seconds < self._worker.claim_loop.next_look
            ):
                self._worker.wake()
        if self._expect_due is not None:
            seconds_until = None if beat.next_due is None else (beat.next_due - beat.now).total_seconds()
            self._expect_due(seconds_until)
