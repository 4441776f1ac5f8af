"""`@job`, and what it gives a function: `enqueue`, `schedule` and `using`."""

from __future__ import annotations

import sys
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from django_jobs.registry.arguments import check_arguments
from django_jobs.registry.functions import allow, registered
from django_jobs.registry.managers import provided_manager
from django_jobs.registry.option_checks import checked_id
from django_jobs.registry.options import NO_OPTIONS, CallWords, JobOptions, JobWords, options_from
from django_jobs.registry.parameters import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from django_jobs.registry.handles import JobHandle

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_ATTRIBUTE = "__django_jobs_options__"


class Enqueuer(Generic[P, R_co]):
    """Adds jobs of one function, with some options; may be kept and shared.

    Args:
        func: The function.
        **words: Those of `CallWords`; they go before the function's own from `@job`.
    """

    def __init__(self, func: Callable[P, R_co], **words: Unpack[CallWords]) -> None:
        self._func = func
        self._words: dict[str, Any] = dict(words)
        options = dict(self._words)
        job_id = options.pop("job_id", None)
        self._job_id: str | None = None if job_id is None else checked_id(job_id)
        chosen = options_from(options)
        chosen.validate()
        chosen.check_function(func)
        self._options = options

    def using(self, **words: Unpack[CallWords]) -> Enqueuer[P, R_co]:
        """Return another that has these options too.

        Raises:
            TypeError: An option does not exist.
            ValueError: An option's value is out of range.
        """
        return Enqueuer(self._func, **cast("CallWords", {**self._words, **words}))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Have the function called as soon as a worker is free; see `JobManager.add_immediate_job`."""
        args, kwargs = self._arguments(args, kwargs)
        added: JobHandle[R_co] = self._manager().add_immediate_job(
            self._func, *args, job_id=self._job_id, **kwargs
        )
        return added

    def schedule(self, run_at: datetime | timedelta, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Have the function called once, at a time; see `JobManager.add_scheduled_job`."""
        args, kwargs = self._arguments(args, kwargs)
        added: JobHandle[R_co] = self._manager().add_scheduled_job(
            self._func, run_at, *args, job_id=self._job_id, **kwargs
        )
        return added

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Await `enqueue`."""
        args, kwargs = self._arguments(args, kwargs)
        added: JobHandle[R_co] = await self._manager().aadd_immediate_job(
            self._func, *args, job_id=self._job_id, **kwargs
        )
        return added

    async def aschedule(
        self, run_at: datetime | timedelta, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R_co]:
        """Await `schedule`."""
        args, kwargs = self._arguments(args, kwargs)
        added: JobHandle[R_co] = await self._manager().aadd_scheduled_job(
            self._func, run_at, *args, job_id=self._job_id, **kwargs
        )
        return added

    def _manager(self) -> Any:
        manager = provided_manager()
        return manager.using(**self._options) if self._options else manager

    def _arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Keep a parameter of the function's that is called `job_id` apart from the manager's."""
        signature = signature_of(self._func) if "job_id" in kwargs else None
        if signature is None:
            return args, kwargs
        path = f"{self._func.__module__}:{self._func.__qualname__}"
        check_arguments(path, self._func, args, kwargs)
        bound = signature.bind(*args, **kwargs)
        if "job_id" in bound.kwargs:
            raise TypeError(
                f"{path} has a parameter called job_id that only a keyword fills, which is the manager's own "
                "word: rename the parameter, or let it be passed by position"
            )
        return bound.args, bound.kwargs


class JobFunction(Protocol[P, R_co]):
    """A function with what `@job` gives it; calling it calls it, here and now."""

    __name__: str
    __qualname__: str
    __module__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function itself."""
        ...

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """As `Enqueuer.enqueue`."""
        ...

    def schedule(self, run_at: datetime | timedelta, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """As `Enqueuer.schedule`."""
        ...

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """As `Enqueuer.aenqueue`."""
        ...

    async def aschedule(
        self, run_at: datetime | timedelta, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R_co]:
        """As `Enqueuer.aschedule`."""
        ...

    def using(self, **words: Unpack[CallWords]) -> Enqueuer[P, R_co]:
        """As `Enqueuer.using`."""
        ...


class Decorator(Protocol):
    """What `@job`, `@recurring` and `@cron` with options are."""

    def __call__(self, func: Callable[P, R], /) -> JobFunction[P, R]:
        """Return the function itself."""
        ...


@overload
def job(func: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**options: Unpack[JobWords]) -> Decorator: ...
def job(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Give a function the options its jobs have, allow it to be called as a job, and let it add jobs.

    The function itself stays what it is: it gets the methods of `Enqueuer` as attributes. `options`
    are those of `JobOptions`; `@job` alone, without parentheses, gives none.

    Raises:
        TypeError: An option does not exist, or is `on_conflict`.
        ValueError: An option's value is out of range.
    """
    chosen = options_from(options) if options else NO_OPTIONS
    chosen.validate()
    if chosen.on_conflict is not None:
        raise TypeError("on_conflict is for one call, as in using(on_conflict=...), not for @job")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError(f"@job is for functions, not {function!r}")
        chosen.check_function(function)
        enqueuer = Enqueuer(function)
        try:
            setattr(function, _ATTRIBUTE, chosen)
            for name in ("enqueue", "schedule", "aenqueue", "aschedule", "using"):
                setattr(function, name, getattr(enqueuer, name))
        except (AttributeError, TypeError) as error:
            raise TypeError(
                f"{function!r} takes no attributes, so @job cannot mark it: write a function that calls it"
            ) from error
        allow(function)
        return function

    return decorate if func is None else decorate(func)


def options_of(func: Callable[..., Any]) -> JobOptions:
    """Return what `@job` said of a function."""
    options: JobOptions = getattr(func, _ATTRIBUTE, NO_OPTIONS)
    return options


def decorated() -> dict[str, Callable[..., Any]]:
    """Return the functions that `@job` marked in the modules imported so far, by `module:qualname`."""
    found = {}
    for path in registered():
        module, _, qualname = path.partition(":")
        value: Any = sys.modules.get(module)
        for name in qualname.split("."):
            value = getattr(value, name, None)
        if is_decorated(value):
            found[path] = value
    return found


def is_decorated(func: object) -> bool:
    """Return whether `@job` marked a function."""
    return hasattr(func, _ATTRIBUTE)
