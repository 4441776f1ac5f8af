"""Enqueue Tasks as runs, and look them up."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs.api import enqueue as api_enqueue
from django_jobs.api.async_support import sync_safe
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.integrations.django_tasks import TASK, connect, results
from django_jobs.integrations.django_tasks.compat import as_json, framework_of
from django_jobs.models import Run, jobs_database
from django_jobs.registry import arguments, decorators, functions
from django_jobs.storage.records import NewRun, renewed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django_jobs.registry.options import JobOptions

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
    run = _new_run(task, tuple(plain_args), plain_kwargs, now, backend.alias, policy)
    using = jobs_database()
    begin = api_enqueue.insert(run, get_job_manager().service, using=using)
    framework = framework_of(task)
    result = framework.base.TaskResult(
        task=task,
        id=run.job_id,
        status=framework.base.TaskResultStatus.READY,
        enqueued_at=now,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=plain_args,
        kwargs=plain_kwargs,
        backend=backend.alias,
        errors=[],
        worker_ids=[],
    )
    # Before workers are told of it: one that looks by itself may have begun already.
    framework.signals.task_enqueued.send_robust(sender=type(backend), task_result=result)
    begin()
    return result


def _new_run(
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    now: datetime,
    alias: str,
    defaults: JobOptions,
) -> NewRun:
    path = _path(task)
    # The context that the Task may take comes first.
    before = (None,) if task.takes_context else ()
    arguments.check_arguments(path, task.func, (*before, *args), kwargs)
    policy = decorators.options_of(task.func).over(defaults)
    run = NewRun.of_call(
        path, task.func, args, kwargs, policy, bound=len(before),
        job_id=uuid.uuid4().hex, run_after=task.run_after or "now",
    )  # fmt: skip
    run.name = policy.name or task.name
    run.queue_name, run.priority = task.queue_name, int(task.priority)
    mark = results.Mark(
        backend=alias,
        enqueued_at=now.isoformat(),
        run_after=None if task.run_after is None else task.run_after.isoformat(),
    )
    run.options = {**(renewed(run.options, max(now, task.run_after or now)) or {}), TASK: mark}
    return run


def _path(task: Any) -> str:
    try:
        path, _ = functions.path_of(task.func)
        declared = results.find_task(path)
    except (ValueError, FunctionNotFound, FunctionNotAllowed) as error:
        raise framework_of(task).invalid_task(str(error)) from error
    if declared.takes_context != task.takes_context:
        raise framework_of(task).invalid_task(
            f"{path} is a Task with takes_context={declared.takes_context}, and workers go by that"
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
