"""Which runs one worker claims for which engine, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.execution.engines.executors import ExecutorPool
from django_jobs.execution.engines.processes import ProcessPool
from django_jobs.execution.engines.threads import ThreadEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.conf import JobsSettings
    from django_jobs.execution.engines.pool import Pool

# Claimed runs that wait in this process for a thread: about this much work, so that short runs
# need few claims and long ones never wait here while another process is idle.
PREFETCH_SECONDS = 0.02
MOST_PREFETCHED = 200


class Consumer:
    """Some queues, and the threads that execute their runs or attend to what does.

    Args:
        slots: Runs at once.
        queues: Names to claim from; empty means every queue.
        others: Names that other consumers claim from.
        pool: What executes the runs; None for the threads themselves.
    """

    def __init__(
        self,
        *,
        slots: int,
        queues: Sequence[str] = (),
        others: Sequence[str] = (),
        pool: Pool | None = None,
    ) -> None:
        self.slots = slots
        self.queues = tuple(queues)
        self.others = tuple(others)
        self.pool = pool
        self.engine = ThreadEngine(slots, name=f"django_jobs-{'run' if pool is None else pool.kind}")
        # Claimed runs that are executed, or wait for a thread.
        self.taken = 0
        # The last claim found fewer than it asked for: more comes with a notice, or not at all.
        self.is_drained = False
        # A moving average.
        self.seconds_per_run = 1.0

    @property
    def free(self) -> int:
        """How many runs may be claimed now."""
        return self.slots + self._prefetch - self.taken

    @property
    def _prefetch(self) -> int:
        # A run that waits here for a pool could be executed elsewhere meanwhile.
        share = 0.0 if self.pool is not None else PREFETCH_SECONDS / self.seconds_per_run
        return min(MOST_PREFETCHED, int(self.slots * share))

    @property
    def is_hungry(self) -> bool:
        """Whether a claim is worth making: without, a thread would rest before it is through."""
        return self.taken <= self.slots + self._prefetch // 2

    def serves(self, queue_name: str) -> bool:
        """Whether runs of a queue are claimed for this consumer."""
        return queue_name in self.queues if self.queues else queue_name not in self.others

    def note(self, seconds: float) -> None:
        """Note how long a run took."""
        self.seconds_per_run += (max(seconds, 1e-5) - self.seconds_per_run) * 0.1

    def shutdown(self) -> None:
        """Execute nothing more."""
        self.engine.shutdown(wait=False, cancel_futures=True)
        if self.pool is not None:
            self.pool.shutdown()


def consumers(*, queues: Sequence[str], threads: int, settings: JobsSettings) -> tuple[Consumer, ...]:
    """Return the consumers of a worker: what no engine of its own is named for comes first, on threads.

    Runs of "celery" queues are claimed by Celery's workers only. What waits in an "inline" queue was not
    executed where it was added, because it was not due: threads have it.

    Args:
        queues: Names that the worker serves; empty means all.
        threads: Runs at once on threads.
        settings: Which engine a queue has, and how much of it there is.
    """
    engines = {
        name: engine for name, engine in settings.ENGINES.items() if engine not in {"threads", "inline"}
    }
    rest = tuple(name for name in queues if name not in engines)
    found = []
    if rest or not queues:
        found.append(Consumer(slots=threads, queues=rest, others=tuple(engines)))
    for engine in dict.fromkeys(engines.values()):
        served = tuple(
            name for name, value in engines.items() if value == engine and (not queues or name in queues)
        )
        if not served or engine == "celery":
            continue
        if engine == "processes":
            found.append(processes_consumer(settings, served))
        else:
            slots = settings.EXECUTOR_RUNS
            found.append(Consumer(slots=slots, queues=served, pool=ExecutorPool(engine, max_workers=slots)))
    return tuple(found)


def processes_consumer(settings: JobsSettings, queues: Sequence[str] = ()) -> Consumer:
    """Return a consumer whose runs are executed in child processes, one in each at a time."""
    pool = ProcessPool(max_runs=settings.MAX_RUNS_PER_CHILD)
    return Consumer(slots=settings.PROCESSES, queues=queues, pool=pool)
