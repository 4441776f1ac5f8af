"""Which runs one worker claims for which engine, and how many at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.execution.engines.executors import ExecutorPool
from django_jobs.execution.engines.processes import ProcessPool
from django_jobs.execution.engines.threads import ThreadEngine
from django_jobs.storage.claim_start import ClaimStart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django_jobs.conf import JobsSettings
    from django_jobs.execution.engines.pool import Pool
    from django_jobs.storage.records import ClaimedRun

# Claimed runs that wait in this process for a thread: about this much work, so that short runs
# need few claims and long ones never wait here while another process is idle.
PREFETCH_SECONDS = 0.02
MOST_PREFETCHED = 200
# Deaths of their workers after which runs are executed in child processes.
SUSPECT_AFTER = 2


class Consumer:
    """Some queues, and the threads that execute their runs, or wait for the pool that does.

    Args:
        slots: Runs at the same time.
        queues: Names to claim from; empty means every queue.
        others: Names that other consumers claim from.
        pool: What executes the runs; None for the threads themselves.
        within: Whose threads it shares, of which its runs take `slots` at most; None for threads of its own.
    """

    def __init__(
        self,
        *,
        slots: int,
        queues: Sequence[str] = (),
        others: Sequence[str] = (),
        pool: Pool | None = None,
        within: Consumer | None = None,
    ) -> None:
        self.slots = slots
        self.within = within
        self.queues = tuple(queues)
        self.others = tuple(others)
        self.pool = pool
        self.engine: ThreadEngine = (
            ThreadEngine(slots, name=f"django_jobs-{'run' if pool is None else pool.kind}")
            if within is None
            else within.engine
        )
        # Claimed runs that are executed, or wait for a thread.
        self.taken = 0
        # The last claim found fewer than it asked for: a notice comes when there are more.
        self.is_drained = False
        self.claim_start = ClaimStart()
        # A moving average.
        self.seconds_per_run = 1.0

    @property
    def free(self) -> int:
        """How many runs may be claimed now."""
        own = self.slots + self._prefetch - self.taken
        return own if self.within is None else min(own, self.within.free)

    def has_free_thread(self, promised: int) -> bool:
        """Whether a thread is free besides those of some runs that were promised to begin here."""
        is_free = self.taken + promised < self.slots
        return is_free and (self.within is None or self.within.has_free_thread(promised))

    def count(self, change: int) -> None:
        """Count runs in that it executes, or out."""
        self.taken += change
        if self.within is not None:
            self.within.count(change)

    @property
    def _prefetch(self) -> int:
        # A run that waits here for a pool could be executed in another process meanwhile.
        # And one that shares threads would have more of them than it may.
        share = (
            0.0
            if self.pool is not None or self.within is not None
            else PREFETCH_SECONDS / self.seconds_per_run
        )
        return min(MOST_PREFETCHED, int(self.slots * share))

    @property
    def is_prefetching(self) -> bool:
        """Whether its runs are so short that some wait here for a thread."""
        return self._prefetch > 0

    @property
    def is_hungry(self) -> bool:
        """Whether a claim is worth making: without one a thread would be idle before the claim is done."""
        return self.taken <= self.slots + self._prefetch // 2

    def serves(self, queue_name: str) -> bool:
        """Whether runs of a queue are claimed for this consumer."""
        return queue_name in self.queues if self.queues else queue_name not in self.others

    def note(self, seconds: float) -> None:
        """Note how long a run took."""
        self.seconds_per_run += (max(seconds, 1e-5) - self.seconds_per_run) * 0.1
        if self.within is not None:
            self.within.note(seconds)

    def shutdown(self) -> None:
        """Execute nothing more."""
        self.engine.shutdown(wait=False, cancel_futures=True)
        if self.pool is not None:
            self.pool.shutdown()


class Consumers:
    """A worker's consumers, and which of them a run takes a slot of.

    Args:
        consumers: What the worker claims for; the first has the queues that nobody named.
        quarantine: Executes runs that may have killed their workers, whatever their queue: one that does
            it again ends a child process, and neither the worker nor other runs.
        max_rescues: MAX_RESCUES.
    """

    def __init__(self, consumers: Sequence[Consumer], quarantine: Consumer, max_rescues: int) -> None:
        self._consumers = tuple(consumers)
        self.quarantine = quarantine
        self._suspect_after = min(SUSPECT_AFTER, max_rescues)

    def __iter__(self) -> Iterator[Consumer]:
        # Those first that have but a part of the threads: the others would take all.
        return iter(sorted(self._consumers, key=lambda consumer: consumer.within is None))

    def __getitem__(self, index: int) -> Consumer:
        return self._consumers[index]

    def serving(self, queue_name: str) -> Consumer | None:
        """Return the consumer whose claims take runs of a queue."""
        return next((consumer for consumer in self._consumers if consumer.serves(queue_name)), None)

    def of(self, run: ClaimedRun) -> Consumer:
        """Return the consumer that executes a claimed run."""
        return self.quarantine if run.rescues >= self._suspect_after > 0 else self._claiming(run)

    def _claiming(self, run: ClaimedRun) -> Consumer:
        if len(self._consumers) == 1:
            return self._consumers[0]
        return next(
            (consumer for consumer in self._consumers if run.queue_name in consumer.queues),
            self._consumers[0],
        )

    def take_slot(self, run: ClaimedRun) -> Consumer:
        """Count a run in; the worker's lock is held. Return the consumer that executes it."""
        consumer = self.of(run)
        consumer.count(1)
        if consumer is self.quarantine:
            self._count_claimed(run, 1)
        return consumer

    def free_slot(self, run: ClaimedRun, consumer: Consumer) -> Consumer:
        """Count a run out; the worker's lock is held. Return the consumer that claimed it."""
        consumer.count(-1)
        return self._count_claimed(run, -1) if consumer is self.quarantine else consumer

    def _count_claimed(self, run: ClaimedRun, change: int) -> Consumer:
        """Have a run in quarantine take a slot where it was claimed too, or free it."""
        claiming = self._claiming(run)
        if claiming is not self.quarantine:
            claiming.count(change)
        return claiming

    def shutdown(self) -> None:
        """Execute nothing more."""
        for consumer in {*self._consumers, self.quarantine}:
            consumer.shutdown()


