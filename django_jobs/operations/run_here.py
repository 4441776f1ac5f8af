"""Execute runs in the process that asks for it: in earnest, or to look, with all undone afterwards."""

from __future__ import annotations

import contextvars
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs import codec
from django_jobs.api import enqueue
from django_jobs.exceptions import JobLookupError
from django_jobs.execution import instrumentation
from django_jobs.execution.attempt import Attempt
from django_jobs.models import FINISHED, Job, Run, Status
from django_jobs.storage import claims
from django_jobs.worker import inline

if TYPE_CHECKING:
    from django_jobs.storage.records import Outcome

# What a replay leaves out of a run's options: its outcome is written nowhere, and a person may look for long.
_OF_EARNEST = {"atomic", "expires", "expires_at", "retry", "timeout"}


@dataclass(frozen=True, slots=True)
class Executed:
    """What a run came to here.

    Attributes:
        run_id: Of the run.
        status: SUCCESSFUL, FAILED, CANCELLED, SKIPPED, or READY when it waits to be tried again.
        result: In JSON's types; None without.
        error: One line; empty without.
        log: What it said.
        raised: What the function raised; None where nothing was.
    """

    run_id: int
    status: str
    result: Any
    error: str
    log: str
    raised: BaseException | None


class NotHere(Exception):
    """A run that cannot be executed here; the message says why."""


def run_here(job_id: str, *, has_limit: bool = True, using: str) -> Executed:
    """Execute a job once, on this thread, and record it as any run; other workers do not get it.

    Args:
        job_id: A job with a schedule runs besides it. One that waits is taken from the queue. One that has
            ended runs once more.
        has_limit: Whether its limit of time holds.
        using: Alias of the database.

    Returns:
        What it came to.

    Raises:
        JobLookupError: There is no such job.
        NotHere: It runs already, or waits for something else than a worker.
        BaseException: Ctrl-C, once the run is recorded as failed by it.
    """
    with inline.inline_worker(using, is_kept=True) as worker:
        # One transaction: nobody else sees the run before it is this worker's.
        with transaction.atomic(using=using):
            run = worker.take(_added(job_id, using))
        if run is None:
            raise NotHere(
                f"job {job_id!r} waits for something other than a worker: `manage.py jobs show` says what"
            )
        if not has_limit:
            run.options = {name: value for name, value in run.options.items() if name != "timeout"}
        executed = worker.execute(run)
    row = Run.objects.using(using).filter(pk=run.id).values_list("log", "result").first() or ("", None)
    result = None if executed.result is None else codec.plain(row[1])
    return Executed(run.id, executed.status, result, executed.error, row[0], executed.raised)


def _added(job_id: str, using: str) -> int:
    """Return the run of a job that is to be executed now."""
    row = Job.objects.using(using).filter(pk=job_id).first()
    if row is not None:
        run_id = enqueue.insert_firing(row, begins=False, using=using)
    else:
        last = Run.objects.using(using).filter(job_id=job_id).order_by("-id").first()
        if last is None:
            raise JobLookupError(job_id)
        if last.status == Status.RUNNING:
            raise NotHere(f"job {job_id!r} runs already, in {last.worker_id}")
        is_waiting = last.status == Status.READY
        run_id = last.pk if is_waiting else enqueue.insert_again(last, begins=False, using=using)
    assert run_id is not None  # noqa: S101 - one row is inserted with its id on every database
    return run_id


def replay(run_id: int, *, using: str) -> Executed:
    """Call a finished run's function again with its arguments, in transactions that are rolled back.

    On this thread, on all databases of the project. Nothing is recorded, no worker, signal or observer hears of
    it, and what the function wants called on commit is not. What it does outside of the databases is not undone,
    nor what it does on threads of its own.

    Args:
        run_id: Of the run.
        using: Alias of the jobs' database.

    Returns:
        What it came to.

    Raises:
        NotHere: There is no such run, it has not ended, or a database does not answer.
        BaseException: Ctrl-C, after all is undone.
    """
    status = Run.objects.using(using).filter(pk=run_id).values_list("status", flat=True).first()
    if status is None:
        raise NotHere(f"there is no run {run_id}")
    if status not in FINISHED:
        raise NotHere(f"run {run_id} has not ended: `manage.py jobs run ID --here` executes it for real")
    run = claims.read(run_id, using=using)
    run.options = {name: value for name, value in run.options.items() if name not in _OF_EARNEST}
    attempt = Attempt(run, is_inline=True)
    with instrumentation.nothing_observed():
        outcome = _undone(attempt)
    raised = attempt.raised
    if raised is not None and not isinstance(raised, Exception | SystemExit):
        raise raised
    result = None if outcome.result is None else codec.plain(outcome.result)
    return Executed(run.id, outcome.status, result, outcome.error, outcome.log, raised)


def _undone(attempt: Attempt) -> Outcome:
    with ExitStack() as stack:
        for alias in connections:
            try:
                stack.enter_context(transaction.atomic(using=alias))
            except (DatabaseError, InterfaceError) as error:
                raise NotHere(
                    f"database {alias!r} does not answer, so nothing could be undone there: {error}"
                ) from error
            stack.callback(transaction.set_rollback, True, using=alias)
        attempt.start_clock()
        return contextvars.copy_context().run(partial(inline.take_steps, attempt, surrounding=nullcontext))
