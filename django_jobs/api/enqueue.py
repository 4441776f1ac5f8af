"""New runs: made of what was called for, and inserted where they begin soonest, if their id is free."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from django.apps import apps
from django.db import transaction

from django_jobs import codec, conf
from django_jobs.exceptions import FunctionNotAllowed
from django_jobs.execution import adapters, instrumentation
from django_jobs.execution.context import current_run
from django_jobs.models import Job, Run, Status, jobs_database
from django_jobs.registry import arguments, decorators, functions, schedules
from django_jobs.registry.handles import JobHandle
from django_jobs.registry.misplaced_options import of_schedule, refuse_idle_options
from django_jobs.registry.option_checks import checked_id
from django_jobs.registry.options import JobOptions
from django_jobs.registry.unique import Debounce
from django_jobs.scheduler.occurrences import occurrence_run
from django_jobs.storage import (
    conflicts,
    enqueue,
    fairness,
    fences,
    notifications,
    transactions,
    unique_inserts,
)
from django_jobs.storage.batches import replacement
from django_jobs.storage.limits import gate
from django_jobs.storage.records import NewRun, claimed, immediate_key, renewed
from django_jobs.storage.unique_keys import key_of
from django_jobs.worker import inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.db.models import Q

    from django_jobs.registry.unique import Unique
    from django_jobs.storage.unique_inserts import Inserted
    from django_jobs.worker.service import Service

    Func = Callable[..., Any] | str

    class TaskLike(Protocol):
        """A Task of Django's framework, or of its backport."""

        @property
        def func(self) -> Callable[..., Any]:
            """What it was made of."""

    # What runs of a batch are made of.
    Part = Func | TaskLike

# Jobs of `add_many` that are in memory at the same time.
MANY = 5000


def new_run(
    options: JobOptions,
    func: Func,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    job_id: str | None,
    *,
    run_after: datetime | None = None,
    is_scheduled: bool = False,
    is_recurring: bool = False,
) -> tuple[NewRun, JobOptions]:
    """Return the run of an immediate job, not inserted yet, and the options that hold for it.

    Args:
        options: They go before the function's own.
        func: As all others for `JobManager.add_immediate_job`, also for what is raised.
        args: For the function.
        kwargs: For the function.
        job_id: None for a random one.
        run_after: When it is to begin; None for now.
        is_scheduled: It is what the firings of a job with a schedule are like.
        is_recurring: It is of a schedule that fires again and again, whose firings hold no keys.
    """
    conf.require_time_zones()
    path, function = functions.path_of(func)
    if job_id is None and not apps.ready:
        raise RuntimeError(
            f"{path} was added without a job_id while Django starts, as in AppConfig.ready: each `manage.py` "
            "command would add another one, and `migrate` would fail where the tables are still to come. Declare "
            "schedules with @recurring or @cron. Once per start of a worker: add it in a receiver of "
            "django_jobs.signals.worker_started. Once per deploy: `manage.py jobs add` in the deployment script"
        )
    arguments.check_arguments(path, function, args, kwargs)
    own = decorators.options_of(function)
    if not is_scheduled and not schedules.is_declared(path):
        refuse_idle_options(path, own)
    options = inheriting(options.over(own))
    if is_recurring:
        options = of_schedule(options)
    if options.uniqueness is not None and job_id is not None:
        raise TypeError(
            f"{path} is unique by a key, so its id is not yours to choose: leave out job_id, or the key"
        )
    job_id = new_id() if job_id is None else checked_id(job_id)
    run = NewRun.of_call(path, function, args, kwargs, options, job_id=job_id)
    if run_after is not None:
        run.run_after = run_after
    if options.uniqueness is not None:
        set_key(run, options.uniqueness)
    if run.options and "expires" in run.options:
        run.options = renewed(run.options, _begins_at(run))
    return run, options


