"""The parts of a process that was started: clock, worker, maintenance, listener and registered components."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from django_jobs.conf import jobs_settings
from django_jobs.registry import discovery
from django_jobs.scheduler.clock import Clock
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.storage import projects, transactions
from django_jobs.storage.database_file import DatabaseFile
from django_jobs.storage.notifications.thread import ListenerThread
from django_jobs.texts.printable import printable
from django_jobs.worker import components
from django_jobs.worker.maintenance import Maintainer
from django_jobs.worker.rescue import rescue_at_start
from django_jobs.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_jobs.storage.components import Component

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Parts:
    """All that works in one process, started in order and stopped in order.

    Args:
        using: Alias of the database.
        queues: As for `Service`.
        threads: As for `Service`.
        queue_threads: As for `Service`.
        clock: As for `Service`.
        worker: As for `Service`.
    """

    def __init__(
        self,
        using: str,
        *,
        queues: Sequence[str],
        threads: int | None,
        clock: bool,
        worker: bool,
        queue_threads: Mapping[str, int] | None = None,
    ) -> None:
        self._using = using
        self._queues = tuple(queues)
        self._threads = threads
        self._queue_threads = queue_threads
        self._wants_clock = clock
        self._wants_worker = worker
        # Before anything connects: it compares with what was there then.
        self._file = DatabaseFile(using)
        self._lock = threading.Lock()
        self._said: frozenset[str] = frozenset()
        # Whether there may be something to stop.
        self.has_begun = False
        self.worker: Worker | None = None
        self.clock: Clock | None = None
        self.components: list[Component] = []
        self._schedule_sync: ScheduleSync | None = None
        self._maintainer: Maintainer | None = None
        self._listener_thread: ListenerThread | None = None

    def prepare(self) -> str:
        """Do what comes before anything is claimed or fired; may be called again.

        Returns:
            Why nothing may be started here; empty where it may.

        Raises:
            DatabaseError: The database does not answer, or refuses.
        """
        # What this host's last process left goes first.
        now = transactions.database_now(self._using)
        rescue_at_start(now, using=self._using, max_rescues=jobs_settings().MAX_RESCUES)
        if refusal := projects.refusal(projects.others(self._using, now)):
            return refusal
        if self._wants_clock:
            # Before the clock: it must not fire what this version of the code declares no more.
            self._schedule_sync = self._schedule_sync or ScheduleSync(self._using)
            self._schedule_sync.look_if_due()
        return ""

    def start(self) -> None:
        """Start all; on an error `stop` stops what has begun.

        Raises:
            DatabaseError: The worker's row could not be written.
            RuntimeError: No thread can be started.
        """
        self.has_begun = True
        worker = self._new_worker() if self._wants_worker else None
        listener_thread = ListenerThread(self._using, writer=None if worker is None else worker.completer)
        clock: Clock | None = None
        if self._schedule_sync is not None:
            sync = self._schedule_sync
            sync.listener_thread = listener_thread
            clock = Clock(self._using, before_round=sync.look_if_due, holds_back=lambda: sync.holds_back)
        if worker is not None:
            self._start_worker(worker, listener_thread, clock)
        if clock is not None:
            clock.has_maintainer = self._maintainer is not None
            clock.start()
            self.clock = clock
        for component in components.make(self._using, self._queues):
            self.components.append(component)
            component.start()
        self._listener_thread = listener_thread
        listener_thread.start()
        if self.worker is not None:
            self.worker.wake()

    def _new_worker(self) -> Worker:
        return Worker(
            using=self._using,
            queues=self._queues,
            threads=self._threads,
            has_clock=self._wants_clock,
            queue_threads=self._queue_threads,
        )

    def _start_worker(self, worker: Worker, listener_thread: ListenerThread, clock: Clock | None) -> None:
        worker.start()
        self.worker = worker
        self._maintainer = Maintainer(
            worker,
            listener_thread=listener_thread,
            expect_due=None if clock is None else clock.expect_due,
            problems=self.look,
        )
        self._maintainer.start()

    # Whether all is well

    def look(self) -> list[str]:
        """Look whether each part lives and gets on; log what is new, and return all that is wrong."""
        self._file.look()
        found = self.problems()
        with self._lock:
            new = [problem for problem in found if problem not in self._said]
            self._said = frozenset(found)
        for problem in new:
            logger.error("something is wrong in this process: %s", printable(problem))
        return found

    def problems(self) -> list[str]:
        """Return what is wrong with the parts, a few words each; touches no database."""
        worker = self.worker
        found: list[Component | Clock | None] = [
            self.clock, self._maintainer, self._listener_thread, *self.components,
            *(() if worker is None else (worker.claim_loop, worker.completer)),
        ]  # fmt: skip
        problems = [part.problem for part in found if part is not None]
        if self._schedule_sync is not None:
            problems.append(self._schedule_sync.problem)
        problems += [self._file.problem, *discovery.failures().values()]
        return [problem for problem in problems if problem]

    # Stop

    def stop(self, limit: float) -> bool:
        """Stop all, losing nothing; each step whatever the others do, and none without a limit of time.

        Args:
            limit: Seconds that running work may take to finish.

        Returns:
            Whether all that ran had finished, and each thread has ended.
        """
        worker, self.worker = self.worker, None
        clock, self.clock = self.clock, None
        registered, self.components = self.components, []
        listener_thread, self._listener_thread = self._listener_thread, None
        maintainer, self._maintainer = self._maintainer, None
        schedule_sync, self._schedule_sync = self._schedule_sync, None
        has_finished = True
        if worker is not None:
            _attempt(worker.stop_claiming)
        if clock is not None:
            _attempt(lambda: clock.shutdown(wait=False))
        for component in registered:
            _attempt(component.stop)
        if listener_thread is not None:
            _attempt(listener_thread.stop)
        if worker is not None:
            # Maintenance goes on beating while running work finishes.
            has_finished = _attempt(lambda: worker.stop(limit)) is True
        if maintainer is not None:
            _attempt(maintainer.stop)
        if worker is not None:
            _attempt(worker.close_row)
        if schedule_sync is not None:
            _attempt(schedule_sync.leave)
        return has_finished


def _attempt(step: Callable[[], T]) -> T | None:
    """Take one step of several that must all be taken."""
    try:
        return step()
    except Exception:  # or what comes after it would be left running, or its row open
        logger.exception("a part of this process could not be stopped in order")
        return None