def consumers(
    *,
    queues: Sequence[str],
    threads: int,
    settings: JobsSettings,
    queue_threads: Mapping[str, int] | None = None,
) -> Consumers:
    """Return the consumers of a worker: the one for queues that have no engine of their own comes first.

    Runs of "celery" queues are claimed by Celery's workers only. A run that waits in an "inline" queue was
    not due when it was added, so it was not executed there: threads execute it.

    Args:
        queues: Names that the worker serves; empty means all.
        threads: Runs on threads at the same time.
        settings: Which engine a queue has, and how many runs at the same time.
        queue_threads: Queues that take at most so many of the threads, over QUEUE_THREADS.
    """
    most = {**settings.QUEUE_THREADS, **(queue_threads or {})}
    engines = {
        name: engine for name, engine in settings.ENGINES.items() if engine not in {"threads", "inline"}
    }
    rest = tuple(name for name in queues if name not in engines)
    found = []
    # Only those that can have fewer than all.
    parts = tuple(
        name
        for name, count in most.items()
        if count < threads and name not in engines and (not queues or name in queues)
    )
    rest = tuple(name for name in rest if name not in parts)
    if rest or parts or not queues:
        whole = Consumer(slots=threads, queues=rest, others=(*engines, *parts))
        found += [whole] if rest or not queues else []
        found += [Consumer(slots=most[name], queues=(name,), within=whole) for name in parts]
    for engine in dict.fromkeys(engines.values()):
        served = tuple(
            name for name, value in engines.items() if value == engine and (not queues or name in queues)
        )
        if not served or engine == "celery":
            continue
        if engine == "processes":
            found.append(_processes(settings, served))
        else:
            slots = settings.EXECUTOR_RUNS
            found.append(Consumer(slots=slots, queues=served, pool=ExecutorPool(engine, max_workers=slots)))
    processes = (consumer for consumer in found if isinstance(consumer.pool, ProcessPool))
    return Consumers(found, next(processes, None) or _processes(settings), settings.MAX_RESCUES)


def one_consumer(*, queues: Sequence[str], threads: int, settings: JobsSettings) -> Consumers:
    """Return the consumers of a worker that executes some queues' runs on its threads, whatever their engine."""
    return Consumers([Consumer(slots=threads, queues=queues)], _processes(settings), settings.MAX_RESCUES)


def _processes(settings: JobsSettings, queues: Sequence[str] = ()) -> Consumer:
    """Return a consumer whose runs are executed in child processes, one in each at a time."""
    pool = ProcessPool(max_runs=settings.MAX_RUNS_PER_CHILD)
    return Consumer(slots=settings.PROCESSES, queues=queues, pool=pool)
