"""The supervisor of several worker processes: it starts, replaces and stops them, and does nothing else.

It executes nothing and holds no database connection, so that nothing a job does can bring it down.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django_jobs.conf import jobs_settings
from django_jobs.storage.backoff import Backoff
from django_jobs.texts.printable import printable
from django_jobs.worker.supervisor_link import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

logger = logging.getLogger(__name__)

# Between two looks at ages and what is due, and two at memory.
LOOK_SECONDS = 1.0
MEASURE_SECONDS = 5.0
# A worker that lived for so long had no trouble starting.
STEADY_SECONDS = 60.0
# Before a worker is started again that lived for a short time, growing.
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
# Stopping may take so long, beside running work, before a worker is taken to hang.
STOP_MARGIN_SECONDS = 10.0


@dataclass
class Slot:
    """One of the workers that there should be: which process it is now, and which it is about to be."""

    number: int
    current: WorkerProcess | None = None
    successor: WorkerProcess | None = None
    # Grows with each process of it in a row that failed or was replaced early.
    backoff: Backoff = field(default_factory=lambda: Backoff(FIRST_DELAY, LONGEST_DELAY, jitter=0.0))
    # Monotonic: nothing is started for it before.
    not_before: float = 0.0
    is_done: bool = False

    def note_life(self, process: WorkerProcess) -> float:
        """Count a short life, and return the seconds until the next may begin."""
        if process.age < STEADY_SECONDS:
            return self.note_failure()
        self.backoff.worked()
        self.not_before = time.monotonic()
        return 0.0

    def note_failure(self) -> float:
        """Count a process that could not be started or did not live long; return the seconds to wait."""
        delay = self.backoff.failed()
        self.not_before = time.monotonic() + delay
        return delay


@dataclass
class Supervisor:
    """Keeps a number of worker processes running until a signal ends it.

    SIGTERM and SIGINT let all of them finish; the second of these ends all now. SIGHUP replaces each by
    a new one, which serves before the old one is told to stop.

    Attributes:
        command: What a worker process is started with.
        processes: How many.
        max_age: Seconds after which a worker is replaced; None never.
        max_memory: Bytes of resident memory beyond which a worker is replaced; None for any.
        drain: Whether workers end by themselves when nothing is due, and are then not started again.
    """

    command: Sequence[str]
    processes: int
    max_age: float | None = None
    max_memory: int | None = None
    drain: bool = False
    _slots: list[Slot] = field(init=False)
    # Told to stop, and not yet ended.
    _leaving: set[WorkerProcess] = field(default_factory=set)
    # Filled by threads and signal handlers, emptied by `run` alone.
    _events: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    _measured_at: float = 0.0
    _stopped_by: int = 0
    _is_in_order: bool = True
    # The exit code of one that may not wait.
    _ends_with: int | None = None

    def __post_init__(self) -> None:
        self._slots = [Slot(number) for number in range(1, self.processes + 1)]

    def run(self) -> int:
        """Supervise until stopped, or until all workers have drained; return the exit code.

        Returns:
            0 if all ended in order, 1 if one had to be killed or failed while stopping, 128 plus the
            signal's number after a second signal.
        """
        before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, self._heard_stop),
                (signal.SIGINT, self._heard_stop),
                (signal.SIGHUP, self._heard_reload),
            )
        }
        try:
            while self._ends_with is None and not self._is_over():
                self._look()
                # Not without a limit: a signal in the instant before Python begins to wait is only
                # handled when the wait ends.
                try:
                    self._events.get(timeout=LOOK_SECONDS)()
                except queue.Empty:
                    continue
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._ends_with is not None:
            for process in self._all():
                process.kill()
            return self._ends_with
        return 0 if self._is_in_order else 1

    # What there is

    def _all(self) -> set[WorkerProcess]:
        named = {process for slot in self._slots for process in (slot.current, slot.successor) if process}
        return named | self._leaving

    def _is_over(self) -> bool:
        return not self._all() and (bool(self._stopped_by) or all(slot.is_done for slot in self._slots))

    # What is heard

    def _heard_stop(self, number: int, frame: FrameType | None) -> None:
        self._events.put(lambda: self._stop(number))

    def _heard_reload(self, number: int, frame: FrameType | None) -> None:
        self._events.put(self._reload)

    def _stop(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._stopped_by:
            logger.warning("supervisor: %s again: %s workers are killed", name, len(self._all()))
            self._ends_with = 128 + number
            return
        self._stopped_by = number
        logger.info("supervisor: %s: stopping %s workers", name, len(self._all()))
        for slot in self._slots:
            for process in (slot.successor, slot.current):
                if process is not None:
                    self._let_go(process)
            slot.current = slot.successor = None

    def _reload(self) -> None:
        if self._stopped_by:
            return
        logger.info("supervisor: SIGHUP: replacing all workers, one after the other")
        now = time.monotonic()
        for slot in self._slots:
            # What failed may have been mended by what is new.
            slot.backoff.worked()
            slot.not_before = min(slot.not_before, now)
            for process in (slot.current, slot.successor):
                if process is not None:
                    process.stale = "SIGHUP"

    def _let_go(self, process: WorkerProcess) -> None:
        limit = jobs_settings().SHUTDOWN_SECONDS
        # Outcomes that cannot be written while the database is away are tried for as long again.
        process.stop(2 * limit + STOP_MARGIN_SECONDS)
        self._leaving.add(process)

    # What is due

    def _look(self) -> None:
        now = time.monotonic()
        for process in self._leaving:
            if process.kill_at is not None and now >= process.kill_at and process.is_alive:
                logger.error("%s did not stop in time: it is killed", process)
                process.kill_at = None
                process.kill()
        if self._stopped_by:
            return
        for slot in self._slots:
            if slot.current is None and not slot.is_done and now >= slot.not_before:
                slot.current = self._start(slot)
        self._mark_stale(now)
        # One after the other: old and new take memory at the same time.
        if any(slot.successor for slot in self._slots):
            return
        for slot in self._slots:
            if slot.current is not None and slot.current.stale and now >= slot.not_before:
                logger.info("%s is to be replaced: %s", slot.current, slot.current.stale)
                slot.successor = self._start(slot)
                return

    def _mark_stale(self, now: float) -> None:
        measures = self.max_memory is not None and now >= self._measured_at + MEASURE_SECONDS
        if measures:
            self._measured_at = now
        for slot in self._slots:
            process = slot.current
            if process is None or process.stale or not process.serves:
                continue
            if self.max_age is not None and process.age >= self.max_age:
                process.stale = f"it is {process.age:.0f} s old"
            elif measures and (memory := process.memory() or 0) > (self.max_memory or 0):
                process.stale = f"it takes {memory / 2**20:.0f} MB"
                # A limit below what a new worker takes must not replace them without end.
                slot.note_life(process)

    def _start(self, slot: Slot) -> WorkerProcess | None:
        try:
            process = WorkerProcess(
                slot.number,
                self.command,
                on_serving=lambda process: self._events.put(lambda: self._serves(process)),
                on_ended=lambda process: self._events.put(lambda: self._ended(process)),
            )
        except OSError as error:
            # No memory or too many processes: as good as one that died.
            slot.note_failure()
            logger.error("worker %s could not be started: %s", slot.number, printable(error))  # noqa: TRY400 - no traceback of ours
            return None
        logger.info("%s started", process)
        return process

    # What became of them

    def _serves(self, process: WorkerProcess) -> None:
        process.serves = True
        if process in self._leaving:
            return
        logger.info("%s serves", process)
        slot = self._slots[process.number - 1]
        if process is slot.successor:
            self._promote(slot)

    def _promote(self, slot: Slot) -> None:
        if slot.current is not None:
            logger.info("%s is stopped: worker %s is another process now", slot.current, slot.number)
            self._let_go(slot.current)
        slot.current, slot.successor = slot.successor, None

    def _ended(self, process: WorkerProcess) -> None:
        process.close()
        how = how_it_ended(process.code)
        if process in self._leaving:
            self._leaving.discard(process)
            # One that was replaced, perhaps weeks ago, is no part of how all of it stops.
            if self._stopped_by and process.code:
                self._is_in_order = False
            logger.log(logging.WARNING if process.code else logging.INFO, "%s stopped: %s", process, how)
            return
        slot = self._slots[process.number - 1]
        is_successor = process is slot.successor
        if is_successor:
            slot.successor = None
        else:
            slot.current = None
        if self.drain and process.code == 0:
            slot.is_done = True
            logger.info("%s has drained", process)
            if slot.successor is not None:
                self._promote(slot)
            return
        delay = slot.note_life(process)
        if slot.successor is not None:
            self._promote(slot)
            logger.warning("%s ended: %s; its successor is there", process, how)
            return
        what = "before it could take over" if is_successor else f"after {process.age:.0f} s"
        logger.error("%s ended %s: %s; starting it again in %g s", process, what, how, delay)


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def is_possible() -> bool:
    """Whether this system has what a supervisor needs."""
    return os.name == "posix"
