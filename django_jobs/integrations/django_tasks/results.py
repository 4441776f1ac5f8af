"""What Django Tasks makes of a run: its Task, its TaskResult, and the call of its function."""

from __future__ import annotations

import inspect
import logging
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_jobs import codec
from django_jobs.exceptions import (
    BadPayload,
    FunctionNotAllowed,
    FunctionNotFound,
    JobCancelled,
    JobFailed,
)
from django_jobs.integrations.django_tasks import TASK
from django_jobs.integrations.django_tasks.compat import as_json, framework_of
from django_jobs.models import FINISHED, Run, Status, jobs_database
from django_jobs.registry import functions
from django_jobs.storage import transactions
from django_jobs.storage.records import error_entry
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.storage.records import ClaimedRun, NewRun, Outcome

logger = logging.getLogger(__name__)


class Mark(TypedDict):
    """What a run keeps of being a task, besides its own columns. Times are ISO 8601."""

    backend: str  # alias in TASKS
    enqueued_at: str  # by the clock of the process that enqueued it, as all other times of a result
    run_after: str | None  # as asked for; the run's own moves with each attempt


def find_task(path: str) -> Any:
    """Return the Task that stands at a `module:qualname`.

    Raises:
        FunctionNotFound: Nothing stands there, or something else.
        FunctionNotAllowed: Its module is not one that may be called.
    """
    found = functions.find(path)
    try:
        framework_of(found)
    except TypeError:
        raise FunctionNotFound(
            f"{path} is not a Task but a {type(found).__name__}: decorate the function itself with @task"
        ) from None
    return found


def is_task(run: Run | ClaimedRun) -> bool:
    """Return whether a run was enqueued as a task."""
    return TASK in (run.options or ())


def begin(run: ClaimedRun, started_at: datetime) -> Callable[..., Any]:
    """Tell that a task begins.

    Returns:
        What to call with the run's arguments: it adds the context that the Task may take, and returns
        what JSON can hold of the result. `async def` if the function is.

    Raises:
        FunctionNotFound: The Task is gone.
    """
    result = result_of(run, Status.RUNNING, started_at=started_at)
    framework = framework_of(result.task)
    framework.signals.task_started.send_robust(sender=_sender(result.task), task_result=result)
    function = result.task.func
    context = (framework.base.TaskContext(task_result=result),) if result.task.takes_context else ()
    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return as_json(await function(*context, *args, **kwargs))

        return awaited
    return lambda *args, **kwargs: as_json(function(*context, *args, **kwargs))


def renewed_mark(mark: Mark) -> Mark:
    """Return the mark of another run like one: it was enqueued now, and to run now."""
    return {**mark, "enqueued_at": timezone.now().isoformat(), "run_after": None}


def tell_finished(*, run: ClaimedRun, outcome: Outcome, **_: Any) -> None:
    """Send `task_finished` for a task that ended; a receiver of `run_finished`."""
    if is_task(run) and outcome.status != Status.READY:
        _send_finished(run, lambda: finished(run, outcome), outcome.error, outcome.traceback)


def tell_rescued(*, run_id: int, status: str, **_: Any) -> None:
    """Send it for a task that ended with its worker; a receiver of `run_rescued`."""
    if status == Status.READY:
        return
    run = Run.objects.using(jobs_database()).filter(pk=run_id).first()
    if run is not None and is_task(run):
        _send_finished(run, lambda: stored(run), run.error, "")


def tell_cancelled(*, runs: Sequence[tuple[int, dict[str, Any] | None]], **_: Any) -> None:
    """Send it for tasks that were cancelled while they waited; a receiver of `runs_cancelled`."""
    ids = [run_id for run_id, options in runs if TASK in (options or ())]
    for start in range(0, len(ids), transactions.BATCH):
        batch = Run.objects.using(jobs_database()).filter(pk__in=ids[start : start + transactions.BATCH])
        for run in batch.order_by("pk").defer("log", "progress"):
            # One that was retried by hand meanwhile has not ended.
            if run.status == Status.CANCELLED:
                _send_finished(run, partial(stored, run), run.error or "cancelled while it waited", "")


def _send_finished(run: Run | ClaimedRun, result_now: Callable[[], Any], error: str, trace: str) -> None:
    try:
        result = result_now()
    except (FunctionNotFound, FunctionNotAllowed, BadPayload) as gone:
        # There is no TaskResult without a Task.
        logger.warning("job=%s: task_finished is not sent: %s", printable(run.job_id), printable(gone))
        return
    signal = framework_of(result.task).signals.task_finished
    event = {"sender": _sender(result.task), "task_result": result}
    if result.status == Status.SUCCESSFUL:
        signal.send_robust(**event)
        return
    try:
        failure = JobFailed(run.job_id, error, trace)
        if trace:
            failure.add_note(trace)
        raise failure
    except JobFailed:
        # Inside, because the framework's own receiver logs the exception that is being handled.
        signal.send_robust(**event)


def _sender(task: Any) -> type[Any] | None:
    try:
        return type(task.get_backend())
    except ImproperlyConfigured:
        # This process's TASKS has no such backend (any more).
        return None


