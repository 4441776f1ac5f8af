"""New runs: made of what was called for, and inserted where they begin soonest, if their id is free."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import transaction

from django_jobs import conf
from django_jobs.exceptions import FunctionNotAllowed
from django_jobs.execution import instrumentation
from django_jobs.models import Job, Run, Status, jobs_database
from django_jobs.registry import arguments, decorators, functions
from django_jobs.registry.options import checked_id
from django_jobs.scheduler.occurrences import occurrence_run
from django_jobs.storage import conflicts, enqueue, fences, notifications, transactions
from django_jobs.storage.records import NewRun, claimed, immediate_key, renewed
from django_jobs.worker import inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_jobs.registry.options import JobOptions
    from django_jobs.worker.service import Service

    Func = Callable[..., Any] | str


def new_run(
    options: JobOptions, func: Func, args: tuple[Any, ...], kwargs: dict[str, Any], job_id: str | None
) -> tuple[NewRun, JobOptions]:
    """Return the run of an immediate job, not inserted yet, and the options that hold for it.

    Args:
        options: They go before the function's own.
        func: As all others for `JobManager.add_immediate_job`, also for what is raised.
        args: For the function.
        kwargs: For the function.
        job_id: None for a random one.
    """
    path, function = functions.path_of(func)
    if job_id is None and not apps.ready:
        raise RuntimeError(
            f"{path} was added without a job_id while Django starts, as in AppConfig.ready: each `manage.py` "
            "command would add another one, and `migrate` would fail where the tables are still to come. Declare "
            "schedules with @recurring or @cron. Once per start of a worker: add it in a receiver of "
            "django_jobs.signals.worker_started. Once per deploy: `manage.py jobs add` in the deployment script"
        )
    arguments.check_arguments(path, function, args, kwargs)
    options = options.over(decorators.options_of(function))
    job_id = uuid.uuid4().hex if job_id is None else checked_id(job_id)
    run = NewRun.of_call(path, function, args, kwargs, options, job_id=job_id)
    if run.options and "expires" in run.options:
        run.options = renewed(run.options, transactions.database_now(jobs_database()))
    return run, options


def new_runs(options: JobOptions, jobs: Iterable[Any]) -> list[NewRun]:
    """Return the runs of what `JobManager.add_many` takes; errors name the position in it."""
    runs = []
    for index, entry in enumerate(jobs):
        try:
            func, args, kwargs = _entry(entry)
            runs.append(new_run(options, func, args, kwargs, None)[0])
        except (TypeError, ValueError, FunctionNotAllowed) as error:
            raise type(error)(f"job {index} of add_many: {error}") from error
    return runs


def _entry(entry: Any) -> tuple[Func, tuple[Any, ...], dict[str, Any]]:
    if callable(entry) or isinstance(entry, str):
        return entry, (), {}
    if not isinstance(entry, tuple | list) or not 1 <= len(entry) <= 3:
        raise TypeError(f"expected (func, args) or (func, args, kwargs), not {entry!r:.100}")
    func, args, kwargs = (*entry, (), {})[:3] if len(entry) == 1 else (*entry, {})[:3]
    if not isinstance(args, tuple | list) or not isinstance(kwargs, Mapping):
        raise TypeError("expected (func, args) or (func, args, kwargs) with a list or tuple and a dict")
    return func, tuple(args), dict(kwargs)


def insert(run: NewRun, service: Service | None, *, using: str) -> Callable[[], None]:
    """Insert a run, as this process's own worker's if it can begin at once.

    Args:
        run: As it would be claimed.
        service: This process's, if it was started.
        using: Alias of the database.

    Returns:
        What has it begin when the transaction under way commits, to be called before that ends.
    """
    if instrumentation.installed:
        with instrumentation.adding([run]):
            return _insert(run, service, using)
    return _insert(run, service, using)


def _insert(run: NewRun, service: Service | None, using: str) -> Callable[[], None]:
    worker = None if service is None else service.worker
    is_inline = inline.is_inline(run.queue_name)
    if (
        worker is not None
        and not is_inline
        and worker.using == using
        and run.run_after == "now"
        and worker.local_start.would_begin(run.queue_name)
    ):
        run.status, run.worker_id, run.fence = Status.RUNNING.value, worker.id, fences.new_fence()
        run_id = None
        try:
            run_id = enqueue.insert_unless_paused(run, using=using)
        finally:
            if run_id is None:
                worker.local_start.break_off()
        if run_id is not None:
            return worker.local_start.promise(claimed(run, run_id))
    run.status, run.worker_id, run.fence = Status.READY.value, "", None
    ids = enqueue.insert([run], using=using)
    if is_inline and run.run_after == "now":
        return lambda: inline.execute_on_commit(ids[0], using=using)
    return lambda: notifications.notify(notifications.RUNS, using=using)


def insert_many(runs: list[NewRun], service: Service | None, *, using: str) -> None:
    """Insert runs, all of them or none, and have them begin."""
    at_once = conf.queues_of("inline")
    with instrumentation.adding(runs), transaction.atomic(using=using):
        enqueue.insert([run for run in runs if run.queue_name not in at_once], using=using)
        notifications.notify(notifications.RUNS, using=using)
        for run in runs:
            if run.queue_name in at_once:
                _insert(run, service, using)()


def insert_under_its_id(run: NewRun, options: JobOptions, service: Service | None, *, using: str) -> None:
    """Insert a run whose id the caller chose, if `on_conflict` lets it, and have it begin.

    Raises:
        ConflictingIdError: A job of this id is unfinished, and `on_conflict` is "raise".
    """
    run.unique_key = immediate_key(run.job_id)
    conflicts.insert_if_free(run.job_id, options, lambda: insert(run, service, using=using)(), using=using)


def insert_firing(row: Job, *, using: str, begins: bool = True) -> int | None:
    """Insert a run of a job besides its schedule, and have it begin.

    Args:
        row: The job.
        using: Alias of the database.
        begins: Whether to have it begin, which is else up to the caller.

    Returns:
        The run's id.
    """
    run = occurrence_run(row, None, since=transactions.database_now(using))
    with instrumentation.adding([run]), transactions.write_transaction(using):
        ids = enqueue.insert([run], using=using)
        if ids:
            Job.objects.using(using).filter(pk=row.pk).update(last_run_id=ids[0])
        if begins and ids and inline.is_inline(row.queue_name):
            inline.execute_on_commit(ids[0], using=using)
        elif begins:
            notifications.notify(notifications.RUNS, using=using)
    return ids[0] if ids else None


def insert_again(last: Run, *, using: str) -> None:
    """Insert another run like one of a job that has no row, and have it begin."""
    run = NewRun.of(last, last.job_id, since=transactions.database_now(using), kind=last.kind)
    with instrumentation.adding([run]):
        ids = enqueue.insert([run], using=using)
    if inline.is_inline(run.queue_name):
        inline.execute_on_commit(ids[0], using=using)
    else:
        notifications.notify(notifications.RUNS, using=using)
