"""Keep a worker alive in the others' eyes, and see to what its loop has no time for.

Heartbeat, rescue of dead workers' runs, time limits, cancel requests, progress.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError
from django.db.models import Exists, OuterRef

from django_jobs.conf import jobs_settings
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import claims, connections, identity, leases, notifications, outcomes
from django_jobs.storage.connections import ConnectionBackoff
from django_jobs.storage.queues import paused_queues
from django_jobs.worker.pruner import Pruner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django_jobs.execution.runner import Execution
    from django_jobs.storage.notifications.thread import ListenerThread
    from django_jobs.worker.loop import Worker

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
CANCEL_SECONDS = 1.0


class Maintainer:
    """The second thread of a worker.

    Args:
        worker: The worker to keep.
        listener: Those of its process, if it has any: they need not hear its heartbeats.
        expect_due: Told at each heartbeat in how many seconds the next job is due, None for never.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        listener_thread: ListenerThread | None = None,
        expect_due: Callable[[float | None], None] | None = None,
    ) -> None:
        settings = jobs_settings()
        self._worker = worker
        self._listener_thread = listener_thread
        self._expect_due = expect_due
        self._using = worker.using
        # A heartbeat also looks for what nobody told this process of.
        self._heartbeat_seconds = min(settings.HEARTBEAT_SECONDS, settings.POLL_SECONDS)
        self._lease_seconds = settings.LEASE_SECONDS
        self._max_rescues = settings.MAX_RESCUES
        self._attention = threading.Event()
        self._cancels = threading.Event()
        self._queues = threading.Event()
        self._stopping = threading.Event()
        self._next_heartbeat = 0.0
        self._next_progress = 0.0
        self._next_cancels = 0.0
        # The database's time less this host's monotonic time, at the last heartbeat.
        self._offset: float | None = None
        # Monotonic: until then an ended lease says nothing.
        self._unsteady_until = 0.0
        self._pruner = Pruner(self._using)
        self._thread = threading.Thread(target=self._serve, name="django_jobs-maintenance", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        # The database may have been away for all others until now.
        self._unsteady_until = time.monotonic() + self._lease_seconds
        self._worker.on_attention = self._attention.set
        self._worker.has_maintainer = True
        notifications.subscribe(self._heard)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        notifications.unsubscribe(self._heard)
        self._stopping.set()
        self._attention.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._pruner.stop()

    def _heard(self, topic: str) -> None:
        if topic == notifications.CANCELS:
            self._cancels.set()
            self._attention.set()
        elif topic == notifications.QUEUES:
            self._queues.set()
            self._attention.set()

    def _serve(self) -> None:
        backoff = ConnectionBackoff("maintenance", self._using)
        while not self._stopping.is_set():
            try:
                self._attention.wait(self._look())
                backoff.worked()
            except (DatabaseError, InterfaceError) as error:
                # No longer than until the next heartbeat: others go by the lease once the database is back.
                self._wait_out(min(backoff.failed(error), self._heartbeat_seconds))
            except Exception:  # a mistake of ours must not end the heartbeat that keeps every run
                logger.exception("worker=%s: keeping failed", self._worker.id)
                self._stopping.wait(self._heartbeat_seconds)
            self._attention.clear()
        backoff.close()
        connections.give_back()

    def _wait_out(self, seconds: float) -> None:
        """Leave the database alone for some time; limits of time hold meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            until_late = self._stop_late(self._worker.executions(), time.monotonic())
            if self._stopping.wait(max(0.0, min(left, until_late, PROGRESS_SECONDS))):
                return

    def _look(self) -> float:
        """Do what is due; return the seconds until something else is."""
        executions = self._worker.executions()
        now = time.monotonic()
        # First: it needs no database.
        until_late = self._stop_late(executions, now)
        if now >= self._next_heartbeat:
            self._beat()
            self._next_heartbeat = time.monotonic() + self._heartbeat_seconds
        elif self._queues.is_set():
            self._look_at_queues()
        if not self._worker.is_stopping:
            self._pruner.look()
        # Woken by nothing else it still looks, in memory, whether something runs that could be cancelled.
        wait = CANCEL_SECONDS
        if executions:
            self._see_to(now)
            wait = min(PROGRESS_SECONDS, until_late)
        return max(0.0, min(wait, self._next_heartbeat - time.monotonic()))

    def _stop_late(self, executions: list[Execution], now: float) -> float:
        """Tell those to end whose time is over, and interrupt those told; return the seconds until the next."""
        wait = math.inf
        for execution in executions:
            # Read once: it has none while the run waits for its turn on the loop.
            deadline = execution.deadline
            if deadline is not None and not execution.context.must_stop:
                if deadline > now:
                    wait = min(wait, deadline - now)
                    continue
                self._worker.stop_run(execution.run.id, "timeout")
            if execution.interrupt_at is not None:
                if execution.interrupt_at > time.monotonic():
                    wait = min(wait, execution.interrupt_at - now)
                else:
                    execution.interrupt()
        return wait

    def _beat(self) -> None:
        worker = self._worker
        silent = time.monotonic() - worker.last_heartbeat
        beat = self._extend_lease()
        if beat is None:
            worker.lose()
            beat = self._extend_lease()
            if beat is None:
                # Dead again at once: somebody's clock is wrong, or ours. At the next heartbeat.
                return
        worker.last_heartbeat = time.monotonic()
        self._note_paused(beat.paused)
        is_steady = self._is_steady(beat.now, silent)
        gone = [peer for peer, key in beat.peers if identity.is_gone(key)]
        if gone or beat.has_orphans:
            _rescue(beat.now, gone, using=self._using, max_rescues=self._max_rescues, by_lease=is_steady)
        if beat.held:
            worker.release_forgotten()
        worker.forget_old_promises()
        worker.release_stuck()
        self._tell_what_is_due(beat)

    def _extend_lease(self) -> leases.Heartbeat | None:
        def extend() -> leases.Heartbeat | None:
            return leases.heartbeat(
                self._worker.id,
                lease_seconds=self._lease_seconds,
                host=identity.host(),
                has_clock=self._expect_due is not None,
                using=self._using,
            )

        return extend() if self._listener_thread is None else self._listener_thread.unheard(extend)

    def _tell_what_is_due(self, beat: leases.Heartbeat) -> None:
        """Have looked for what a lost notice was about, and for what comes before the next heartbeat."""
        if beat.next_ready is not None:
            seconds = (beat.next_ready - beat.now).total_seconds()
            if (
                seconds < self._heartbeat_seconds * 1.5
                and time.monotonic() + seconds < self._worker.next_look
            ):
                self._worker.wake()
        if self._expect_due is not None:
            seconds_until = None if beat.next_due is None else (beat.next_due - beat.now).total_seconds()
            self._expect_due(seconds_until)

    def _is_steady(self, now: datetime, silent: float) -> bool:
        """Return whether leases can be read by the database's clock.

        Not when that was set, this host slept, or the database was away: until everybody alive has had the
        time for another heartbeat, leases seem to have ended, or not to, that say nothing.

        Args:
            now: By the database's clock.
            silent: Seconds since the heartbeat before this one.
        """
        monotonic = time.monotonic()
        if silent > self._lease_seconds / 2:
            # What kept this worker from saying that it lives may have kept the others.
            self._unsteady_until = monotonic + self._lease_seconds
            logger.info(
                "worker=%s: no heartbeat for %.0f s; nobody is taken for dead for %.0f s",
                self._worker.id, silent, self._lease_seconds,
            )  # fmt: skip
        offset = now.timestamp() - monotonic
        # Seconds are not a clock that was set, but a database that was slow to answer.
        if self._offset is not None and abs(offset - self._offset) > max(1.0, self._heartbeat_seconds):
            self._unsteady_until = monotonic + self._lease_seconds
            logger.warning(
                "worker=%s: the clock jumped by %.0f s; nobody is taken for dead for %.0f s",
                self._worker.id, offset - self._offset, self._lease_seconds,
            )  # fmt: skip
        self._offset = offset
        return monotonic >= self._unsteady_until

    def _look_at_queues(self) -> None:
        self._queues.clear()
        self._note_paused(paused_queues(using=self._using))

    def _note_paused(self, paused: Sequence[str]) -> None:
        before, self._worker.paused = self._worker.paused, tuple(paused)
        if set(before) - set(self._worker.paused):
            self._worker.wake()

    def _see_to(self, now: float) -> None:
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_SECONDS
            for execution in self._worker.take_progress():
                if execution.context.progress is not None:
                    outcomes.set_progress(execution.run, execution.context.progress, using=self._using)
        if now >= self._next_cancels or self._cancels.is_set():
            self._cancels.clear()
            self._next_cancels = now + CANCEL_SECONDS
            for run_id in claims.cancel_requests(self._worker.id, using=self._using):
                self._worker.stop_run(run_id, "cancelled")


def rescue_at_start(now: datetime, *, using: str, max_rescues: int) -> None:
    """Take their runs from ended processes of this machine, and from who has been silent for too long.

    An ended lease alone is no death: the database may have been away for all until now. But where another
    process registered after that, and long enough ago, it was there, and who lives has said so since.

    Args:
        now: By the database's clock.
        using: Alias of the database.
        max_rescues: A run whose workers died more often than this is FAILED.
    """
    workers = WorkerRow.objects.using(using)
    open_rows = workers.filter(stopped_at__isnull=True)
    here = open_rows.filter(host=identity.host()).only("process_key")
    gone = [row.pk for row in here if identity.is_gone(row.process_key)]
    since = now - timedelta(seconds=jobs_settings().LEASE_SECONDS)
    witnesses = workers.filter(started_at__gt=OuterRef("lease_expires_at"), started_at__lt=since)
    silent = open_rows.filter(Exists(witnesses), lease_expires_at__lt=now)
    gone.extend(silent.values_list("pk", flat=True))
    _rescue(now, gone, using=using, max_rescues=max_rescues, by_lease=False)


def _rescue(now: datetime, gone: list[str], *, using: str, max_rescues: int, by_lease: bool) -> None:
    rescued = leases.rescue(now, max_rescues=max_rescues, gone=gone, by_lease=by_lease, using=using)
    leases.report_rescues(rescued, using=using)