def finished(run: ClaimedRun, outcome: Outcome) -> Any:
    """Return the TaskResult of a run whose outcome was just written."""
    errors = run.errors
    if outcome.error:
        errors = [*errors, error_entry(run.attempt, run.worker_id, outcome)]
    return result_of(
        run,
        outcome.status,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        errors=errors,
        value=outcome.result,
        reason=outcome.error,
    )


def stored(run: Run) -> Any:
    """Return the TaskResult of a run as the database has it.

    Raises:
        FunctionNotFound: Its Task is gone.
        FunctionNotAllowed: Its module is not one that may be called.
        BadPayload: Its arguments are damaged.
    """
    return result_of(
        run,
        run.status,
        started_at=run.started_at,
        finished_at=run.finished_at,
        errors=run.errors or [],
        value=run.result,
        reason=run.error,
    )


def result_of(
    run: Run | ClaimedRun,
    status: str,
    *,
    started_at: datetime | None,
    finished_at: datetime | None = None,
    errors: Sequence[dict[str, Any]] | None = None,
    value: str | None = None,
    reason: str = "",
) -> Any:
    """Return the TaskResult of a run.

    Args:
        run: Enqueued as a task.
        status: One of ours; the framework knows neither CANCELLED nor SKIPPED, and gets FAILED.
        started_at: Of the last attempt.
        finished_at: Of the run.
        errors: As `Run.errors`; the run's own by default.
        value: What the function returned, as stored.
        reason: Why the run ended that has no attempt to say it.
    """
    mark: Mark = run.options[TASK]  # type: ignore[index] # see `run`
    entries = (run.errors or []) if errors is None else errors
    task = task_of(run, mark)
    base = framework_of(task).base
    args, kwargs = arguments_of(run)
    first = datetime.fromisoformat(entries[0]["started_at"]) if entries else started_at
    last = datetime.fromisoformat(entries[-1]["started_at"]) if entries else None
    is_ended_otherwise = status in FINISHED and status != Status.SUCCESSFUL
    result = base.TaskResult(
        task=task,
        id=run.job_id,
        status=base.TaskResultStatus("FAILED" if is_ended_otherwise else str(status)),
        enqueued_at=datetime.fromisoformat(mark["enqueued_at"]),
        started_at=first,
        # A run that was handed back has begun no new attempt.
        last_attempted_at=started_at or last,
        finished_at=finished_at,
        args=args,
        kwargs=kwargs,
        backend=mark["backend"],
        errors=[_error(base, entry) for entry in entries],
        worker_ids=_worker_ids(run, entries),
    )
    if is_ended_otherwise:
        ending = _ending(run.job_id, status, entries, reason)
        if ending is not None:
            result.errors.append(base.TaskError(**ending))
    if status == Status.SUCCESSFUL and value is not None:
        object.__setattr__(result, "_return_value", codec.loads(value))
    return result


def arguments_of(run: Run | ClaimedRun | NewRun) -> tuple[list[Any], dict[str, Any]]:
    """Return what a task was enqueued with; None in the places of results that it is given."""
    args, kwargs = codec.load_arguments(run.payload, results=dict.fromkeys, trusted=False)
    return list(args), kwargs


def task_of(run: Run | ClaimedRun | NewRun, mark: Mark) -> Any:
    """Return the Task as it was enqueued, without a look at what the settings allow by now."""
    declared = find_task(run.func)
    task = object.__new__(type(declared))
    run_after = mark["run_after"]
    enqueued = {
        "priority": run.priority,
        "queue_name": run.queue_name,
        "backend": mark["backend"],
        "run_after": None if run_after is None else datetime.fromisoformat(run_after),
    }
    for one in fields(declared):
        value = enqueued[one.name] if one.name in enqueued else getattr(declared, one.name)
        object.__setattr__(task, one.name, value)
    return task


def _worker_ids(run: Run | ClaimedRun, entries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the worker of each attempt: as many as there were attempts, whatever is known of them."""
    known = {entry["attempt"]: entry["worker_id"] for entry in entries}
    if run.worker_id:
        # One that was handed back had the number of the next.
        known[run.attempt] = run.worker_id
    return [known.get(attempt, "") for attempt in range(1, run.attempt + 1)]


def _error(base: Any, entry: dict[str, Any]) -> Any:
    # An attempt whose worker died, or that came too late, raised nothing.
    kind = entry.get("exception") or _path(JobFailed)
    return base.TaskError(exception_class_path=kind, traceback=entry["traceback"] or entry["error"] + "\n")


def _ending(
    job_id: str, status: str, entries: Sequence[dict[str, Any]], reason: str
) -> dict[str, str] | None:
    """Return the error of a run that was ended from outside; None where its last attempt says it."""
    if status == Status.CANCELLED:
        kind: type[Exception] = JobCancelled
        text = str(JobCancelled(job_id)) + (f": {reason}" if reason else "")
        if entries and entries[-1].get("exception") == _path(kind):
            return None
    elif entries:
        return None
    else:
        kind, text = JobFailed, str(JobFailed(job_id, reason))
    return {"exception_class_path": _path(kind), "traceback": f"{_path(kind)}: {text}\n"}


def _path(kind: type[Exception]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
