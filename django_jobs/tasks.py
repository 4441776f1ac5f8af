"""The Django Tasks backend: `TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend"}}`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from django_jobs.conf import unknown_key
from django_jobs.integrations.django_tasks import compat
from django_jobs.registry import functions
from django_jobs.registry.option_checks import MAX_QUEUE_NAME_LENGTH
from django_jobs.registry.options import KEPT, JobOptions

try:
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:  # before Django 6.0
    from django_tasks.backends.base import BaseTaskBackend  # type: ignore[assignment]

if TYPE_CHECKING:
    from types import ModuleType

# The keys of OPTIONS: what a Task cannot say itself, of what `@job` can.
OPTIONS = KEPT


class JobsBackend(BaseTaskBackend):
    """Enqueues Tasks as runs of django_jobs.

    It serves Tasks of `django.tasks` and of the `django-tasks` backport, each with its own framework's
    classes, errors and signals. What `enqueue` writes is part of the caller's transaction.

    Args:
        alias: Its key in TASKS.
        params: QUEUES as in the framework; OPTIONS with defaults for all its Tasks: retry, timeout,
            at_most_once, expires, sensitive and tags, as in `JobOptions`. Those that `@job` gives the
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

    @property
    def _queue(self) -> ModuleType:
        # Only now may models be imported: a Task may be declared before all apps are loaded.
        from django_jobs.integrations.django_tasks import enqueue

        return enqueue

    @property
    def _framework(self) -> compat.Framework:
        """The framework that this instance was made by: where both are in use they read the same TASKS."""
        # Not there yet while another thread imports it.
        handler = getattr(sys.modules.get("django_tasks"), "task_backends", None)
        if handler is not None and any(one is self for one in handler.all(initialized_only=True)):
            return compat.framework("django_tasks")
        return compat.framework(BaseTaskBackend.__module__.removesuffix(".backends.base"))

    @property
    def task_class(self) -> Any:  # type: ignore[override] # a class in the framework, the same for all
        """What `@task` makes of a function."""
        return self._framework.base.Task

    @cached_property
    def policy(self) -> JobOptions:
        """What OPTIONS say."""
        problems = list(_option_problems(self.options))
        if problems:
            raise ImproperlyConfigured(f"TASKS[{self.alias!r}]: {' '.join(problems)}")
        return JobOptions(**self.options)

    def validate_task(self, task: Any) -> None:
        """Refuse a Task that cannot be enqueued; it is called when a Task is made, and by `enqueue`.

        Raises:
            InvalidTask: As in the framework, or its queue's name is longer than 100 characters.
        """
        framework = compat.framework_of(task)
        if isinstance(task.run_after, timedelta):
            # The framework's validation knows none, though its documentation does. This validates the rest.
            replace(task, run_after=None)
        else:
            framework.backends.BaseTaskBackend.validate_task(self, task)
        name = task.queue_name
        if not isinstance(name, str) or not 0 < len(name) <= MAX_QUEUE_NAME_LENGTH:
            raise framework.invalid_task(
                f"queue_name must have 1 to {MAX_QUEUE_NAME_LENGTH} characters, not {name!r}"
            )
        functions.allow(task.func)

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
        return self._queue.enqueue(self, task, args, kwargs, self.policy)

    def get_result(self, result_id: str) -> Any:
        """Return the TaskResult of an id, with one query; of whichever backend of ours enqueued it.

        CANCELLED and SKIPPED runs are FAILED here, and their last error says what they are.

        Raises:
            TaskResultDoesNotExist: There is no such task, or history does not keep it any more.
            FunctionNotFound: Its Task is gone from the code; `MOVED` mends a renamed one.
        """
        result = self._queue.get_result(str(result_id))
        if result is None:
            raise self._framework.exceptions.TaskResultDoesNotExist(result_id)
        return result

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
            yield f"OPTIONS: {unknown_key(key, OPTIONS)}"
            continue
        try:
            JobOptions(**{key: value}).validate()
        except (TypeError, ValueError) as error:
            yield f"OPTIONS[{key!r}] is {value!r}: {error}."
