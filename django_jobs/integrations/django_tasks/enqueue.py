"""Enqueue Tasks as runs, and look them up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs import codec
from django_jobs.api import enqueue as api_enqueue
from django_jobs.api.async_support import sync_safe
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.integrations.django_tasks import TASK, connect, results
from django_jobs.integrations.django_tasks.compat import as_json, framework_of
from django_jobs.models import Run, jobs_database
from django_jobs.registry import arguments, decorators, functions
from django_jobs.registry.options import NO_OPTIONS, JobOptions
from django_jobs.storage.records import NewRun, renewed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Where TASKS was changed after the app was ready.
connect()


@sync_safe
def enqueue(
    backend: Any, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], policy: JobOptions
) -> Any:
    """Enqueue a Task that was validated, and tell of it.

    Args:
        backend: The framework's, for its class and alias.
        task: See `JobsBackend.enqueue`, also for what is raised.
        args: For the function.
        kwargs: For the function.
        policy: For what `@job` does not say of the function.

    Returns:
        Its TaskResult.
    """
    now = timezone.now()
    if isinstance(task.run_after, timedelta):
        task = replace(task, run_after=now + task.run_after)
    plain_args, plain_kwargs = as_json(args), as_json(kwargs)
    run, options = _new_run(task, tuple(plain_args), plain_kwargs, now, backend.alias, policy)
    uniqueness = options.uniqueness
    using = jobs_database()
    if uniqueness is None:
        begin = api_enqueue.insert(run, get_job_manager().service, using=using)
    else:
        inserted, begin = api_enqueue.insert_unique(run, uniqueness, using=using)
        if not inserted.is_new:
            # Nothing was enqueued: this is the result of the one that was.
            return get_result(inserted.job_id)
    # Before workers are told of it: one that looks by itself may have begun already.
    result = _tell(task, backend, run.job_id, now, (plain_args, plain_kwargs))
    begin()
    return result


def _tell(
    task: Any, backend: Any, job_id: str, now: datetime, arguments: tuple[list[Any], dict[str, Any]]
) -> Any:
    """Send `task_enqueued`; return the result that it is sent with."""
    framework = framework_of(task)
    result = framework.base.TaskResult(
        task=task,
        id=job_id,
        status=framework.base.TaskResultStatus.READY,
        enqueued_at=now,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=arguments[0],
        kwargs=arguments[1],
        backend=backend.alias,
        errors=[],
        worker_ids=[],
    )
    framework.signals.task_enqueued.send_robust(sender=type(backend), task_result=result)
    return result


def _new_run(
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    now: datetime,
    alias: str,
    defaults: JobOptions,
    chosen: JobOptions = NO_OPTIONS,
) -> tuple[NewRun, JobOptions]:
    path = _path(task)
    # The context that the Task may take comes first.
    before = (None,) if task.takes_context else ()
    arguments.check_arguments(path, task.func, (*before, *args), kwargs)
    policy = api_enqueue.inheriting(chosen.over(decorators.options_of(task.func).over(defaults)))
    run = NewRun.of_call(
        path, task.func, args, kwargs, policy, bound=len(before),
        job_id=api_enqueue.new_id(), run_after=task.run_after or "now",
    )  # fmt: skip
    if policy.uniqueness is not None:
        try:
            api_enqueue.set_key(run, policy.uniqueness)
        except TypeError as error:
            raise framework_of(task).invalid_task(str(error)) from error
    run.name = policy.name or task.name
    run.queue_name = chosen.queue_name or task.queue_name
    run.priority = int(task.priority if chosen.priority is None else chosen.priority)
    mark = results.Mark(
        backend=alias,
        enqueued_at=now.isoformat(),
        run_after=None if task.run_after is None else task.run_after.isoformat(),
    )
    run.options = {**(renewed(run.options, max(now, task.run_after or now)) or {}), TASK: mark}
    return run, policy


def run_of_batch(
    task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: JobOptions
) -> tuple[NewRun, JobOptions] | None:
    """Return a run of a Task for a batch, and the options that hold for it; None if it is no Task.

    Args:
        task: As it was declared, or a view of it by its own `using`.
        args: For the function, with references to the results that it is given.
        kwargs: The same by name.
        options: They go before the Task's own.

    Raises:
        InvalidTask: As for `JobsBackend.enqueue`.
        TypeError: Its backend is another one, or its arguments are no JSON.
        ValueError: It has a `run_after`.
    """
    try:
        framework_of(task)
    except TypeError:
        return None
    backend = task.get_backend()
    defaults = getattr(backend, "policy", None)
    if not isinstance(defaults, JobOptions):
        raise TypeError(
            f"the Task {task.name} is of the backend {task.backend!r} ({type(backend).__name__}), and runs of a batch are "
            "django_jobs': name another backend with task.using(backend=...), or add its function, task.func"
        )
    backend.validate_task(task)
    if task.run_after is not None:
        raise ValueError(
            f"the Task {task.name} has run_after, and runs of a batch begin when what they wait for has ended: take "
            "run_after from this call, or call current_run().sleep(...) in the function"
        )
    plain = {name: _plain(value) for name, value in kwargs.items()}
    run, policy = _new_run(
        task, tuple(map(_plain, args)), plain, timezone.now(), backend.alias, defaults, options
    )
    return run, policy


def _plain(value: Any) -> Any:
    """Return what JSON makes of an argument, with its references to results."""
    if isinstance(value, codec.Reference):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        # Each key as JSON has it.
        return {next(iter(as_json({key: None}))): _plain(item) for key, item in value.items()}
    return as_json(value)


def tell_enqueued(run: NewRun) -> None:
    """Send `task_enqueued` for a run that was inserted with a batch."""
    mark: results.Mark = run.options[TASK]  # type: ignore[index] # or it was not a task's
    task = results.task_of(run, mark)
    enqueued_at = datetime.fromisoformat(mark["enqueued_at"])
    _tell(task, task.get_backend(), run.job_id, enqueued_at, results.arguments_of(run))


def _path(task: Any) -> str:
    try:
        path, _ = functions.path_of(task.func)
        declared = results.find_task(path)
    except (ValueError, FunctionNotFound, FunctionNotAllowed) as error:
        raise framework_of(task).invalid_task(str(error)) from error
    if declared.takes_context != task.takes_context:
        raise framework_of(task).invalid_task(
            f"{path} is a Task with takes_context={declared.takes_context}, and workers take that one"
        )
    return path


@sync_safe
def get_result(result_id: str) -> Any:
    """Return the TaskResult of an id, of the job's newest run; None where there is no such task."""
    if "\x00" in result_id:
        # PostgreSQL cannot even be asked for it.
        return None
    runs = Run.objects.using(jobs_database()).filter(job_id=result_id)
    run = runs.order_by("-id").defer("log", "progress").first()
    return results.stored(run) if run is not None and results.is_task(run) else None
