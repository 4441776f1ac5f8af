"""What an attempt calls: its run is verified, and its function and arguments found."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs import codec
from django_jobs.codec.payloads import NO_ARGUMENTS
from django_jobs.exceptions import BadPayload, FunctionNotAllowed, FunctionNotFound, UnknownHere
from django_jobs.execution import adapters
from django_jobs.models import jobs_database
from django_jobs.registry import functions
from django_jobs.registry.options import unknown_needs
from django_jobs.storage.batches.results import results_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_jobs.execution.attempt import Attempt


class Unknown(Exception):
    """This process does not know something that a run needs; a process of another version may."""

    def __init__(self, what: str, error: Exception) -> None:
        super().__init__(what)
        self.what = what
        self.error = error


def resolve(attempt: Attempt) -> tuple[partial[Any], bool]:
    """Verify a run; return its function with its arguments, and whether it is `async def`.

    Raises:
        BadPayload: The run was changed, or cannot be read.
        Unknown: This process lacks something.
    """
    run, options = attempt.run, attempt.run.options
    codec.verify(run.func, run.payload, run.signature)
    try:
        function, is_async = functions.resolve_call(run.func)
    except (FunctionNotFound, FunctionNotAllowed) as error:
        raise Unknown(run.func, error) from error
    if options and (unknown := unknown_needs(options)):
        raise Unknown(
            f"the option {unknown[0]}", BadPayload(f"this version has no option {', '.join(unknown)}")
        )
    args, kwargs = ((), {}) if run.payload == NO_ARGUMENTS else _arguments(attempt)
    adapter = adapters.adapter_of(run) if options else None
    if adapter is not None:
        function = adapter(run, attempt.started_at or timezone.now())
        is_async = inspect.iscoroutinefunction(function)
    return partial(function, *args, **kwargs), is_async


def _arguments(attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
    run = attempt.run

    def results(positions: Sequence[int]) -> Mapping[int, Any]:
        return results_for(run.id, positions, using=jobs_database())

    try:
        return attempt.outlast(partial(codec.load_arguments, run.payload, results=results))
    except UnknownHere as error:
        raise Unknown(error.what, error) from error
