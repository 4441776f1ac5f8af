"""The worker of one of Celery's processes: it claims what messages are about, and nothing else."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings, queues_of
from django_jobs.models import Worker as WorkerRow
from django_jobs.models import jobs_database
from django_jobs.storage import claims
from django_jobs.storage.connections import ConnectionBackoff
from django_jobs.storage.forks import on_fork_reset
from django_jobs.worker.consumers import one_consumer
from django_jobs.worker.maintenance import Maintainer
from django_jobs.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.records import ClaimedRun, Outcome


class CeleryWorker(Worker):
    """Executes one run for each message that is still true, and is otherwise a worker like any other.

    Runs are executed on threads of its own, which keep their database connections and may be
    interrupted, while the thread that brought the message waits.

    Args:
        using: Alias of the database.
        slots: Messages that the process handles at the same time.
    """

    def __init__(self, *, using: str, slots: int) -> None:
        queues = queues_of("celery")
        consumers = one_consumer(queues=queues, threads=slots, settings=jobs_settings())
        # It claims nothing by itself: messages say what.
        super().__init__(using=using, queues=queues, threads=slots, consumers=consumers, claims=False)
        self._losing = threading.Lock()
        # Set when the outcome of an attempt is written, or the run is somebody else's.
        self._over: dict[tuple[int, int], threading.Event] = {}

    def execute_one(self, run_id: int, attempt: int) -> bool:
        """Execute a run, and return when its outcome is written.

        Args:
            run_id: Of the run.
            attempt: That it is due in.

        Returns:
            False when it was not: the message was late, or a second one.
        """
        key = (run_id, attempt)
        over = threading.Event()
        with self.lock:
            if key in self._over:
                return False
            self._over[key] = over
        try:
            run = self._take(run_id, attempt)
            if run is None:
                return False
            self.runner.accept(run)
            over.wait()
        except BaseException as error:
            # Celery's own time limit is over, which it says by an exception in this thread.
            if not type(error).__name__.startswith("SoftTimeLimit"):
                raise
            self.stop_run(run_id, "timeout")
            over.wait()
        finally:
            with self.lock:
                del self._over[key]
        return True

    def _take(self, run_id: int, attempt: int) -> ClaimedRun | None:
        backoff = ConnectionBackoff("celery", self.using)
        while True:
            worker_id = self.id
            claim = partial(claims.claim_dispatched, run_id, attempt, worker_id, using=self.using)
            try:
                # On the completer's connection: this thread needs none.
                run: ClaimedRun | None = self.completer.call(claim).result()
                if run is None and self._was_lost(worker_id):
                    continue
            except (DatabaseError, InterfaceError) as error:
                # The message is gone from the broker: who claims, if not this process?
                if self.claim_loop.rest(backoff.failed(error)):
                    return None
                continue
            backoff.worked()
            return run

    def _was_lost(self, worker_id: str) -> bool:
        """Return whether this worker was taken for dead; it goes on under another id then."""
        self.completer.call(self.lose).result()
        return self.id != worker_id

    def lose(self) -> None:
        """Go on under a new id, if this worker was taken for dead and nobody else noticed yet."""
        with self._losing:
            row = WorkerRow.objects.using(self.using).filter(pk=self.id, stopped_at__isnull=True)
            if not row.exists():
                super().lose()

    def note_written(self, batch: Sequence[tuple[ClaimedRun, Outcome]]) -> None:
        """Note that outcomes are written, and end the tasks that wait for them."""
        super().note_written(batch)
        self._note_over([run for run, _ in batch])

    def forget(self, runs: Sequence[ClaimedRun]) -> None:
        """Note that runs are no longer this worker's, and end the tasks that wait for them."""
        super().forget(runs)
        self._note_over(runs)

    def _note_over(self, runs: Sequence[ClaimedRun]) -> None:
        for run in runs:
            if over := self._over.get((run.id, run.attempt)):
                over.set()


class _Here:
    """The worker of this process, which starts with its first message."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: CeleryWorker | None = None
        self.maintainer: Maintainer | None = None
        # As Celery says.
        self.slots = 1

    def get(self) -> CeleryWorker:
        with self.lock:
            if self.worker is None:
                self._start()
            assert self.worker is not None  # noqa: S101 - just started
            return self.worker

    def _start(self) -> None:
        using = jobs_database()
        backoff = ConnectionBackoff("celery", using)
        while True:
            worker = CeleryWorker(using=using, slots=self.slots)
            try:
                worker.start()
            except (DatabaseError, InterfaceError) as error:
                threading.Event().wait(backoff.failed(error))
                continue
            backoff.worked()
            self.maintainer = Maintainer(worker)
            self.maintainer.start()
            self.worker = worker
            return

    def stop(self) -> None:
        with self.lock:
            worker, maintainer = self.worker, self.maintainer
            self.worker = self.maintainer = None
        if worker is not None and maintainer is not None:
            worker.stop(jobs_settings().SHUTDOWN_SECONDS)
            maintainer.stop()
            worker.close_row()


here = _Here()


@on_fork_reset
def _leave_worker() -> None:
    global here
    slots = here.slots
    here = _Here()
    here.slots = slots
