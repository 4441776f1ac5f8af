"""Which runs one worker claims for which engine, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.engines.processes import ProcessPool
from django_jobs.engines.threads import ThreadEngine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Claimed runs that wait in this process for a thread: about this much work, so that short runs
# need few claims and long ones never wait here while another process is idle.
PREFETCH_SECONDS = 0.02
MOST_PREFETCHED = 200


class Lane:
    """Some queues, and the threads that execute their runs or attend to the processes that do.

    Args:
        slots: Runs at once.
        queues: Names to claim from; empty means every queue.
        others: Names that other lanes claim from.
        processes: Whether each run is executed in a process of its own kind.
    """

    def __init__(
        self, *, slots: int, queues: Sequence[str] = (), others: Sequence[str] = (), processes: bool = False
    ) -> None:
        self.slots = slots
        self.queues = tuple(queues)
        self.others = tuple(others)
        self.pool = ProcessPool() if processes else None
        self.engine = ThreadEngine(slots, name=f"django_jobs-{'process' if processes else 'run'}")
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
        # A run that waits here for a process could be executed elsewhere meanwhile.
        share = 0.0 if self.pool is not None else PREFETCH_SECONDS / self.seconds_per_run
        return min(MOST_PREFETCHED, int(self.slots * share))

    @property
    def is_hungry(self) -> bool:
        """Whether a claim is worth making: without, a thread would rest before it is through."""
        return self.taken <= self.slots + self._prefetch // 2

    def serves(self, queue_name: str) -> bool:
        """Whether runs of a queue are claimed for this lane."""
        return queue_name in self.queues if self.queues else queue_name not in self.others

    def note(self, seconds: float) -> None:
        """Note how long a run took."""
        self.seconds_per_run += (max(seconds, 1e-5) - self.seconds_per_run) * 0.1

    def shutdown(self) -> None:
        """Execute nothing more."""
        self.engine.shutdown(wait=False, cancel_futures=True)
        if self.pool is not None:
            self.pool.shutdown()


def lanes(
    *, queues: Sequence[str], engines: Mapping[str, str], threads: int, processes: int
) -> tuple[Lane, ...]:
    """Return the lanes of a worker.

    Args:
        queues: Names that it serves; empty means all.
        engines: Queues whose runs are executed by "processes"; all others' are by threads.
        threads: Runs at once on threads.
        processes: Runs at once in processes.
    """
    apart = tuple(name for name, engine in engines.items() if engine == "processes")
    served = tuple(name for name in apart if not queues or name in queues)
    rest = tuple(name for name in queues if name not in apart)
    found = []
    if rest or not queues:
        found.append(Lane(slots=threads, queues=rest, others=apart))
    if served:
        found.append(Lane(slots=processes, queues=served, processes=True))
    return tuple(found)
