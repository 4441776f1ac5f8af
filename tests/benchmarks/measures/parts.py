"""One run's parts, one after the other on one thread, by the processor's time; beside bare statements in turns."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import connection

from django_jobs import codec, get_job_manager
from django_jobs.execution import recording
from django_jobs.execution.attempt import Attempt
from django_jobs.storage import claims, statistics
from django_jobs.storage import connections as own_connections
from tests.benchmarks import floor, rows, work
from tests.benchmarks.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Watch(Protocol):
        """What is told when a part has ended, for the runs of one batch."""

        def note(self, part: str) -> None: ...

    Seconds = defaultdict[str, float]

PARTS = ("claim", "objects", "begin", "execute", "write", "report")


def measure(*, quick: bool) -> list[Figure]:
    """Measure each part of empty runs; the smallest values say most where a machine is shared."""
    count, rounds = (2_000, 4) if quick else (5_000, 10)
    worker_id = prepare()
    ours: defaultdict[str, list[float]] = defaultdict(list)
    bare: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for part, seconds in _round(count, lambda watch: ours_part_by_part(watch, worker_id)).items():
            ours[part].append(seconds / count * 1e6)
        for part, seconds in _round(count, bare_part_by_part).items():
            bare[part].append(seconds / count * 1e6)
    return [
        Figure(
            name=f"{part}, smallest {min(ours[part]):.1f}",
            unit="us",
            values=ours[part],
            reference=f"the driver's statements, smallest {min(bare[part]):.1f}" if part in bare else "",
            reference_values=bare.get(part, []),
        )
        for part in (*PARTS, "all")
    ]


def prepare() -> str:
    """Make this thread one that executes runs, and has used its connection; return the id of a worker."""
    # Its session is not watched: a claim, which is another thread's work, sets how PostgreSQL plans, and each batch
    # would connect again for that.
    own_connections.claim_context()
    return rows.live_worker("default")


def _round(count: int, work_off: Callable[[Watch], None]) -> Seconds:
    rows.forget_runs()
    get_job_manager().add_many((work.nothing, ()) for _ in range(count))
    spent: Seconds = defaultdict(float)
    work_off(_CpuWatch(spent))
    spent["all"] = sum(spent.values())
    return spent


class _CpuWatch:
    """Adds the processor's time since it was last asked to a part."""

    def __init__(self, spent: Seconds) -> None:
        self._spent = spent
        self._at = time.process_time()

    def note(self, part: str) -> None:
        now = time.process_time()
        self._spent[part] += now - self._at
        self._at = now


def ours_part_by_part(watch: Watch, worker_id: str) -> None:
    """Work off the queue, and tell the watch of each part's end."""
    while runs := claims.claim(worker_id, limit=floor.BATCH, using="default"):
        watch.note("claim")
        attempts = [Attempt(run) for run in runs]
        watch.note("objects")
        for attempt in attempts:
            attempt.begin()
        watch.note("begin")
        outcomes = [(attempt.run, attempt.execute_to_end()) for attempt in attempts]
        watch.note("execute")
        written = recording.record(outcomes, using="default")
        watch.note("write")
        recording.report(outcomes, written)
        statistics.flush_if_due("default")
        watch.note("report")


def bare_part_by_part(watch: Watch) -> None:
    """Do the same with the driver's statements."""
    claim, finish = floor.STATEMENTS[connection.vendor]
    raw = floor.raw_connection()
    while runs := claim(raw):
        watch.note("claim")
        ended = []
        for run_id, func, payload in runs:
            began_at = datetime.now(UTC)
            args, kwargs = codec.load_arguments(payload)
            floor.FUNCTIONS[func](*args, **kwargs)
            ended.append((run_id, began_at, datetime.now(UTC)))
        watch.note("execute")
        finish(raw, ended)
        watch.note("write")
