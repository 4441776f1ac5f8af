"""One process's clock, worker, maintenance and listener, started and stopped together."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from django.apps import apps
from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings
from django_jobs.models import jobs_database, missing_tables
from django_jobs.printable import printable
from django_jobs.scheduler.clock import Clock
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.storage import connections, transactions
from django_jobs.storage.notifications.thread import ListenerThread
from django_jobs.worker import components
from django_jobs.worker.maintenance import Maintainer
from django_jobs.worker.rescue import rescue_at_start
from django_jobs.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.storage.components import Component

logger = logging.getLogger(__name__)

T = TypeVar("T")

TABLES_SECONDS = 2.0
# Until there may be room for threads.
THREADS_SECONDS = 30.0


class Service:
    """What makes a process work. Starting returns immediately; the database is touched in the background.

    Args:
        queues: Names to serve; empty means all.
        threads: Plain functions at the same time; None for the setting.
        clock: Whether to fire due jobs.
        worker: Whether to execute runs.
        delay: Seconds before the first touch of the database.
        on_started: Called once everything runs.
    """

    def __init__(
        self,
        *,
        queues: Sequence[str] = (),
        threads: int | None = None,
        clock: bool = True,
        worker: bool = True,
        delay: float = 0.0,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        self._queues = tuple(queues)
        self._threads = threads
        self._wants_clock = clock
        self._wants_worker = worker
        self._delay = delay
        self._on_started = on_started
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._starter = threading.Thread(target=self._start, name="django_jobs-starter", daemon=True)
        self.worker: Worker | None = None
        self._clock: Clock | None = None
        self._schedule_sync: ScheduleSync | None = None
        self._maintainer: Maintainer | None = None
        self.components: list[Component] = []
        self._listener_thread: ListenerThread | None = None
        # Why it could not start, until it has: threads that the system refused.
        self.failure = ""
        # Whether all that ran had ended when it was stopped.
        self.has_finished = True

    def start(self) -> None:
        """Begin to start, and return."""
        self._starter.start()

    def wait_started(self, timeout: float | None = None) -> bool:
        """Wait until everything runs; return whether it came to that in time."""
        return self._started.wait(timeout)

    def _start(self) -> None:
        connections.claim_context()
        # The app registry first: queries during app initialisation are what Django warns of.
        while not apps.ready_event.wait(0.05):
            if self._stopping.is_set():
                return
        self._stopping.wait(self._delay)
        has_said = False
        while not self._stopping.is_set():
            try:
                missing = missing_tables()
                if not missing:
                    with self._lock:
                        if not self._stopping.is_set():
                            self._start_all(jobs_database())
                    break
                problem: object = (
                    f"tables are missing ({', '.join(sorted(missing))}): run `manage.py migrate`"
                )
                level = logging.WARNING
            except RuntimeError as error:
                if self._stopping.is_set() or _is_process_ending(error):
                    # `stop` ends what had begun.
                    logger.info("Stopped while starting: the process is ending (%s)", printable(error))
                    break
                self._undo(error)
                self._stopping.wait(THREADS_SECONDS)
                continue
            except (DatabaseError, InterfaceError) as error:
                problem, level = error, logging.ERROR
                connections.give_back()
            if not has_said:
                logger.log(level, "waiting for the database before starting: %s", printable(problem))
                has_said = True
            self._stopping.wait(TABLES_SECONDS)
        connections.give_back()

    def _undo(self, error: RuntimeError) -> None:
        """Stop what had begun: half a process would claim without a heartbeat, or beat and do nothing."""
        settings = jobs_settings()
        with self._lock:
            # Something may have been claimed already, and nobody may extend its lease.
            self._stop_all(min(settings.SHUTDOWN_SECONDS, settings.LEASE_SECONDS / 2))
        connections.give_back()
        if not self.failure:
            logger.error(
                "Cannot start workers in this process (%s); no jobs will run here until it can",
                printable(error),
            )
        self.failure = str(error)

    def _start_all(self, using: str) -> None:
        settings = jobs_settings()
        # Before anything is claimed: what this host's last process left goes first.
        rescue_at_start(transactions.database_now(using), using=using, max_rescues=settings.MAX_RESCUES)
        listener_thread = ListenerThread(using)
        clock: Clock | None = None
        if self._wants_clock:
            # Before the clock: it must not fire what this version of the code declares no more.
            self._schedule_sync = self._schedule_sync or ScheduleSync(using)
            self._schedule_sync.listener_thread = listener_thread
            self._schedule_sync.look_if_due()
            clock = Clock(using, before_round=self._schedule_sync.look_if_due)
        if self._wants_worker:
            worker = Worker(
                using=using, queues=self._queues, threads=self._threads, has_clock=self._wants_clock
            )
            worker.start()
            self.worker = worker
            self._maintainer = Maintainer(
                worker,
                listener_thread=listener_thread,
                expect_due=None if clock is None else clock.expect_due,
            )
            self._maintainer.start()
        if clock is not None:
            clock.has_maintainer = self._maintainer is not None
            clock.start()
            self._clock = clock
        for component in components.make(using, self._queues):
            self.components.append(component)
            component.start()
        self._listener_thread = listener_thread
        listener_thread.start()
        if self.worker is not None:
            self.worker.wake()
        self.failure = ""
        self._started.set()
        if self._on_started is not None:
            self._on_started()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop all, losing nothing; may be called twice.

        Args:
            timeout: Seconds that running work may take to finish; None for SHUTDOWN_SECONDS.

        Returns:
            Whether all that ran had finished.
        """
        limit = jobs_settings().SHUTDOWN_SECONDS if timeout is None else timeout
        self._stopping.set()
        with self._lock:
            had_worker = self.worker is not None
            has_finished = self._stop_all(limit)
            if had_worker:
                self.has_finished = has_finished
        if self._starter.ident is not None and threading.current_thread() is not self._starter:
            self._starter.join(5)
        return has_finished

    def _stop_all(self, limit: float) -> bool:
        has_finished = True
        worker, self.worker = self.worker, None
        clock, self._clock = self._clock, None
        registered, self.components = self.components, []
        listener_thread, self._listener_thread = self._listener_thread, None
        maintainer, self._maintainer = self._maintainer, None
        schedule_sync, self._schedule_sync = self._schedule_sync, None
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

    def drain(self, stopped: threading.Event) -> None:
        """Work until nothing is due: no job to fire, no run to claim, none in hand.

        Args:
            stopped: Ends the wait early when set.
        """
        while not stopped.is_set() and not self._is_drained() and not self.failure:
            stopped.wait(0.02)

    def _is_drained(self) -> bool:
        worker = self.worker
        if worker is None or not self._started.is_set():
            return False
        claims = worker.claims
        due = None if self._clock is None else self._clock.seconds_until_due()
        return (
            (due is None or due > 0)
            and worker.has_nothing_due()
            and all(component.has_nothing_due() for component in self.components)
            and worker.is_idle
            # Nothing was claimed since the first question: it might have added what that one missed.
            and worker.claims == claims
        )


def _attempt(step: Callable[[], T]) -> T | None:
    """Take one step of several that must all be taken."""
    try:
        return step()
    except Exception:  # or what comes after it would be left running, or its row open
        logger.exception("a part of this process could not be stopped in order")
        return None


def _is_process_ending(error: RuntimeError) -> bool:
    """Return whether no thread can be started because the process ends, which Python 3.12 refuses then."""
    return "interpreter shutdown" in str(error) or not threading.main_thread().is_alive()
