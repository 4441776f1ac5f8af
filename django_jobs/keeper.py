"""Keep a worker alive in the others' eyes, and see to what its loop has no time for.

Heartbeat, rescue of dead workers' runs, time limits, cancel requests, progress.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs import connections, processes, queue, signals, wakeup
from django_jobs.conf import jobs_settings
from django_jobs.connections import Outage
from django_jobs.models import Worker as WorkerRow

if TYPE_CHECKING:
    from django_jobs.worker import Worker

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
CANCEL_SECONDS = 1.0


class Keeper:
    """The second thread of a worker.

    Args:
        worker: The worker to keep.
    """

    def __init__(self, worker: Worker) -> None:
        settings = jobs_settings()
        self._worker = worker
        self._using = worker.using
        self._heartbeat_seconds = settings.HEARTBEAT_SECONDS
        self._lease_seconds = settings.LEASE_SECONDS
        self._max_rescues = settings.MAX_RESCUES
        self._attention = threading.Event()
        self._cancels = threading.Event()
        self._queues = threading.Event()
        self._stopping = threading.Event()
        self._next_heartbeat = 0.0
        self._next_progress = 0.0
        self._next_cancels = 0.0
        self._thread = threading.Thread(target=self._serve, name="django_jobs-keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._worker.on_attention = self._attention.set
        wakeup.subscribe(self._heard)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        wakeup.unsubscribe(self._heard)
        self._stopping.set()
        self._attention.set()
        self._thread.join()

    def _heard(self, topic: str) -> None:
        if topic == wakeup.CANCELS:
            self._cancels.set()
            self._attention.set()
        elif topic == wakeup.QUEUES:
            self._queues.set()
            self._attention.set()

    def _serve(self) -> None:
        outage = Outage("keeper", self._using)
        while not self._stopping.is_set():
            try:
                self._attention.wait(self._look())
                outage.worked()
            except (DatabaseError, InterfaceError) as error:
                self._stopping.wait(outage.failed(error))
            except Exception:  # a mistake of ours must not end the heartbeat that keeps every run
                logger.exception("worker=%s: keeping failed", self._worker.id)
                self._stopping.wait(self._heartbeat_seconds)
            self._attention.clear()
        connections.give_back()

    def _look(self) -> float:
        """Do what is due; return the seconds until something else is."""
        executions = self._worker.executions()
        now = time.monotonic()
        # Woken by nothing else it still looks, in memory, whether something runs that could be cancelled.
        wait = CANCEL_SECONDS
        for execution in executions:
            if execution.deadline is None or execution.context.must_stop:
                continue
            if execution.deadline <= now:
                self._worker.stop_run(execution.run.id, "timeout")
            else:
                wait = min(wait, execution.deadline - now)
        if now >= self._next_heartbeat:
            self._beat()
            self._next_heartbeat = time.monotonic() + self._heartbeat_seconds
        elif self._queues.is_set():
            self._look_at_queues()
        if executions:
            wait = min(wait, PROGRESS_SECONDS)
            self._see_to(now)
        return max(0.0, min(wait, self._next_heartbeat - time.monotonic()))

    def _beat(self) -> None:
        worker = self._worker
        if not queue.heartbeat(worker.id, lease_seconds=self._lease_seconds, using=self._using):
            worker.lose()
        self._look_at_queues()
        rescue_dead(using=self._using, max_rescues=self._max_rescues)
        worker.hand_back_stuck()

    def _look_at_queues(self) -> None:
        self._queues.clear()
        before, self._worker.paused = self._worker.paused, tuple(queue.paused_queues(using=self._using))
        if set(before) - set(self._worker.paused):
            self._worker.wake()

    def _see_to(self, now: float) -> None:
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_SECONDS
            for execution in self._worker.take_progress():
                if execution.context.progress is not None:
                    queue.set_progress(execution.run, execution.context.progress, using=self._using)
        if now >= self._next_cancels or self._cancels.is_set():
            self._cancels.clear()
            self._next_cancels = now + CANCEL_SECONDS
            for run_id in queue.cancel_requests(self._worker.id, using=self._using):
                self._worker.stop_run(run_id, "cancelled")


def rescue_dead(*, using: str, max_rescues: int) -> None:
    """Take the runs of dead workers from them: of ended leases, and of ended processes of this machine."""
    here = WorkerRow.objects.using(using).filter(host=processes.host(), stopped_at__isnull=True)
    gone = [row.pk for row in here.only("process_key") if processes.is_gone(row.process_key)]
    rescued = queue.rescue(max_rescues=max_rescues, gone=gone, using=using)
    for one in rescued:
        signals.emit(
            signals.run_rescued,
            job_id=one.job_id,
            run_id=one.run_id,
            worker_id=one.worker_id,
            status=one.status,
            reason=one.reason,
        )
    if rescued:
        wakeup.tell(wakeup.RUNS, using=using)
