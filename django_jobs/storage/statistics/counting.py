"""Count runs as they end, so that nothing ever has to count the history.

Each process counts in memory, and about once a second adds what it has to the rollups of the minute,
the hour and the day, all three: rollups of old minutes and hours are deleted, never summed up again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs.models import BIN_ENDS
from django_jobs.storage import forks
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.backends.values import read_time
from django_jobs.storage.connections import discard
from django_jobs.storage.statistics.rows import (
    HOUR,
    KEPT,
    MINUTE,
    RAN,
    STARTED,
    TIMED,
    WAITED,
    ZEROS,
    from_epoch,
    sum_up,
)
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_jobs.storage.records import ClaimedRun, Outcome

logger = logging.getLogger(__name__)

# Seconds for which counts gather, and until the next try where they could not be written.
GATHER_SECONDS = 1.0
RETRY_SECONDS = 5.0
# Rows of one statement.
BATCH = 200
# Functions in queues that one process tells apart within an hour; further ones are counted together,
# under empty names. Names of queues may be anything.
MOST_SEPARATE = 1000
# Counts in memory, which are more only when they cannot be written.
MOST_COUNTS = 10_000
# An attempt that took longer counts as begun when it ended.
LONGEST = KEPT[HOUR]

_EPOCH = datetime.fromtimestamp(0, UTC)

# Minutes since the epoch, function, queue, outcome.
_Key = tuple[int, str, str, str]


class _Counter:
    """What one process has counted and not yet written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[_Key, list[Any]] = {}
        self._separate: set[tuple[str, str]] = set()
        self._separate_hour = 0
        # Monotonic; infinite while there is nothing to write.
        self.due_at = math.inf
        self._failures = 0

    def note(self, func: str, queue_name: str, outcome: str, ended_at: float) -> None:
        with self._lock:
            self._row((int(ended_at) // MINUTE, func, queue_name, str(outcome)))[0] += 1

    def note_attempts(self, attempts: Iterable[tuple[ClaimedRun, Outcome]]) -> None:
        # Called for every run, so the minute is only looked up when another begins.
        minute, begins, ends = 0, _EPOCH, _EPOCH
        with self._lock:
            for run, outcome in attempts:
                status = outcome.status
                if status == "READY" and outcome.retry_in is None:
                    # Held, which is no end.
                    continue
                ended_at = outcome.finished_at
                if not begins <= ended_at < ends:
                    minute = int(ended_at.timestamp()) // MINUTE
                    begins = from_epoch(minute * MINUTE)
                    ends = begins + timedelta(seconds=MINUTE)
                key = (minute, run.func, run.queue_name, status)
                row = self._counts.get(key) or self._row(key)
                row[0] += 1
                began_at = outcome.started_at
                if begins <= began_at < ends:
                    # What was cancelled before it began has one time as both.
                    if status in TIMED or began_at != ended_at:
                        row[STARTED] += 1
                else:
                    self._note_begun(began_at, ended_at, key, row)
                if status in TIMED:
                    seconds = (ended_at - began_at).total_seconds()
                    if seconds > 0:
                        row[1] += seconds
                    row[RAN + bisect_left(BIN_ENDS, seconds)] += 1
                    due_at = run.run_after
                    if due_at is not None:
                        seconds = (began_at - read_time(due_at)).total_seconds()
                        if seconds > 0:
                            row[2] += seconds
                        row[WAITED + bisect_left(BIN_ENDS, seconds)] += 1

    def _note_begun(self, began_at: datetime, ended_at: datetime, key: _Key, ended: list[Any]) -> None:
        """Count an attempt in the minute in which it began, which is not that of `ended`."""
        _, func, queue_name, outcome = key
        if (func, queue_name) not in self._separate:
            func = queue_name = ""
        began = (int(began_at.timestamp()) // MINUTE, func, queue_name, str(outcome))
        row = self._counts.get(began)
        if row is None:
            # Where too much is in memory already, or a clock was wrong, it counts where it ended.
            is_fine = len(self._counts) < MOST_COUNTS and timedelta(0) <= ended_at - began_at <= LONGEST
            row = self._counts.setdefault(began, list(ZEROS)) if is_fine else ended
        row[STARTED] += 1

    def _row(self, key: _Key) -> list[Any]:
        minute, func, queue_name, outcome = key
        if minute // 60 != self._separate_hour:
            self._separate.clear()
            self._separate_hour = minute // 60
        if (func, queue_name) not in self._separate:
            if len(self._separate) < MOST_SEPARATE:
                self._separate.add((func, queue_name))
            else:
                func = queue_name = ""
        if len(self._counts) >= MOST_COUNTS:
            minute, func, queue_name = next(iter(self._counts))[0], "", ""
        if not self._counts:
            self.due_at = time.monotonic() + GATHER_SECONDS
        return self._counts.setdefault((minute, func, queue_name, str(outcome)), list(ZEROS))

    def write(self, using: str) -> bool:
        with self._lock:
            counts, self._counts, self.due_at = self._counts, {}, math.inf
        if not counts:
            return True
        try:
            _add(counts, using)
        except (DatabaseError, InterfaceError) as error:
            self._take_back(counts)
            if self._failures == 2:
                logger.warning("runs were counted, but the counts not written yet: %s", printable(error))
            if not connections[using].in_atomic_block:
                # Perhaps it broke, and whoever uses it next should not find that out again.
                discard(connections[using])
            return False
        except Exception:  # the thread that writes all outcomes must not end for the sake of counts
            logger.exception("counts of runs were dropped")
        self._failures = 0
        return True

    def _take_back(self, counts: dict[_Key, list[Any]]) -> None:
        with self._lock:
            for key, row in counts.items():
                sum_up(self._counts.setdefault(key, list(ZEROS)), row)
            self._failures += 1
            # Once it may be a deadlock with another process that counts.
            seconds = GATHER_SECONDS if self._failures == 1 else RETRY_SECONDS
            self.due_at = time.monotonic() + seconds


def _add(counts: dict[_Key, list[Any]], using: str) -> None:
    sums: dict[tuple[int, int, str, str, str], list[Any]] = defaultdict(lambda: list(ZEROS))
    for (minute, func, queue_name, outcome), row in counts.items():
        for size in KEPT:
            sum_up(sums[size, minute * MINUTE // size * size, func, queue_name, outcome], row)
    backend = backend_of(connections[using])
    # In one order everywhere: processes that lock the same rows wait for each other, not both for both.
    rows = [
        (size, backend.time(from_epoch(begins)), *names, *row)
        for (size, begins, *names), row in sorted(sums.items())
    ]
    # Together or not at all: what fails is added again.
    whole = transaction.atomic(using=using) if len(rows) > BATCH else nullcontext()
    with whole:
        for start in range(0, len(rows), BATCH):
            backend.add_rollups(rows[start : start + BATCH])


_counter = _Counter()


@forks.on_fork_reset
def _leave_counts() -> None:
    """Leave what a forked child's parent has counted to the parent."""
    global _counter
    _counter = _Counter()


def note_attempts(attempts: Iterable[tuple[ClaimedRun, Outcome]]) -> None:
    """Count attempts whose outcomes are written; `flush_if_due` has to be called within some time."""
    _counter.note_attempts(attempts)


def note_ended(runs: Iterable[tuple[str, str, str]], *, using: str) -> None:
    """Count runs that ended without an attempt: function, queue and outcome of each. Writes immediately.

    Call it after the commit. Where that fails the counts are kept, and written with the next ones.
    """
    now = time.time()
    for func, queue_name, outcome in runs:
        _counter.note(func, queue_name, outcome, now)
    _counter.write(using)


def seconds_until_due() -> float | None:
    """Return how long until counts should be written; None while there are none."""
    due_at = _counter.due_at
    return None if due_at == math.inf else max(0.0, due_at - time.monotonic())


def flush_if_due(using: str) -> None:
    """Write what was counted, if it has gathered for long enough."""
    if time.monotonic() >= _counter.due_at:
        _counter.write(using)


def flush(using: str) -> bool:
    """Write what was counted, now.

    Returns:
        False when the database did not take it; then it is kept.
    """
    return _counter.write(using)
