"""Execute runs in the caller's thread and in its transaction, one after the other: for tests and scripts.

The queue, the steps of an attempt and the clock are those of any worker: what is retried, recorded,
reported and fired is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
import logging
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import Q
from django.utils import timezone

from django_jobs import __version__, codec
from django_jobs.conf import jobs_settings, queues_of
from django_jobs.exceptions import RunInterrupted, TransactionLeftOpen
from django_jobs.execution import loops, outcomes, recording
from django_jobs.execution.attempt import Attempt
from django_jobs.execution.watchdog import AttemptWatch
from django_jobs.models import Batch, Run, Status
from django_jobs.models import Worker as WorkerRow
from django_jobs.scheduler.occurrences import fire_all
from django_jobs.storage import (
    claims,
    endings,
    identity,
    leases,
    notifications,
    release,
    sessions,
    statistics,
    steps,
    transactions,
)
from django_jobs.storage import connections as own_connections
from django_jobs.storage.batch_locks import MARK
from django_jobs.storage.liveness import Liveness
from django_jobs.storage.queues import paused
from django_jobs.storage.records import ClaimedRun, Outcome
from django_jobs.texts import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_jobs.execution.attempt import Awaitable

logger = logging.getLogger(__name__)

# Between two looks at a run that a worker was quicker to take.
LOOK_SECONDS = 0.05
# Errors that are recorded as those of the function, though not of class Exception. All others of that
# kind come from somebody who wants this thread to stop: Ctrl-C, or a test framework.
_RECORDED = (SystemExit, GeneratorExit, asyncio.CancelledError, RunInterrupted)


@dataclass(frozen=True, slots=True)
class Executed:
    """What one attempt of one run came to."""

    job_id: str
    run_id: int
    func: str
    attempt: int
    #: SUCCESSFUL, FAILED, CANCELLED, SKIPPED; READY when it waits for another attempt, or was held.
    status: str
    #: What the function returned, as it was stored and read again; None without.
    result: Any
    #: One line; empty without.
    error: str
    #: What the function raised; None where nothing was, or it never began.
    raised: BaseException | None = field(repr=False, compare=False)


class InlineWorker:
    """Claims runs and executes them here; see `inline_worker`.

    Args:
        worker_id: Of a live row.
        using: Alias of the database.
    """

    def __init__(self, worker_id: str, using: str) -> None:
        self._id = worker_id
        self._using = using

    def fire(self) -> int:
        """Fire the jobs that are due; return how many were."""
        return fire_all(self._using)

    def next_due(self, queues: Sequence[str] = ()) -> ClaimedRun | None:
        """Claim the run that any worker would claim first, of some queues or of all that are not paused."""
        runs = claims.claim(self._id, limit=1, queues=queues, using=self._using)
        return runs[0] if runs else None

    def next_deferred(self, queues: Sequence[str] = ()) -> ClaimedRun | None:
        """Claim the run that will be due next, before it is."""
        waiting = Run.objects.using(self._using).ready().filter(run_after__isnull=False)
        waiting = waiting.exclude(queue_name__in=paused(self._using))
        if queues:
            waiting = waiting.filter(queue_name__in=queues)
        first = waiting.order_by("run_after", "-priority", "id").values_list("pk", flat=True).first()
        return None if first is None else self.take_now(first)

    def take_now(self, run_id: int) -> ClaimedRun | None:
        """Claim one run, and end what it waits for by time: a sleep, or the time that an event may take."""
        run = self.take(run_id)
        if run is not None:
            steps.wake([run_id], using=self._using)
        return run

    def take(self, run_id: int, *, even_if_paused: bool = True) -> ClaimedRun | None:
        """Claim one run, whatever it waits for; None when it does not wait, or its queue must not be paused."""
        return claims.claim_one(run_id, self._id, even_if_paused=even_if_paused, using=self._using)

    def give_back(self, run: ClaimedRun) -> None:
        """Return a claimed run to the queue, as if it had never been claimed."""
        are_marked = endings.concerns(run.options)
        release.release_claims(self._id, [run.key], are_marked=are_marked, using=self._using)

    def execute(self, run: ClaimedRun) -> Executed:
        """Execute a claimed run, and write what it came to.

        Raises:
            BaseException: What the function did not raise for itself: KeyboardInterrupt, and what ends a
                test. The run is written as failed by it.
        """
        attempt = Attempt(run, is_inline=True)
        attempt.begin()
        outcome = contextvars.copy_context().run(take_steps, attempt)
        written = recording.record([(run, outcome)], using=self._using)
        recording.report([(run, outcome)], written)
        statistics.flush(self._using)
        raised = attempt.raised
        if raised is not None and not describe.is_a(raised, (Exception, *_RECORDED)):
            raise raised
        return Executed(
            job_id=run.job_id,
            run_id=run.id,
            func=run.func,
            attempt=run.attempt,
            status=outcome.status,
            result=None if outcome.result is None else codec.loads(outcome.result),
            error=outcome.error,
            raised=raised,
        )


@contextmanager
def inline_worker(using: str, *, is_kept: bool = False) -> Iterator[InlineWorker]:
    """Be a worker for a while, with a row in the caller's transaction that is gone afterwards.

    Args:
        using: Alias of the database.
        is_kept: The row is committed, and its lease extended while it is needed, so that others rescue the
            run when this process is killed. Else nothing extends it, and it is long.
    """
    settings = jobs_settings()
    now = transactions.database_now(using)
    row = WorkerRow.objects.using(using).create(
        id=identity.new_worker_id(),
        host=identity.host(),
        process_key=identity.process_key(),
        pid=os.getpid(),
        version=__version__,
        threads=1,
        has_clock=not is_kept,
        started_at=now,
        heartbeat_at=now,
        lease_expires_at=now + (timedelta(seconds=settings.LEASE_SECONDS) if is_kept else timedelta(days=1)),
    )
    try:
        with _kept(row.pk, using) if is_kept else contextlib.nullcontext():
            yield InlineWorker(row.pk, using)
    finally:
        # A transaction that cannot go on takes the row along.
        with contextlib.suppress(DatabaseError):
            row.delete(using=using)


@contextmanager
def _kept(worker_id: str, using: str) -> Iterator[None]:
    """Extend a worker's lease meanwhile, on a thread that touches the database only where that is needed."""
    settings, is_over, liveness = jobs_settings(), threading.Event(), Liveness("inline")

    def serve() -> None:
        while not is_over.wait(settings.HEARTBEAT_SECONDS):
            # The database may be away, or the row be in a transaction of its caller.
            try:
                leases.heartbeat(worker_id, lease_seconds=settings.LEASE_SECONDS, using=using)
            except (DatabaseError, InterfaceError):
                continue
            except BaseException as error:  # noqa: BLE001 - without heartbeats the run would be another's
                liveness.note_mistake(error)
        own_connections.give_back()

    thread = threading.Thread(target=serve, name="django_jobs-inline", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(settings.HEARTBEAT_SECONDS)


def execute_due_on_commit(where: Q, *, using: str) -> None:
    """Execute runs of inline queues that a person has made READY, as if they were just added."""
    names = queues_of("inline")
    if not names:
        return
    due = Run.objects.using(using).ready().filter(where, queue_name__in=names, run_after__lte=timezone.now())
    for run_id in due.order_by("pk").values_list("pk", flat=True):
        execute_on_commit(run_id, using=using)


def is_inline(queue_name: str) -> bool:
    """Return whether runs of a queue are executed where they are added."""
    return jobs_settings().ENGINES.get(queue_name) == "inline"


def execute_on_commit(run_id: int, *, using: str) -> None:
    """Execute a run that was just added, as soon as the transaction under way commits; now if there is none.

    It stays for a worker while its queue is paused. A worker that was quicker has it, and is waited for.
    """

    def execute() -> None:
        with inline_worker(using, is_kept=True) as worker:
            run = worker.take(run_id, even_if_paused=False)
            executed = None if run is None else worker.execute(run)
            if run is not None and MARK in run.options:
                _execute_released(worker, run.options[MARK], using)
        if executed is None:
            running = Run.objects.using(using).running().filter(pk=run_id)
            while running.exists():
                time.sleep(LOOK_SECONDS)
        notifications.notify_local(notifications.FINISHED)
        if executed is not None and executed.status == Status.READY:
            # To be tried again, by a worker.
            notifications.notify(notifications.RUNS, using=using)

    # Robust: what goes wrong with it is no reason to keep the caller from what else waits for the commit.
    transaction.on_commit(execute, using=using, robust=True)


def _execute_released(worker: InlineWorker, batch_id: int, using: str) -> None:
    """Execute what became due of a batch in inline queues, and what its end added there, until there is no more."""
    tried: set[int] = set()
    while True:
        jobs = Batch.objects.using(using).filter(pk=batch_id).values_list("callback_jobs", flat=True).first()
        due = (
            Run.objects.using(using)
            .ready()
            .filter(
                Q(batch_id=batch_id) | Q(batch_id=None, job_id__in=list((jobs or {}).values())),
                queue_name__in=queues_of("inline"),
                run_after__lte=transactions.database_now(using),
            )
        )
        run_id = due.exclude(pk__in=tried).order_by("pk").values_list("pk", flat=True).first()
        if run_id is None:
            return
        tried.add(run_id)
        run = worker.take(run_id, even_if_paused=False)
        if run is not None:
            worker.execute(run)


def take_steps(
    attempt: Attempt, *, surrounding: Callable[[], AbstractContextManager[object]] | None = None
) -> Outcome:
    """Take the steps of an attempt on this thread, in a context that is a copy; return its outcome.

    Args:
        attempt: That has begun.
        surrounding: What is done about the caller's transactions; None lets the function see them as a run sees
            none.
    """
    # `copy_context` does not copy what a context variable refers to.
    decimal.setcontext(decimal.getcontext().copy())
    outcome = None
    try:
        # It touches no database: only the time is watched.
        with AttemptWatch(attempt), (surrounding or _separate_transactions)():
            begun = attempt.execute()
            outcome = begun if isinstance(begun, Outcome) else async_to_sync(_awaited)(begun)
    except TransactionLeftOpen as left:
        return outcomes.of_error(attempt, left, is_final=True)
    except BaseException as error:  # noqa: BLE001 - of what it wanted called on commit, or SystemExit in a task
        if outcome is None or outcome.status == Status.SUCCESSFUL:
            return outcomes.of_error(attempt, error)
    assert outcome is not None  # noqa: S101 - or something was raised
    return outcome


async def _awaited(awaitable: Awaitable) -> Outcome:
    with loops.guarded():
        return await awaitable()


@contextmanager
def _separate_transactions() -> Iterator[None]:
    """Let what is executed see the caller's transaction as a run sees none.

    Where it leaves the transaction unable to go on, it is undone; and what it wants called on commit
    is called when it has ended.
    """
    raw = [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None and not sessions.is_in_transaction(connection)
    ]
    for connection in raw:
        # Whose driver does not know.
        sessions.begin(connection, is_watched=connection.vendor == "mysql")
    before = [
        (connection, savepoint, len(connection.run_on_commit))
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block and (savepoint := connection.savepoint()) is not None
    ]
    yield
    for connection, savepoint, count in before:
        if connection.needs_rollback or not _answers(connection):
            connection.needs_rollback = False
            connection.savepoint_rollback(savepoint)
            del connection.run_on_commit[count:]
            continue
        connection.savepoint_commit(savepoint)
        while len(connection.run_on_commit) > count:
            entries: Any = connection.run_on_commit[count:]
            del connection.run_on_commit[count:]
            for _, callback, is_robust in entries:
                _call(callback, is_robust=is_robust)
    left = [
        connection for connection in raw if connection.connection and sessions.is_in_transaction(connection)
    ]
    for connection in left:
        connection.rollback()
    if left:
        raise TransactionLeftOpen([connection.alias for connection in left])


def _call(callback: Callable[[], object], *, is_robust: bool) -> None:
    try:
        callback()
    except Exception as error:  # a robust callback may raise anything, and the others are called all the same
        if not is_robust:
            raise
        describe.log_error(logger, error, "a robust callback on commit failed")


def _answers(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction takes another statement: PostgreSQL's takes none after an error."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True
