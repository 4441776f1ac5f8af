"""The loop of one process: claim, engine, finish."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, transaction
from django.db import connections as django_connections
from django.utils import timezone

from django_jobs import __version__, signals
from django_jobs.conf import jobs_settings, queues_of
from django_jobs.execution.engines.event_loop import LoopEngine
from django_jobs.execution.engines.pool import CannotStart, ProcessDied
from django_jobs.execution.engines.processes import ProcessPool
from django_jobs.execution.runner import Execution
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import claims, connections, identity, leases, notifications, release, transactions
from django_jobs.storage.connections import ConnectionBackoff
from django_jobs.storage.records import INTERRUPTED, ClaimedRun, Outcome
from django_jobs.worker.completer import Completer
from django_jobs.worker.consumers import Consumer, consumers, processes_consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Future

    from django_jobs.execution.engines.pool import Pool
    from django_jobs.execution.runner import Begun

# A begun `async def` run, what to await for it, and the consumer that it has a slot of.
_ForLoop = tuple["Execution", "Callable[[], Coroutine[None, None, Outcome]]", "Consumer"]

logger = logging.getLogger(__name__)


# Deaths of their workers after which runs are executed in child processes.
SUSPECT_AFTER = 2
# How often one attempt may be handed back: what takes longer than its workers live would begin for ever.
MOST_INTERRUPTIONS = 20
# Before a run is handed back that nothing here could be started for.
REFUSED_SECONDS = 1.0
# Transactions take their time, and the rolled back ones say nothing.
PROMISE_SECONDS = 600.0
MOST_PROMISED = 1000


class Worker:
    """Claims runs, has them executed, and has their outcomes written.

    Args:
        using: Alias of the database.
        queues: Names to serve; empty means all.
        threads: Plain functions at once.
        async_runs: `async def` functions at once.
        has_clock: Whether a clock runs beside it; only said in its row.
    """

    def __init__(
        self,
        *,
        using: str,
        queues: Sequence[str] = (),
        threads: int | None = None,
        async_runs: int | None = None,
        has_clock: bool = False,
    ) -> None:
        settings = jobs_settings()
        self.using = using
        self.queues = tuple(queues)
        self.threads = settings.THREADS if threads is None else threads
        self.has_clock = has_clock
        self.id = identity.new_worker_id()
        self.paused: tuple[str, ...] = ()
        self._async_runs = settings.ASYNC_RUNS if async_runs is None else async_runs
        self._poll_seconds = settings.POLL_SECONDS
        # Queues that workers of another system are told of.
        self._dispatched = queues_of("celery")
        self.consumers = consumers(queues=self.queues, threads=self.threads, settings=settings)
        # For runs that may have killed their processes, whatever their queue: one that does it again
        # ends a child process, and neither this one nor the other runs in it.
        self._apart = next(
            (consumer for consumer in self.consumers if isinstance(consumer.pool, ProcessPool)),
            processes_consumer(settings),
        )
        self._max_rescues = settings.MAX_RESCUES
        self._loop = LoopEngine()
        self._completer = Completer(using=using, on_written=self._written)
        self._claims_elsewhere = django_connections[using].vendor == "sqlite"
        self._lock = threading.Lock()
        # By run and attempt: a run that was lost may be here a second time.
        self._executions: dict[tuple[int, int], Execution] = {}
        # Those of them that no thread has begun; whoever takes one out decides what becomes of it.
        self._waiting: dict[tuple[int, int], Execution] = {}
        self._is_claiming = False
        # Runs that were ever claimed.
        self.claims = 0
        # Runs that this process inserted as its own, and when: each begins when its transaction commits.
        self._promised: dict[tuple[int, int], float] = {}
        # How many are about to be: outside a transaction they are committed before they are promised.
        self._inserting = 0
        # Runs that nobody here knew of when the database was last asked.
        self._unknown: set[tuple[int, int]] = set()
        # Monotonic: when maintenance last extended the lease, and when the worker will look by itself.
        self.last_heartbeat = 0.0
        self.next_look = math.inf
        # Whether maintenance says what is due, so that nothing has to be looked for at intervals.
        self.has_maintainer = False
        self._lease_seconds = settings.LEASE_SECONDS
        # Runs on the loop, and not yet written.
        self._on_loop = 0
        # Those of `_waiting` that wait for others on the loop to end; they keep the slots of their threads.
        self._for_loop: deque[_ForLoop] = deque()
        self._unwritten: set[tuple[int, int]] = set()
        # Begun, interrupted, and still RUNNING in the database: their lease does the rest.
        self._interrupted_unsaid: set[tuple[int, int]] = set()
        # A claim may have been made whose answer was lost.
        self._may_hold_unknown = False
        self._wake = threading.Event()
        self._idle = threading.Condition(self._lock)
        self._progress: set[Execution] = set()
        self._stopping = threading.Event()
        # Called, if set, when a run got a deadline or progress that maintenance should see to.
        self.on_attention: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._serve, name="django_jobs-worker", daemon=True)

    # Its row

    def _register(self, worker_id: str) -> None:
        """Write a row for this worker; only then may it claim under that id."""
        now = transactions.database_now(self.using)
        WorkerRow.objects.using(self.using).create(
            id=worker_id,
            host=identity.host(),
            process_key=identity.process_key(),
            pid=os.getpid(),
            version=__version__,
            queues=list(self.queues),
            threads=self.threads,
            has_clock=self.has_clock,
            started_at=now,
            heartbeat_at=now,
            lease_expires_at=now + timedelta(seconds=self._lease_seconds),
        )
        self.last_heartbeat = time.monotonic()

    # Start and stop

    def start(self) -> None:
        """Register, and begin to claim.

        Raises:
            DatabaseError: The row could not be written.
            RuntimeError: No thread can be started.
        """
        self._register(self.id)
        try:
            self._completer.start()
            self._thread.start()
        except RuntimeError:
            # No thread can be started.
            self._stopping.set()
            self._completer.stop(1.0)
            self.close_row()
            raise
        notifications.subscribe(self._heard)
        signals.emit(
            signals.worker_started,
            worker_id=self.id,
            queues=self.queues,
            threads=self.threads,
            has_clock=self.has_clock,
        )

    def stop_claiming(self) -> None:
        """Claim no more, and hand back what no thread has begun."""
        notifications.unsubscribe(self._heard)
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self.release_waiting()

    def stop(self, timeout: float) -> bool:
        """Stop claiming, let running work finish, and hand back the rest; `close_row` comes next.

        Args:
            timeout: Seconds that running work may take; then it is told to stop, and handed back
                without counting an attempt, or FAILED where it must not begin twice.

        Returns:
            Whether everything that ran had finished.
        """
        self.stop_claiming()
        running = len(self.executions())
        if running and timeout:
            logger.info("worker=%s stops, and waits for %s runs: at most %g s", self.id, running, timeout)
        ended = self.wait_idle(timeout)
        if not ended:
            left = self.executions()
            for execution in left:
                execution.stop("shutdown", self._loop.call_soon)
            # A moment for those that listen.
            self.wait_idle(min(1.0, timeout / 10))
            # One that was promised may have come since.
            self.release_waiting()
            for execution in self.executions():
                self._interrupted(execution)
        for consumer in {*self.consumers, self._apart}:
            consumer.shutdown()
        self._loop.shutdown(wait=ended)
        is_written = self._completer.stop(max(1.0, timeout))
        return ended and is_written

    def close_row(self) -> None:
        """Close the row, once nothing extends its lease any more: a closed row is one of the dead."""
        try:
            WorkerRow.objects.using(self.using).filter(pk=self.id, stopped_at__isnull=True).update(
                stopped_at=transactions.database_now(self.using)
            )
        except (DatabaseError, InterfaceError) as error:
            logger.warning("worker=%s could not say that it stopped, its lease will: %s", self.id, error)
        signals.emit(signals.worker_stopped, worker_id=self.id)

    # What it holds

    def executions(self) -> list[Execution]:
        """Return the attempts that are under way or wait for a thread."""
        with self._lock:
            return list(self._executions.values())

    @property
    def is_stopping(self) -> bool:
        """Whether it claims no more."""
        return self._stopping.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether it holds no run, is about to hold none, and has written all outcomes."""
        with self._lock:
            return not (self._executions or self._unwritten or self._is_claiming or self._recently_promised())

    def has_nothing_due(self) -> bool:
        """Ask the queue whether no run is due that this worker would claim."""
        paused = (*self.paused, *self._dispatched)
        return not claims.is_any_due(self.id, queues=self.queues, paused=paused, using=self.using)

    def wait_idle(self, timeout: float | None) -> bool:
        """Wait until it holds nothing; return whether it came to that in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._executions and not self._unwritten, timeout)

    def stop_run(self, run_id: int, reason: str) -> None:
        """Tell one attempt to end; one that has not begun is ended here."""
        with self._lock:
            found = [(key, execution) for key, execution in self._executions.items() if key[0] == run_id]
        for key, execution in found:
            if reason == "cancelled" and self._waiting.pop(key, None) is not None:
                self._ended(execution, _never_begun("CANCELLED", "cancelled before it began"))
                self._release(execution.run, self._consumer_of(execution.run))
            else:
                execution.stop(reason, self._loop.call_soon)

    def release_waiting(self) -> None:
        """Return the claimed runs that wait for a thread to the queue."""
        unbegun = [
            execution.run for key in list(self._waiting) if (execution := self._waiting.pop(key, None))
        ]
        for run in unbegun:
            self._release(run, self._consumer_of(run))
        self._release_claims(unbegun)

    def release_stuck(self, seconds: float = 1.0) -> None:
        """Return to the queue what was prefetched and has waited for a thread since."""
        now = time.monotonic()
        waiting = list(self._waiting.values())
        stuck = [execution for execution in waiting if now - execution.claimed_at > seconds]
        for execution in stuck:
            # Runs here take longer than they used to: claim no more than there are threads.
            consumer = self._consumer_of(execution.run)
            consumer.seconds_per_run = max(consumer.seconds_per_run, seconds)
        if stuck:
            self.release_waiting()

    def _release_claims(self, runs: list[ClaimedRun]) -> None:
        if not runs:
            return
        try:
            for worker_id in {run.worker_id for run in runs}:
                theirs = [(run.id, run.attempt) for run in runs if run.worker_id == worker_id]
                release.release_claims(worker_id, theirs, using=self.using)
        except (DatabaseError, InterfaceError) as error:
            # While this worker lives, it looks for them when the database is back.
            self._may_hold_unknown = True
            logger.warning(
                "worker=%s could not hand back %s runs, its lease will: %s", self.id, len(runs), error
            )
        self._forget(runs)

    def _interrupted(self, execution: Execution) -> None:
        """Hand back a run whose function has been called, or end it where it must not be called again."""
        run, key = execution.run, (execution.run.id, execution.run.attempt)
        with self._idle:
            if self._executions.pop(key, None) is None:
                # It ended at this instant, or is handed back already.
                return
            self._progress.discard(execution)
            # Nobody may take it for one that was never begun.
            self._unwritten.add(key)
        outcome = _too_often_interrupted(execution)
        if outcome is not None:
            self._completer.put(run, outcome)
            return
        try:
            release.release_interrupted(run, execution.cut_off(INTERRUPTED), using=self.using)
        except (DatabaseError, InterfaceError) as error:
            self._interrupted_unsaid.add(key)
            logger.warning("worker=%s could not hand back 1 runs, its lease will: %s", self.id, error)
        with self._idle:
            self._unwritten.discard(key)
        self._forget([run])

    def _forget(self, runs: list[ClaimedRun]) -> None:
        with self._idle:
            for run in runs:
                self._executions.pop((run.id, run.attempt), None)
                self._waiting.pop((run.id, run.attempt), None)
            self._idle.notify_all()
        notifications.notify_local(notifications.RUNS)

    def take_progress(self) -> list[Execution]:
        """Return the attempts whose progress changed since the last call."""
        with self._lock:
            changed, self._progress = self._progress, set()
        return list(changed)

    # Claiming

    def _heard(self, topic: str) -> None:
        if topic in {notifications.RUNS, notifications.ANYTHING}:
            self._wake.set()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def _serve(self) -> None:
        backoff = ConnectionBackoff("worker", self.using)
        wait: float | None = 0.0
        while not self._stopping.is_set():
            self.next_look = math.inf if wait is None else time.monotonic() + wait
            self._wake.wait(wait)
            self._wake.clear()
            if self._stopping.is_set():
                break
            try:
                wait = self._claim()
                backoff.worked()
            except (DatabaseError, InterfaceError) as error:
                self._may_hold_unknown = True
                self._stopping.wait(backoff.failed(error))
                wait = 0.0
            except Exception:  # a mistake of ours must not end the loop that everything hangs on
                logger.exception("worker=%s: claiming failed", self.id)
                wait = self._poll_seconds
        backoff.close()
        connections.give_back()

    def _claim(self) -> float | None:
        """Claim while there are free slots; return how long to wait then, None for until woken."""
        if self._may_hold_unknown:
            # Before, not after: another thread may find a reason to look again meanwhile.
            self._may_hold_unknown = False
            self._release_unknown()
        waits = [wait for consumer in self.consumers if (wait := self._claim_for(consumer)) is not None]
        return min(waits) if waits else None

    def _release_unknown(self) -> None:
        """Return to the queue what the database says this worker holds, and it knows nothing of.

        A connection that breaks between the commit of a claim and its answer leaves such runs, and the
        heartbeat would keep them for ever.
        """
        held = claims.held(self.id, using=self.using)
        with self._lock:
            known = self._executions.keys() | self._unwritten | self._interrupted_unsaid
            unknown = held - known - self._promised.keys()
            if self._inserting:
                # It may be theirs; `release_forgotten` finds what is not.
                return
        if unknown:
            release.release_claims(self.id, unknown, using=self.using)

    def release_forgotten(self) -> None:
        """Return to the queue what this worker holds and has not begun since this was last called.

        A connection that breaks between the commit of a caller's transaction and its answer leaves a
        promise that nobody keeps.
        """
        with self._lock:
            if self._is_claiming:
                # What it takes is not known yet; a process that is stopped now must not forget it then.
                self._unknown = set()
                return
        held = claims.held(self.id, using=self.using)
        with self._lock:
            unknown = held - self._executions.keys() - self._unwritten - self._interrupted_unsaid
            forgotten = unknown & self._unknown
            self._unknown = unknown - forgotten
            for key in forgotten:
                # Should its transaction's end be told of after all, it is no longer begun here.
                self._promised.pop(key, None)
        if forgotten:
            logger.warning("worker=%s: %s runs were not begun after their commit", self.id, len(forgotten))
            release.release_claims(self.id, forgotten, using=self.using)
            self._wake.set()

    def _claim_for(self, consumer: Consumer) -> float | None:
        paused = (*self.paused, *consumer.others)
        while not self._stopping.is_set():
            free = self.free_slots(consumer)
            if free < 1:
                consumer.is_drained = False
                return None
            with self._lock:
                self._is_claiming = True
            try:
                runs = self._claim_runs(free, consumer.queues, paused)
                for run in runs:
                    self.execute(run)
            finally:
                with self._lock:
                    self._is_claiming = False
            consumer.is_drained = len(runs) < free
            if consumer.is_drained:
                break
        due = claims.seconds_until_ready(
            queues=consumer.queues, paused=paused, within=2 * self._poll_seconds, using=self.using
        )
        wait = math.inf if due is None else due + 0.001
        if not self.has_maintainer:
            wait = min(wait, self._poll_seconds)
        return None if wait == math.inf else wait

    def _claim_runs(self, limit: int, queues: Sequence[str], paused: Sequence[str]) -> list[ClaimedRun]:
        """Claim on this thread; on SQLite on the completer's.

        A connection of SQLite's forgets all pages that it has read when another one writes, and two that
        write sleep while they wait for each other: on one, both take half the time.
        """

        def claim() -> list[ClaimedRun]:
            return claims.claim(self.id, limit=limit, queues=queues, paused=paused, using=self.using)

        if not self._claims_elsewhere:
            return claim()
        future = self._completer.call(claim)
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                # A file that is locked for long keeps the completer, but not a worker that stops.
                if self._stopping.is_set() and future.cancel():
                    return []

    def free_slots(self, consumer: Consumer) -> int:
        """Return how many runs may be claimed for a consumer now."""
        with self._lock:
            return 0 if self._on_loop >= self._async_runs else consumer.free

    def _consumer_of(self, run: ClaimedRun) -> Consumer:
        if run.rescues >= min(SUSPECT_AFTER, self._max_rescues) > 0:
            return self._apart
        return self._claimed_by(run)

    def _claimed_by(self, run: ClaimedRun) -> Consumer:
        if len(self.consumers) == 1:
            return self.consumers[0]
        # The first has the queues that nobody named.
        return next(
            (consumer for consumer in self.consumers if run.queue_name in consumer.queues), self.consumers[0]
        )

    def execute(self, run: ClaimedRun, *, is_promised: bool = False) -> None:
        """Hand a claimed run to the engine; a promised one only while the promise stands."""
        execution = Execution(run, report_progress=self._progressed)
        key = (run.id, run.attempt)
        consumer = self._consumer_of(run)
        with self._lock:
            if is_promised and self._promised.pop(key, None) is None:
                return
            self._executions[key] = self._waiting[key] = execution
            consumer.taken += 1
            if consumer is self._apart:
                self._count_apart(run, 1)
            self.claims += 1
        consumer.engine.call(self._begin, key, consumer)

    def _count_apart(self, run: ClaimedRun, change: int) -> Consumer:
        """Have a run that is executed apart take a slot of the consumer that claims it, or free it."""
        claimed_by = self._claimed_by(run)
        if claimed_by is not self._apart:
            claimed_by.taken += change
        return claimed_by

    # Runs that this process adds

    def would_begin(self, queue_name: str) -> bool:
        """Return whether a run that is added now can begin here as soon as it is committed.

        If so, it is inserted next: `promise` or `break_off` follows.
        """
        if (
            self._stopping.is_set()
            or queue_name in self.paused
            # It may be taken for dead by now, and not know it.
            or time.monotonic() - self.last_heartbeat > self._lease_seconds / 2
        ):
            return False
        consumer = next((consumer for consumer in self.consumers if consumer.serves(queue_name)), None)
        # Not to processes: a claim under way may take the last of them, and they hold no run in reserve.
        if consumer is None or consumer.pool is not None or not consumer.is_drained:
            return False
        with self._lock:
            is_free = (
                consumer.taken + self._recently_promised() < consumer.slots
                and self._on_loop < self._async_runs
                and len(self._promised) < MOST_PROMISED
            )
            self._inserting += is_free
            return is_free

    def break_off(self) -> None:
        """Note that the run was not inserted that would have begun here."""
        with self._lock:
            self._inserting -= 1

    def _recently_promised(self) -> int:
        # Those of a transaction that was rolled back are never heard of again.
        since = time.monotonic() - 1.0
        return sum(at > since for at in self._promised.values())

    def promise(self, run: ClaimedRun) -> Callable[[], None]:
        """Promise to begin a run that was inserted as this worker's when the transaction under way commits.

        Returns:
            What keeps the promise, to be called in that transaction.
        """
        with self._lock:
            self._inserting -= 1
            self._promised[run.id, run.attempt] = time.monotonic()
        return lambda: transaction.on_commit(lambda: self._keep(run), using=self.using)

    def _keep(self, run: ClaimedRun) -> None:
        if run.worker_id == self.id and not self._stopping.is_set():
            try:
                self.execute(run, is_promised=True)
            except RuntimeError:
                # The engine was shut down meanwhile.
                self._release_claims([run])
            return
        with self._lock:
            is_ours = self._promised.pop((run.id, run.attempt), None) is not None
        if is_ours:
            self._release_claims([run])

    def forget_old_promises(self) -> None:
        """Forget those that were rolled back; one that was not is found by `release_forgotten`."""
        with self._lock:
            since = time.monotonic() - PROMISE_SECONDS
            for key in [key for key, at in self._promised.items() if at < since]:
                del self._promised[key]

    # Executing, on the engine's threads and the loop

    def _begin(self, key: tuple[int, int], consumer: Consumer) -> None:
        execution = self._waiting.pop(key, None)
        if execution is None:
            # Taken back before it began.
            return
        began = time.monotonic()
        keeps_slot = False
        try:
            execution.start_clock()
            signals.emit(signals.run_started, run=execution.run)
            if execution.deadline is not None and self.on_attention is not None:
                self.on_attention()
            outcome = (
                execution.begin() if consumer.pool is None else self._begin_remotely(execution, consumer.pool)
            )
            if isinstance(outcome, Outcome):
                self._ended(execution, outcome)
            elif outcome is not None and not self._detach(execution, outcome, consumer):
                # What cannot begin here is not claimed.
                keeps_slot = True
        except Exception as error:  # a mistake of ours, which the heartbeat would keep RUNNING for ever
            logger.exception("worker=%s: executing run=%s failed", self.id, key[0])
            self._ended(execution, execution.failed(error))
        finally:
            if not keeps_slot:
                self._release(execution.run, consumer, time.monotonic() - began)

    def _begin_remotely(self, execution: Execution, pool: Pool) -> Begun | None:
        """Have a run executed by a pool; return None when what did it died, and this is written."""
        try:
            return pool.execute(execution)
        except CannotStart as error:
            self._cannot_begin(execution.run, error)
            return None
        except ProcessDied as death:
            outcome = execution.killed(str(death))
            if outcome is None:
                self._write_death(execution.run, str(death))
                self._forget([execution.run])
            return outcome

    def _cannot_begin(self, run: ClaimedRun, error: Exception) -> None:
        """Hand back a run whose function cannot be called: the system refused a thread or a process."""
        logger.error("worker=%s: job=%s run=%s cannot begin here: %s", self.id, run.job_id, run.id, error)
        # Or it would be claimed again at once, and again.
        self._stopping.wait(REFUSED_SECONDS)
        self._release_claims([run])

    def _write_death(self, run: ClaimedRun, reason: str) -> None:
        backoff = ConnectionBackoff("engine", self.using)
        while True:
            try:
                rescued = leases.rescue_one(run, reason, max_rescues=self._max_rescues, using=self.using)
            except (DatabaseError, InterfaceError) as error:
                if self._stopping.wait(backoff.failed(error)):
                    # Its lease does the rest.
                    backoff.close()
                    return
            else:
                backoff.worked()
                if rescued is not None:
                    leases.report_rescues([rescued], using=self.using)
                return

    def _detach(
        self, execution: Execution, begin: Callable[[], Coroutine[None, None, Outcome]], consumer: Consumer
    ) -> bool:
        """Have a run awaited on the loop; return False when it has to wait until others there end."""
        with self._lock:
            if self._on_loop >= self._async_runs:
                execution.stop_clock()
                self._waiting[execution.run.id, execution.run.attempt] = execution
                self._for_loop.append((execution, begin, consumer))
                return False
            self._on_loop += 1
        self._await(execution, begin)
        return True

    def _await(self, execution: Execution, begin: Callable[[], Coroutine[None, None, Outcome]]) -> None:
        try:
            future = self._loop.submit(begin)
        except RuntimeError as error:
            with self._lock:
                self._on_loop -= 1
            if not self._stopping.is_set():
                self._cannot_begin(execution.run, error)
            # Else it is handed back with the rest.
            return
        future.add_done_callback(lambda done: self._awaited(execution, done))

    def _awaited(self, execution: Execution, future: Future[Outcome]) -> None:
        with self._lock:
            was_full = self._on_loop >= self._async_runs
            following = self._next_for_loop() if self._for_loop else None
            if following is None:
                self._on_loop -= 1
        if following is not None:
            begun, begin, consumer = following
            begun.start_clock()
            if begun.deadline is not None and self.on_attention is not None:
                self.on_attention()
            self._await(begun, begin)
            self._release(begun.run, consumer)
        try:
            outcome = future.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing else would end the run
            outcome = execution.failed(error)
        self._ended(execution, outcome)
        if was_full:
            self._wake.set()

    def _next_for_loop(self) -> _ForLoop | None:
        while self._for_loop:
            following = self._for_loop.popleft()
            run = following[0].run
            if self._waiting.pop((run.id, run.attempt), None) is not None:
                return following
            # Taken back meanwhile.
        return None

    def _release(self, run: ClaimedRun, consumer: Consumer, seconds: float | None = None) -> None:
        with self._lock:
            consumer.taken -= 1
            if seconds is not None:
                consumer.note(seconds)
            if consumer is self._apart:
                consumer = self._count_apart(run, -1)
            is_hungry = consumer.is_hungry and not consumer.is_drained
        if is_hungry:
            self._wake.set()

    def _ended(self, execution: Execution, outcome: Outcome) -> None:
        if execution.is_interrupted:
            self._interrupted(execution)
            return
        with self._idle:
            # Handed back meanwhile: somebody else executes it.
            is_ours = self._executions.pop((execution.run.id, execution.run.attempt), None) is not None
            self._progress.discard(execution)
            if is_ours:
                self._unwritten.add((execution.run.id, execution.run.attempt))
        if is_ours:
            self._completer.put(execution.run, outcome)

    def _written(self, batch: list[tuple[ClaimedRun, Outcome]]) -> None:
        if any(outcome.status == "READY" for _, outcome in batch):
            # To be tried again: know when.
            self._wake.set()
        with self._idle:
            self._unwritten.difference_update((run.id, run.attempt) for run, _ in batch)
            if not self._unwritten and not self._executions:
                self._idle.notify_all()
        notifications.notify_local(notifications.FINISHED)

    def _progressed(self, execution: Execution) -> None:
        with self._lock:
            is_first = not self._progress
            self._progress.add(execution)
        if is_first and self.on_attention is not None:
            self.on_attention()

    def lose(self) -> None:
        """Note that this worker was taken for dead: its runs belong to others; go on under a new id.

        Raises:
            DatabaseError: The new row could not be written; call again.
        """
        fresh = identity.new_worker_id()
        # Before anything is claimed under it: a run of a worker without a row is taken for orphaned.
        self._register(fresh)
        lost, self.id = self.id, fresh
        for execution in self.executions():
            if execution.run.worker_id == lost:
                execution.stop("lost", self._loop.call_soon)
        signals.emit(signals.worker_lost, worker_id=lost)


def _too_often_interrupted(execution: Execution) -> Outcome | None:
    """Return how a run ends whose worker stops; None where another one may begin it anew."""
    run = execution.run
    if run.options.get("at_most_once"):
        return execution.cut_off(f"{INTERRUPTED}, and at_most_once forbids another attempt")
    # Of this attempt, which is not counted: the next one's are counted anew.
    before = sum(
        entry.get("attempt") == run.attempt and str(entry.get("error")).startswith(INTERRUPTED)
        for entry in run.errors
    )
    if before < MOST_INTERRUPTIONS:
        return None
    return execution.cut_off(f"{INTERRUPTED} {before + 1} times before it ended")


def _never_begun(status: str, error: str) -> Outcome:
    now = timezone.now()
    return Outcome(status, now, now, error=error)