def new_part(
    options: JobOptions, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[NewRun, JobOptions]:
    """Return a run for a batch, or of its end; as `new_run`, and of a Task one that runs as its framework says."""
    if not callable(func) and not isinstance(func, str):
        made = adapters.run_of(func, args, kwargs, options)
        if made is not None:
            return made
    return new_run(options, func, args, kwargs, None)


def new_id() -> str:
    """Return an id: the millisecond, and 80 random bits behind it, as a UUID of version 7 has them.

    So ids of one time are neighbours in the indexes of jobs' ids. With random ones each run of a claim of 20,000
    waiting runs is on another page, which SQLite writes again: a quarter of the processor's time of a run.
    """
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def inheriting(options: JobOptions) -> JobOptions:
    """Return options completed by those that the run under way hands on: what it is about, and its tags."""
    context = current_run()
    attempt = None if context is None else context.under_way
    if attempt is None or not attempt.run.options:
        return options
    handed_on = {name: value for name in ("about", "tags") if (value := attempt.run.options.get(name))}
    return options.over(JobOptions(**handed_on)) if handed_on else options


def set_key(run: NewRun, uniqueness: Unique | Debounce) -> None:
    """Give a run the key that its options name, and the time of a debounced one.

    Raises:
        TypeError: It is debounced, and has a time already.
    """
    run.unique_key = key_of(run.func, run.options)
    if isinstance(uniqueness, Debounce):
        if run.run_after != "now":
            raise TypeError(
                f"{run.func} is debounced, which decides when it runs: call enqueue, or give the call "
                'unique=Unique(key, until="started", on_conflict="postpone") instead'
            )
        run.run_after = uniqueness.delay


def _begins_at(run: NewRun) -> datetime:
    if isinstance(run.run_after, datetime):
        return run.run_after
    now = transactions.database_now(jobs_database())
    return now + run.run_after if isinstance(run.run_after, timedelta) else now


def new_runs(options: JobOptions, jobs: Iterable[Any]) -> Iterator[tuple[NewRun, JobOptions]]:
    """Make the runs of what `JobManager.add_many` takes, with their options; errors name the position in it."""
    for index, entry in enumerate(jobs):
        try:
            func, args, kwargs = entry_of(entry)
            run = new_run(options, func, args, kwargs, None)
        except (TypeError, ValueError, FunctionNotAllowed) as error:
            raise type(error)(f"job {index} of add_many: {error}") from error
        yield run


def entry_of(entry: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the function and the arguments of what `add_many` takes for one job.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(entry, tuple | list) and (
        callable(getattr(entry, "func", entry)) or isinstance(entry, str)
    ):
        return entry, (), {}
    if not isinstance(entry, tuple | list) or not 1 <= len(entry) <= 3:
        raise TypeError(f"expected (func, args) or (func, args, kwargs), not {entry!r:.100}")
    func, args, kwargs = (*entry, (), {})[:3] if len(entry) == 1 else (*entry, {})[:3]
    if not isinstance(args, tuple | list) or not isinstance(kwargs, (dict, Mapping)):
        raise TypeError("expected (func, args) or (func, args, kwargs) with a list or tuple and a dict")
    return func, tuple(args), dict(kwargs)


def insert(run: NewRun, service: Service | None, *, using: str) -> Callable[[], None]:
    """Insert a run, as this process's own worker's if it can begin immediately.

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
    if (
        worker is not None
        and not inline.is_inline(run.queue_name)
        and worker.using == using
        and run.run_after == "now"
        and not gate.has_limit(run.options)
        and not fairness.has_turns(run.options)
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
    return lambda: _have_it_begin(run, ids[0], using)


def _have_it_begin(run: NewRun, run_id: int, using: str) -> None:
    if run.run_after == "now" and inline.is_inline(run.queue_name):
        inline.execute_on_commit(run_id, using=using)
    else:
        notifications.notify(notifications.RUNS, using=using)


def have_begin(where: Q, *, using: str) -> None:
    """Have READY runs begin that are due: workers hear of them, and those of inline queues are executed on commit."""
    notifications.notify(notifications.RUNS, using=using)
    inline.execute_due_on_commit(where, using=using)


def insert_unique(
    run: NewRun, uniqueness: Unique | Debounce, *, using: str
) -> tuple[Inserted, Callable[[], None]]:
    """Insert a run of a key; where the key is taken, do what the call says for that.

    It is never this process's own from the beginning, as with `insert`: until it has started, others of its
    key find it READY.

    Returns:
        What the call came to; and what has its run begin when the transaction under way commits, to be called
        before that ends.

    Raises:
        ConflictingIdError: The key is taken, and the call says "raise".
    """
    with instrumentation.adding([run]) if instrumentation.installed else nullcontext():
        inserted = unique_inserts.insert_unique(run, uniqueness.conflict, using=using)
    if not inserted.is_new:
        return inserted, lambda: None
    return inserted, lambda: _have_it_begin(run, inserted.run_id, using)


def add_unique(run: NewRun, uniqueness: Unique | Debounce, *, using: str) -> JobHandle[Any]:
    """Insert a run of a key and have it begin; see `insert_unique`."""
    inserted, begin = insert_unique(run, uniqueness, using=using)
    begin()
    return JobHandle(inserted.job_id, is_new=inserted.is_new)


def insert_many(
    runs: Iterator[tuple[NewRun, JobOptions]], service: Service | None, *, using: str
) -> list[JobHandle[Any]]:
    """Insert runs, all of them or none, and have them begin; return what they came to, in order.

    The first `MANY` are made before the transaction, and the others in it, as many at a time.
    """
    chunk = list(islice(runs, MANY))
    handles: list[JobHandle[Any]] = []
    keyed: list[tuple[str, int, NewRun, JobOptions]] = []
    if not chunk:
        return handles
    with transaction.atomic(using=using):
        while chunk:
            for run, options in chunk:
                if run.unique_key is not None:
                    keyed.append((run.unique_key, len(handles), run, options))
                handles.append(JobHandle(run.job_id))
            _insert_plain([run for run, _ in chunk if run.unique_key is None], service, using)
            chunk = list(islice(runs, MANY))
        # In one order everywhere: two calls that both hold a key the other one waits for would never end.
        for _, index, run, options in sorted(keyed, key=itemgetter(0)):
            assert options.uniqueness is not None  # noqa: S101 - or it would have no key
            handles[index] = add_unique(run, options.uniqueness, using=using)
    return handles


def _insert_plain(runs: list[NewRun], service: Service | None, using: str) -> None:
    if not runs:
        return
    at_once = conf.queues_of("inline")
    with instrumentation.adding(runs):
        enqueue.insert([run for run in runs if run.queue_name not in at_once], using=using)
        notifications.notify(notifications.RUNS, using=using)
        for run in runs:
            if run.queue_name in at_once:
                _insert(run, service, using)()


def insert_under_its_id(run: NewRun, options: JobOptions, service: Service | None, *, using: str) -> bool:
    """Insert a run whose id the caller chose, if `on_conflict` lets it, and have it begin; return whether it was.

    Raises:
        ConflictingIdError: A job of this id is unfinished, and `on_conflict` is "raise".
    """
    run.unique_key = immediate_key(run.job_id)
    return conflicts.insert_if_free(
        run.job_id, options, lambda: insert(run, service, using=using)(), using=using
    )


def insert_firing(row: Job, *, using: str, begins: bool = True, as_of: datetime | None = None) -> int | None:
    """Insert a run of a job besides its schedule, and have it begin.

    Args:
        row: The job.
        using: Alias of the database.
        begins: Whether to have it begin, which is else up to the caller.
        as_of: The scheduled time that it does the work of.

    Returns:
        The run's id.
    """
    run = occurrence_run(row, None, since=transactions.database_now(using))
    run.scheduled_at = as_of
    with instrumentation.adding([run]), transactions.write_transaction(using):
        ids = enqueue.insert([run], using=using)
        if ids:
            Job.objects.using(using).filter(pk=row.pk).update(last_run_id=ids[0])
        if begins and ids:
            _have_it_begin(run, ids[0], using)
    return ids[0] if ids else None


def insert_again(last: Run, *, using: str, begins: bool = True, as_of: datetime | None = None) -> int:
    """Insert another run like one of a job that has no row, and have it begin; return its id.

    One like a run of a batch is of no batch, and is given the same results.

    Args:
        last: The run.
        using: Alias of the database.
        begins: Whether to have it begin, which is else up to the caller.
        as_of: The scheduled time that it does the work of.

    Raises:
        ValueError: Its arguments were removed.
    """
    if last.payload == codec.REMOVED:
        raise ValueError(
            f"job {last.job_id!r} cannot run once more: its arguments were removed after it succeeded "
            "(keep_arguments=False); add it again"
        )
    run = NewRun.of(last, last.job_id, since=transactions.database_now(using), kind=last.kind)
    run.scheduled_at = as_of
    is_given = codec.has_references(run.payload)
    with instrumentation.adding([run]), transactions.write_transaction(using) if is_given else nullcontext():
        ids = enqueue.insert([run], using=using)
        if is_given:
            replacement.copy_dependencies(last.pk, ids[0], using=using)
    if begins:
        _have_it_begin(run, ids[0], using)
    return ids[0]
