"""The Django Tasks backend: `TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend"}}`."""

from __future__ import annotations

import difflib
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_jobs import codec, functions, queue, task_results, wakeup
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.functions import JobOptions
from django_jobs.manager import _from_anywhere, _payload
from django_jobs.models import Run, jobs_database
from django_jobs.queue import NewRun

try:
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:  # before Django 6.0
    from django_tasks.backends.base import BaseTaskBackend  # type: ignore[assignment]

if TYPE_CHECKING:
    from datetime import datetime

# The keys of OPTIONS: what a Task cannot say itself, of what `@job` can.
OPTIONS = ("retry", "timeout", "at_most_once", "expires", "sensitive")
MAX_QUEUE_NAME_LENGTH = 100


class JobsBackend(BaseTaskBackend):
    """Enqueues Tasks as runs of django_jobs.

    It serves Tasks of `django.tasks` and of the `django-tasks` backport, each with its own edition's
    classes, errors and signals. What `enqueue` writes is part of the caller's transaction.

    Args:
        alias: Its key in TASKS.
        params: QUEUES as in the framework; OPTIONS with defaults for all its Tasks: retry, timeout,
            at_most_once, expires and sensitive, as in `JobOptions`. Those that `@job` gives the
            function go before.
    """

    # A run waits for its `run_after` in the queue.
    supports_defer = True
    # `async def` functions are awaited on the worker's event loop.
    supports_async_task = True
    # Results are rows of the database.
    supports_get_result = True
    # The queue is ordered by priority.
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._queues_setting = params.get("QUEUES", ())
        task_results.connect()

    @property
    def _edition(self) -> task_results.Edition:
        """The edition that this instance was made by: where both are in use they read the same TASKS."""
        # Not there yet while another thread imports it.
        handler = getattr(sys.modules.get("django_tasks"), "task_backends", None)
        if handler is not None and any(one is self for one in handler.all(initialized_only=True)):
            return task_results.edition("django_tasks")
        return task_results.edition(BaseTaskBackend.__module__.removesuffix(".backends.base"))

    @property
    def task_class(self) -> Any:  # type: ignore[override] # a class in the framework, the same for all
        """What `@task` makes of a function."""
        return self._edition.base.Task

    @cached_property
    def _policy(self) -> JobOptions:
        problems = list(_option_problems(self.options))
        if problems:
            raise ImproperlyConfigured(f"TASKS[{self.alias!r}]: {' '.join(problems)}")
        return JobOptions(**self.options)

    def validate_task(self, task: Any) -> None:
        """Refuse a Task that cannot be enqueued; it is called when a Task is made, and by `enqueue`.

        Raises:
            InvalidTask: As in the framework, or its queue's name is longer than 100 characters.
        """
        edition = task_results.edition_of(task)
        if isinstance(task.run_after, timedelta):
            # The framework's validation knows none, though its documentation does. This validates the rest.
            replace(task, run_after=None)
        else:
            edition.backends.BaseTaskBackend.validate_task(self, task)
        name = task.queue_name
        if not isinstance(name, str) or not 0 < len(name) <= MAX_QUEUE_NAME_LENGTH:
            raise edition.invalid_task(
                f"queue_name must have 1 to {MAX_QUEUE_NAME_LENGTH} characters, not {name!r}"
            )
        functions.allow(task.func)

    @_from_anywhere
    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue a Task, in the caller's transaction; workers hear of it when that commits.

        `task_enqueued` is sent before the call returns, in a transaction as well: a receiver that must
        only hear of what is committed uses `transaction.on_commit`.

        Args:
            task: With its priority, queue and `run_after`, an aware datetime or a timedelta from now.
            args: For the function; what JSON can hold. They arrive as they come back from JSON.
            kwargs: The same by name.

        Returns:
            The READY TaskResult. Its id is the job's id as well.

        Raises:
            InvalidTask: The Task cannot be enqueued, or a worker could not find it.
            TypeError: The arguments do not fit the function, or are not JSON.
            ValueError: The arguments are larger than MAX_PAYLOAD_BYTES.
            ImproperlyConfigured: OPTIONS of this backend are wrong.
        """
        self.validate_task(task)
        now = timezone.now()
        if isinstance(task.run_after, timedelta):
            task = replace(task, run_after=now + task.run_after)
        plain_args, plain_kwargs = task_results.as_json(args), task_results.as_json(kwargs)
        run = self._new_run(task, tuple(plain_args), plain_kwargs, now)
        using = jobs_database()
        queue.enqueue([run], using=using)
        edition = task_results.edition_of(task)
        result = edition.base.TaskResult(
            task=task,
            id=run.job_id,
            status=edition.base.TaskResultStatus.READY,
            enqueued_at=now,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=plain_args,
            kwargs=plain_kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        # Before workers hear of it: it should not have started already.
        edition.signals.task_enqueued.send_robust(sender=type(self), task_result=result)
        wakeup.tell(wakeup.RUNS, using=using)
        return result

    def _new_run(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], now: datetime) -> NewRun:
        path = self._path(task)
        # The context that the Task may take comes first.
        before = (None,) if task.takes_context else ()
        functions.check_arguments(path, task.func, (*before, *args), kwargs)
        policy = functions.options_of(task.func).over(self._policy)
        options = queue.renewed(policy.stored(), max(now, task.run_after or now)) or {}
        hidden = functions.hidden_positions(task.func, frozenset(policy.sensitive or ()))
        positions = [at - len(before) for at in hidden if 0 <= at - len(before) < len(args)]
        if positions:
            options["sensitive"] = [*options.get("sensitive", ()), *positions]
        options[task_results.TASK] = task_results.Mark(
            backend=self.alias,
            enqueued_at=now.isoformat(),
            run_after=None if task.run_after is None else task.run_after.isoformat(),
        )
        payload = _payload(args, kwargs)
        return NewRun(
            job_id=uuid.uuid4().hex,
            name=policy.name or task.name,
            func=path,
            payload=payload,
            signature=codec.sign(path, payload),
            queue_name=task.queue_name,
            priority=int(task.priority),
            options=options,
            run_after=task.run_after or "now",
        )

    def _path(self, task: Any) -> str:
        try:
            path, _ = functions.path_of(task.func)
            declared = task_results.find_task(path)
        except (ValueError, FunctionNotFound, FunctionNotAllowed) as error:
            raise task_results.edition_of(task).invalid_task(str(error)) from error
        if declared.takes_context != task.takes_context:
            raise task_results.edition_of(task).invalid_task(
                f"{path} is a Task with takes_context={declared.takes_context}, and workers go by that"
            )
        return path

    def get_result(self, result_id: str) -> Any:
        """Return the TaskResult of an id, with one query; of whichever backend of ours enqueued it.

        CANCELLED and SKIPPED runs are FAILED here, and their last error says what they are.

        Raises:
            TaskResultDoesNotExist: There is no such task, or history does not keep it any more.
            FunctionNotFound: Its Task is gone from the code; `MOVED` mends a renamed one.
        """
        run = self._newest_run(str(result_id))
        if run is None or not task_results.is_task(run):
            raise self._edition.exceptions.TaskResultDoesNotExist(result_id)
        return task_results.stored(run)

    @_from_anywhere
    def _newest_run(self, job_id: str) -> Run | None:
        if "\x00" in job_id:
            # PostgreSQL cannot even be asked for it.
            return None
        runs = Run.objects.using(jobs_database()).filter(job_id=job_id)
        return runs.order_by("-id").defer("log", "progress").first()

    def check(self, **_: Any) -> list[CheckMessage]:
        """E006 to E008: the app is installed, and QUEUES and OPTIONS are right."""
        where = f"TASKS[{self.alias!r}]"
        found: list[CheckMessage] = []
        if not apps.is_installed("django_jobs"):
            found.append(
                Error(
                    f"{where} is a backend of django_jobs, which is not installed.",
                    hint='Add "django_jobs" and "django_apscheduler" to INSTALLED_APPS.',
                    id="django_jobs.E006",
                )
            )
        found += [
            Error(f"{where}['QUEUES']: {problem}", id="django_jobs.E007")
            for problem in _queue_problems(self._queues_setting)
        ]
        found += [
            Error(f"{where}: {problem}", hint="See docs/tasks.md.", id="django_jobs.E008")
            for problem in _option_problems(self.options)
        ]
        return found


def _queue_problems(queues: object) -> Iterable[str]:
    if isinstance(queues, str) or not isinstance(queues, Iterable):
        yield f"expected a list of names, not {queues!r}."
        return
    for name in queues:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_QUEUE_NAME_LENGTH:
            yield f"a name must have 1 to {MAX_QUEUE_NAME_LENGTH} characters, not {name!r}."


def _option_problems(options: object) -> Iterable[str]:
    if not isinstance(options, Mapping):
        yield f"OPTIONS must be a dict, not {type(options).__name__}."
        return
    for key, value in options.items():
        if key not in OPTIONS:
            near = difflib.get_close_matches(str(key), OPTIONS, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; the keys are {', '.join(OPTIONS)}."
            yield f"OPTIONS: unknown key {key}{hint}"
            continue
        try:
            JobOptions(**{key: value}).validate()
        except (TypeError, ValueError) as error:
            yield f"OPTIONS[{key!r}] is {value!r}: {error}."
