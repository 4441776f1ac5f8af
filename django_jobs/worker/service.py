"""One process's clock, worker, maintenance and listener, started and stopped together."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings, require_time_zones
from django_jobs.models import jobs_database, missing_tables
from django_jobs.storage import connections
from django_jobs.texts import describe
from django_jobs.texts.printable import printable
from django_jobs.worker.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_jobs.storage.components import Component
    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)

TABLES_SECONDS = 2.0
# After a failed start: there may be room for threads then, or what was wrong in the database be mended.
AGAIN_SECONDS = 30.0
# A start that waits says so again after so long.
SAY_SECONDS = 60.0
# At stop, for a start that is under way and waits for the database.
START_SECONDS = 10.0


class Service:
    """What makes a process work. Starting returns immediately; the database is touched in the background.

    Args:
        queues: Names to serve; empty means all.
        threads: Plain functions at the same time; None for the setting.
        queue_threads: Queues that take at most so many of those, over the setting.
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
        queue_threads: Mapping[str, int] | None = None,
        clock: bool = True,
        worker: bool = True,
        delay: float = 0.0,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        self._queues = tuple(queues)
        self._threads = threads
        self._queue_threads = queue_threads
        self._wants_clock = clock
        self._wants_worker = worker
        self._delay = delay
        self._on_started = on_started
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._starter = threading.Thread(target=self._start, name="django_jobs-starter", daemon=True)
        self._parts: Parts | None = None
        # Why it could not start, until it has: threads that the system refused, or a mistake.
        self.failure = ""
        # What it waits for before it starts.
        self.waits_for = ""
        # Whether that ends only when somebody sees to it; else the database may just be away.
        self.is_refused = False
        self._said_at = 0.0
        # Whether all that ran had ended when it was stopped.
        self.has_finished = True

    @property
    def worker(self) -> Worker | None:
        """The worker, while it runs."""
        return None if self._parts is None else self._parts.worker

    @property
    def components(self) -> list[Component]:
        """What other rooms registered, while it runs."""
        return [] if self._parts is None else self._parts.components

    def start(self) -> None:
        """Begin to start, and return."""
        self._starter.start()

    def wait_started(self, timeout: float | None = None) -> bool:
        """Wait until everything runs; return whether it came to that in time."""
        return self._started.wait(timeout)

    @property
    def has_started(self) -> bool:
        """Whether everything runs, or ran until it was stopped."""
        return self._started.is_set()

    def problems(self) -> list[str]:
        """Return what keeps it from starting, or is wrong with what runs; touches no database."""
        if self.failure or self.waits_for:
            return [self.failure or self.waits_for]
        return [] if self._parts is None else self._parts.problems()

    def look(self) -> list[str]:
        """Look whether each part lives, as maintenance does at its heartbeats; log what is new, and return it all."""
        return self.problems() if self._parts is None or not self.has_started else self._parts.look()

    # On the starter's thread

    def _start(self) -> None:
        try:
            self._start_when_possible()
        except BaseException as error:  # noqa: BLE001 - nobody else would say that nothing runs here
            self._fail(error)
        finally:
            connections.give_back()

    def _start_when_possible(self) -> None:
        connections.claim_context()
        # The app registry first: queries during app initialisation are what Django warns of.
        while not apps.ready_event.wait(0.05):
            if self._stopping.is_set():
                return
        try:
            require_time_zones()
        except ImproperlyConfigured as error:
            self.failure = str(error)
            logger.error("Cannot start workers in this process: %s", printable(error))  # noqa: TRY400 - settings have no traceback
            return
        self._stopping.wait(self._delay)
        while not self._stopping.is_set() and not self._started.is_set():
            try:
                wait = self._try_to_start()
            except (DatabaseError, InterfaceError) as error:
                self._undo()
                problem = f"the database does not answer, or refuses: {describe.in_a_line(error)}"
                wait = self._wait_for(problem, logging.ERROR, is_refused=False)
            except BaseException as error:  # noqa: BLE001 - a mistake of ours, or of a row; what it is about may be mended
                if self._stopping.is_set() or _is_process_ending(error):
                    # `stop` ends what had begun.
                    logger.info(
                        "Stopped while starting: the process is ending (%s)",
                        printable(describe.in_a_line(error)),
                    )
                    return
                # Half a process would claim without a heartbeat, or beat and do nothing.
                self._undo()
                self._fail(error)
                wait = AGAIN_SECONDS
            self._stopping.wait(wait)

    def _try_to_start(self) -> float:
        """Start if the database is ready for it; return the seconds until the next try."""
        missing = missing_tables()
        if missing:
            names = ", ".join(sorted(missing))
            return self._wait_for(f"tables are missing ({names}): run `manage.py migrate`", logging.WARNING)
        if self._parts is None:
            self._parts = Parts(
                jobs_database(),
                queues=self._queues,
                threads=self._threads,
                queue_threads=self._queue_threads,
                clock=self._wants_clock,
                worker=self._wants_worker,
            )
        # Without the lock: it may wait for others' locks in the database.
        if refusal := self._parts.prepare():
            return self._wait_for(refusal, logging.ERROR)
        with self._lock:
            if self._stopping.is_set():
                self._parts.stop(0.0)
                return 0.0
            self._parts.start()
            self.failure = self.waits_for = ""
            self.is_refused = False
            if self._on_started is not None:
                self._on_started()
            self._started.set()
        return 0.0

    def _wait_for(self, problem: str, level: int, *, is_refused: bool = True) -> float:
        # The database may be made or replaced meanwhile.
        connections.give_back()
        now = time.monotonic()
        # A database that is away has many words for that, and what is missing of tables gets less.
        is_other = problem.partition(" (")[0] != self.waits_for.partition(" (")[0]
        is_new = is_other if is_refused else self.is_refused or not self.waits_for
        if is_new or now > self._said_at + SAY_SECONDS:
            self._said_at = now
            logger.log(level, "waiting before starting: %s", printable(problem))
        self.waits_for, self.is_refused = problem, is_refused
        return TABLES_SECONDS

    def _fail(self, error: BaseException) -> None:
        """Say once that nothing runs here."""
        problem = describe.in_a_line(error)
        if not self.failure:
            if not isinstance(error, RuntimeError):
                # Else there is no room for threads: where it happened says nothing.
                describe.log_error(logger, error, "a mistake while this process starts to execute jobs")
            logger.error(
                "Cannot start workers in this process (%s); no jobs will run here until it can",
                printable(problem),
            )
        self.failure = problem

    def _undo(self) -> None:
        """Stop what had begun."""
        with self._lock:
            if self._parts is not None and self._parts.has_begun:
                parts, self._parts = self._parts, None
                settings = jobs_settings()
                # Something may have been claimed already, and nobody may extend its lease.
                parts.stop(min(settings.SHUTDOWN_SECONDS, settings.LEASE_SECONDS / 2))
        connections.give_back()

    # Stop

    def stop(self, timeout: float | None = None) -> bool:
        """Stop all, losing nothing; may be called twice.

        Args:
            timeout: Seconds that running work may take to finish; None for SHUTDOWN_SECONDS.

        Returns:
            Whether all that ran had finished.
        """
        limit = jobs_settings().SHUTDOWN_SECONDS if timeout is None else timeout
        self._stopping.set()
        has_finished = True
        if self._lock.acquire(timeout=START_SECONDS + limit):
            try:
                # Else the starter stops what it has prepared.
                if self._parts is not None and self._parts.has_begun:
                    had_worker = self._parts.worker is not None
                    has_finished = self._parts.stop(limit)
                    if had_worker:
                        self.has_finished = has_finished
            finally:
                self._lock.release()
        else:
            has_finished = self.has_finished = False
            logger.warning(
                "a start is under way that waits for the database: it is left, and ends with its process"
            )
        if self._starter.ident is not None and threading.current_thread() is not self._starter:
            self._starter.join(5)
        return has_finished

    def drain(self, stopped: threading.Event) -> None:
        """Work until nothing is due: no job to fire, no run to claim, none in hand.

        Args:
            stopped: Ends the wait early when set.
        """
        while not stopped.is_set() and not self._is_drained() and not self.failure and not self.is_refused:
            stopped.wait(0.02)

    def _is_drained(self) -> bool:
        worker = self.worker
        # What needs no database first: this is asked fifty times a second.
        if worker is None or not self._started.is_set() or not worker.is_idle:
            return False
        claims = worker.claims
        clock = None if self._parts is None else self._parts.clock
        due = None if clock is None else clock.seconds_until_due()
        return (
            (due is None or due > 0)
            and worker.has_nothing_due()
            and all(component.has_nothing_due() for component in self.components)
            and worker.is_idle
            # Nothing was claimed since the first question: it might have added what that one missed.
            and worker.claims == claims
        )


def _is_process_ending(error: BaseException) -> bool:
    """Return whether no thread can be started because the process ends, which Python 3.12 refuses then."""
    return isinstance(error, RuntimeError) and (
        "interpreter shutdown" in str(error) or not threading.main_thread().is_alive()
    )
