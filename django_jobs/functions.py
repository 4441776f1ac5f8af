"""Functions by name: `@job`, `@recurring`, `@cron`, and `module:qualname` to the function and back."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.views.debug import SafeExceptionReporterFilter

from django_jobs import codec, triggers
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.retry import Retry
from django_jobs.retry import to_json as retry_to_json

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

MAX_ID_LENGTH = 255
MAX_PATH_LENGTH = 500
_ATTRIBUTE = "__django_jobs_options__"
_registered: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Policy of a job; None leaves a value to the next in line: `using()`, `@job`, the default.

    Args:
        queue_name: Queue to wait in; "default".
        priority: -100 to 100, high first; 0.
        retry: When and how often an attempt that raised is followed by another; never.
        timeout: Seconds, or a timedelta, that one attempt may take; no limit.
        at_most_once: Fail rather than run again when the worker died; False.
        expires: Seconds, or a timedelta, after which work that has not begun is worthless and
            is skipped; never.
        max_instances: Unfinished runs of a recurring job at the same time; 1.
        coalesce: Missed firings of a recurring job become one run; True.
        misfire_grace_time: Whole seconds a firing may be late; no limit.
        sensitive: Names of parameters that pages and logs do not show.
        name: What pages call the job; the function's name.
        on_conflict: What to do when the `job_id` is unfinished: "raise", "skip", "replace".
    """

    queue_name: str | None = None
    priority: int | None = None
    retry: Retry | None = None
    timeout: float | timedelta | None = None
    at_most_once: bool | None = None
    expires: float | timedelta | None = None
    max_instances: int | None = None
    coalesce: bool | None = None
    misfire_grace_time: int | None = None
    sensitive: Collection[str] | None = None
    name: str | None = None
    on_conflict: str | None = None

    def over(self, other: JobOptions) -> JobOptions:
        """Return these options, completed by another's."""
        if other is NO_OPTIONS:
            return self
        if self is NO_OPTIONS:
            return other
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return JobOptions(
            **{key: getattr(other, key) if value is None else value for key, value in mine.items()}
        )

    def validate(self) -> None:
        """Refuse values that no job could have.

        Raises:
            ValueError: A value is out of range; the message says which and what is allowed.
            TypeError: A value is of the wrong type.
        """
        if self.queue_name is not None and not 0 < len(str(self.queue_name)) <= 100:
            raise ValueError(f"queue_name must have 1 to 100 characters, not {self.queue_name!r}")
        if self.priority is not None and (
            isinstance(self.priority, bool)
            or not isinstance(self.priority, int)
            or not -100 <= self.priority <= 100
        ):
            raise ValueError(f"priority must be a whole number from -100 to 100, not {self.priority!r}")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise TypeError(f"retry must be a django_jobs.Retry, not {type(self.retry).__name__}")
        for key in ("timeout", "expires"):
            value = seconds(getattr(self, key))
            if value is not None and not value > 0:
                raise ValueError(f"{key} must be more than 0 seconds, not {getattr(self, key)!r}")
        for key in ("max_instances", "misfire_grace_time"):
            value = getattr(self, key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{key} must be a whole number of at least 1, not {value!r}")
        if isinstance(self.sensitive, str) or any(not isinstance(name, str) for name in self.sensitive or ()):
            raise TypeError(f"sensitive must be a list of parameter names, not {self.sensitive!r}")
        if self.on_conflict not in {None, "raise", "skip", "replace"}:
            raise ValueError(f'on_conflict must be "raise", "skip" or "replace", not {self.on_conflict!r}')

    def stored(self) -> dict[str, Any] | None:
        """Return what each run keeps of these options, or None when that is nothing."""
        if self is NO_OPTIONS:
            return None
        policy: dict[str, Any] = {}
        if self.retry is not None:
            policy["retry"] = retry_to_json(self.retry)
        for key in ("timeout", "expires"):
            value = seconds(getattr(self, key))
            if value is not None:
                policy[key] = value
        if self.at_most_once:
            policy["at_most_once"] = True
        if self.sensitive:
            policy["sensitive"] = sorted(self.sensitive)
        return policy or None


NO_OPTIONS = JobOptions()


def seconds(duration: float | timedelta | None) -> float | None:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


class JobWords(TypedDict, total=False):
    """The options of `JobOptions` that `@job`, `@recurring` and `@cron` take, for type checkers."""

    queue_name: str | None
    priority: int | None
    retry: Retry | None
    timeout: float | timedelta | None
    at_most_once: bool | None
    expires: float | timedelta | None
    max_instances: int | None
    coalesce: bool | None
    misfire_grace_time: int | None
    sensitive: Collection[str] | None
    name: str | None


class CallWords(JobWords, total=False):
    """What `using` of a decorated function takes, for type checkers."""

    on_conflict: str | None
    job_id: str | None


# The manager module says here how to get the manager: it is above this one.
_get_manager: Callable[[], Any] | None = None


def provide_manager(get_manager: Callable[[], Any]) -> None:
    """Have decorated functions enqueue through this manager."""
    global _get_manager
    _get_manager = get_manager


class Enqueuer(Generic[P]):
    """Adds jobs of one function, with some options; may be kept and shared.

    Args:
        func: The function.
        **words: Those of `CallWords`; they go before the function's own from `@job`.
    """

    def __init__(self, func: Callable[P, Any], **words: Unpack[CallWords]) -> None:
        self._func = func
        self._words: dict[str, Any] = dict(words)
        options = dict(self._words)
        job_id = options.pop("job_id", None)
        self._job_id: str | None = None if job_id is None else checked_id(job_id)
        _options(options).validate()
        self._options = options

    def using(self, **words: Unpack[CallWords]) -> Enqueuer[P]:
        """Return another that has these options too.

        Raises:
            TypeError: An option does not exist.
            ValueError: An option's value is out of range.
        """
        return Enqueuer(self._func, **cast("CallWords", {**self._words, **words}))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Have the function called as soon as a worker is free; see `JobManager.add_immediate_job`."""
        args, kwargs = self._arguments(args, kwargs)
        added: str = self._manager().add_immediate_job(self._func, *args, job_id=self._job_id, **kwargs)
        return added

    def schedule(self, run_at: datetime, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Have the function called once, at a time; see `JobManager.add_scheduled_job`."""
        args, kwargs = self._arguments(args, kwargs)
        added: str = self._manager().add_scheduled_job(
            self._func, run_at, *args, job_id=self._job_id, **kwargs
        )
        return added

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Await `enqueue`."""
        args, kwargs = self._arguments(args, kwargs)
        added: str = await self._manager().aadd_immediate_job(
            self._func, *args, job_id=self._job_id, **kwargs
        )
        return added

    async def aschedule(self, run_at: datetime, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Await `schedule`."""
        args, kwargs = self._arguments(args, kwargs)
        added: str = await self._manager().aadd_scheduled_job(
            self._func, run_at, *args, job_id=self._job_id, **kwargs
        )
        return added

    def _manager(self) -> Any:
        if _get_manager is None:
            raise RuntimeError("jobs can be added once Django is set up: call django.setup() first")
        manager = _get_manager()
        return manager.using(**self._options) if self._options else manager

    def _arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Keep a parameter of the function's that is called `job_id` apart from the manager's."""
        signature = _signature(self._func) if "job_id" in kwargs else None
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

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """As `Enqueuer.enqueue`."""
        ...

    def schedule(self, run_at: datetime, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """As `Enqueuer.schedule`."""
        ...

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """As `Enqueuer.aenqueue`."""
        ...

    async def aschedule(self, run_at: datetime, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """As `Enqueuer.aschedule`."""
        ...

    def using(self, **words: Unpack[CallWords]) -> Enqueuer[P]:
        """As `Enqueuer.using`."""
        ...


class _Decorator(Protocol):
    def __call__(self, func: Callable[P, R], /) -> JobFunction[P, R]: ...


@overload
def job(func: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**options: Unpack[JobWords]) -> _Decorator: ...
def job(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Give a function the options its jobs have, allow it to be called as a job, and let it add jobs.

    The function itself stays what it is: it gets the methods of `Enqueuer` as attributes. `options`
    are those of `JobOptions`; `@job` alone, without parentheses, gives none.

    Raises:
        TypeError: An option does not exist.
        ValueError: An option's value is out of range.
    """
    chosen = _options(options) if options else NO_OPTIONS
    chosen.validate()

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError(f"@job is for functions, not {function!r}")
        enqueuer = Enqueuer(function)
        try:
            setattr(function, _ATTRIBUTE, chosen)
            for name in ("enqueue", "schedule", "aenqueue", "aschedule", "using"):
                setattr(function, name, getattr(enqueuer, name))
        except (AttributeError, TypeError) as error:
            raise TypeError(
                f"{function!r} takes no attributes, so @job cannot mark it: write a function that calls it"
            ) from error
        _registered.add(f"{function.__module__}:{function.__qualname__}")
        return function

    return decorate if func is None else decorate(func)


def _options(words: Mapping[str, Any]) -> JobOptions:
    known = [f.name for f in fields(JobOptions)]
    for word in words:
        if word not in known:
            raise TypeError(f"there is no option {word!r}; the options are {', '.join(known)}")
    return JobOptions(**words)


# Declared schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One schedule that the code declares.

    Args:
        job_id: Of the job that it declares.
        func: The decorated function.
        trigger: When it fires; of an interval, only the length counts.
        args: For the function.
        kwargs: For the function.
        options: Of `@recurring` or `@cron`; the function's own from `@job` complete them.
    """

    job_id: str
    func: Callable[..., Any]
    trigger: BaseTrigger
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: JobOptions


# By the path of the function.
_declared: dict[str, list[Declaration]] = {}


@overload
def recurring(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    **options: Unpack[JobWords],
) -> _Decorator: ...
@overload
def recurring(func: Callable[P, R], /) -> JobFunction[P, R]: ...
def recurring(
    func: Any = None,
    /,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    **options: Any,
) -> Any:
    """Declare that a function is called again and again, by the processes that have a clock.

    The job is added, changed and removed as the declaration is, once over all processes. Several
    declarations of one function may be stacked, each with its own `job_id`.

    Args:
        func: None; the decorator is called first, with its interval.
        weeks: Of the interval; the first firing comes one interval after the job was added.
        days: Of the interval.
        hours: Of the interval.
        minutes: Of the interval.
        seconds: Of the interval.
        args: For the function, as a list or tuple.
        kwargs: For the function.
        job_id: Stays the same over deploys; "module:function" by default.
        **options: Those of `@job`, for this schedule only.

    Raises:
        ValueError: There is no interval, or it is out of range; or the id is taken, or no process
            could find the function by its name.
        TypeError: The function cannot be called with these arguments, or an option does not exist.
    """
    if func is not None:
        raise TypeError("@recurring needs an interval in parentheses, as in @recurring(minutes=30)")
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not length:
        raise ValueError("@recurring needs an interval, as in @recurring(minutes=30)")
    return _declaring(triggers.interval(length), args, kwargs, job_id, options)


def cron(
    expression: str,
    /,
    *,
    timezone: str | tzinfo | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    **options: Unpack[JobWords],
) -> _Decorator:
    """Declare that a function is called by a crontab expression; otherwise as `recurring`.

    Args:
        expression: Five fields as in crontab(5), where weekdays 0 and 7 are Sunday; or @daily and
            its like.
        timezone: Whose wall clock the expression speaks of; UTC by default.
        args: For the function, as a list or tuple.
        kwargs: For the function.
        job_id: As for `recurring`.
        **options: As for `recurring`.

    Raises:
        ValueError: The expression or the time zone is wrong, with the field and its range; otherwise
            as for `recurring`.
        TypeError: As for `recurring`.
    """
    if not isinstance(expression, str):
        raise TypeError('@cron needs an expression in parentheses, as in @cron("30 3 * * mon-fri")')
    return _declaring(triggers.crontab(expression, timezone), args, kwargs, job_id, dict(options))


def _declaring(
    trigger: BaseTrigger,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    job_id: str | None,
    words: Mapping[str, Any],
) -> _Decorator:
    if not isinstance(args, list | tuple):
        raise TypeError(f"args must be a list or tuple of arguments, not {args!r}")
    if not isinstance(kwargs, Mapping | None):
        raise TypeError(f"kwargs must be a dict of arguments, not {kwargs!r}")
    options = _options(words)
    options.validate()
    if options.on_conflict is not None:
        raise TypeError("on_conflict has no meaning for a declared schedule: its job is updated")

    def decorate(function: Callable[..., Any]) -> Any:
        if not hasattr(function, _ATTRIBUTE):
            job(function)
        path = _name_of(function)
        _add_declaration(
            path,
            Declaration(
                job_id=checked_id(path if job_id is None else job_id),
                func=function,
                trigger=trigger,
                args=tuple(args),
                kwargs=dict(kwargs or {}),
                options=options,
            ),
        )
        return function

    return decorate


def _add_declaration(path: str, declaration: Declaration) -> None:
    check_arguments(path, declaration.func, declaration.args, declaration.kwargs)
    # Another function of this name: its module was loaded anew.
    mine = [known for known in _declared.get(path, []) if known.func is declaration.func]
    if any(known.job_id == declaration.job_id for known in mine):
        raise ValueError(
            f"{path} declares two schedules with the id {declaration.job_id!r}: "
            'give each an id of its own, as in @recurring(minutes=30, job_id="...")'
        )
    _declared[path] = [*mine, declaration]


def declarations() -> list[Declaration]:
    """Return the schedules that the modules imported so far declare, by id.

    Of several with one id, which `manage.py check` reports, the first by function is left.
    """
    first: dict[str, Declaration] = {}
    for path in sorted(_declared):
        for declaration in _declared[path]:
            first.setdefault(declaration.job_id, declaration)
    return [first[job_id] for job_id in sorted(first)]


def check_declarations() -> None:
    """Refuse declared schedules that could not be called, now that their modules are whole.

    Raises:
        ValueError: No process could find the function by its name; or its arguments are too large.
        TypeError: An argument cannot be stored.
    """
    for declaration in declarations():
        try:
            path_of(declaration.func)
            stored_arguments(declaration.args, declaration.kwargs)
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"the schedule {declaration.job_id!r} is declared wrongly: {error}") from error


def contested_ids() -> dict[str, list[str]]:
    """Return the ids that more than one function declares, with the functions."""
    by_id: dict[str, list[str]] = {}
    for path in sorted(_declared):
        for declaration in _declared[path]:
            by_id.setdefault(declaration.job_id, []).append(path)
    return {job_id: paths for job_id, paths in by_id.items() if len(paths) > 1}


def checked_id(job_id: str) -> str:
    """Return a job's id, if it can be one.

    Raises:
        ValueError: It is empty, longer than 255 characters, or holds a NUL character.
        TypeError: It is no string.
    """
    if not isinstance(job_id, str):
        raise TypeError(f"job_id must be a string, not {type(job_id).__name__}")
    if not job_id or len(job_id) > MAX_ID_LENGTH:
        raise ValueError(f"job_id must have 1 to {MAX_ID_LENGTH} characters, not {len(job_id)}")
    if "\x00" in job_id:
        raise ValueError("job_id must not contain a NUL character, which PostgreSQL cannot store")
    return job_id


def options_of(func: Callable[..., Any]) -> JobOptions:
    """Return what `@job` said of a function."""
    options: JobOptions = getattr(func, _ATTRIBUTE, NO_OPTIONS)
    return options


def path_of(func: Callable[..., Any] | str) -> tuple[str, Callable[..., Any]]:
    """Return the `module:qualname` of a function, or of a Task's, and the function.

    Raises:
        ValueError: Another process could not find it: a lambda, a nested function, a method of an
            instance, a function of `__main__`, or a string that leads nowhere.
        FunctionNotAllowed: Its module is not one that may be called.
        TypeError: It is not callable.
    """
    if isinstance(func, str):
        try:
            return moved(func), resolve(func)
        except FunctionNotFound as error:
            raise ValueError(str(error)) from None
    function: Callable[..., Any] = _function_of(func)
    path = _known_paths.get(function) if _is_hashable(function) else None
    if path is None:
        path = _path_of(function)
        if _is_hashable(function):
            _known_paths[function] = path
    return path, function


def _is_hashable(func: object) -> bool:
    return inspect.isfunction(func)


_known_paths: dict[Any, str] = {}


def _path_of(func: Callable[..., Any]) -> str:
    path = _name_of(func)
    found = resolve(path, error=ValueError)
    if found is not func and not inspect.ismethod(func):
        raise ValueError(
            f"{path} leads to another object than the one that was passed: was it replaced by a decorator? "
            "Put @job, @recurring and @cron above all others"
        )
    return path


def _name_of(func: Callable[..., Any]) -> str:
    """Return the path of a function that may still be on its way into its module."""
    if not callable(func):
        raise TypeError(f"a job needs a function or its 'module:qualname', not {type(func).__name__}")
    if isinstance(func, functools.partial):
        raise ValueError(  # noqa: TRY004 - callable, only not by name
            "a functools.partial has no name that another process could import: "
            "pass the function itself and the arguments after it"
        )
    module, name = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    if not module or not name:
        raise ValueError(
            f"{func!r} has no name that another process could import: pass a module-level function"
        )
    if inspect.ismethod(func) and not inspect.isclass(func.__self__):
        raise ValueError(
            f"{module}:{name} is a method of an instance, which is not stored with it: "
            "pass a module-level function, and the object as an argument"
        )
    if "<lambda>" in name or "<locals>" in name:
        kind = "a lambda" if "<lambda>" in name else "defined inside another function"
        raise ValueError(
            f"{module}:{name} is {kind}, so no other process can import it: move it to a module's top level"
        )
    if module == "__main__":
        raise ValueError(
            f"{name} is defined in __main__, which no other process can import: move it to a module"
        )
    path = f"{module}:{name}"
    if len(path) > MAX_PATH_LENGTH:
        raise ValueError(f"{path} is longer than {MAX_PATH_LENGTH} characters")
    return path


def _function_of(found: Any) -> Any:
    # Django's `@task` puts a Task in the function's place: it has the function, and cannot be called.
    return found if callable(found) else getattr(found, "func", found)


def allow(func: Callable[..., Any]) -> None:
    """Let rows name a function whatever its module, as the code that decorates it wants."""
    _registered.add(f"{func.__module__}:{func.__qualname__}")


def registered() -> list[str]:
    """Return the `module:qualname` of the functions that were decorated, in the modules imported so far."""
    return sorted(_registered)


def moved(path: str) -> str:
    """Return where a function lives now, by the MOVED setting."""
    return jobs_settings().MOVED.get(path, path)


_resolved: dict[str, Callable[..., Any]] = {}
_found: dict[str, Any] = {}


def resolve(path: str, *, error: type[Exception] | None = None) -> Callable[..., Any]:
    """Return the function of a `module:qualname`.

    Nothing is imported before the module is known to be allowed.

    Raises:
        FunctionNotAllowed: The module is none of ALLOWED_MODULES (by default: of installed apps).
        FunctionNotFound: There is no such function; the message says what is missing.
    """
    function = _resolved.get(path)
    if function is None:
        try:
            function = _resolved[path] = _resolve(moved(path))
        except FunctionNotFound as missing:
            if error is None:
                raise
            raise error(str(missing)) from None
    return function


def find(path: str) -> Any:
    """Return what stands at a `module:qualname`: a function, or the Task that `@task` made of it.

    Raises:
        FunctionNotAllowed: As for `resolve`.
        FunctionNotFound: As for `resolve`.
    """
    found = _found.get(path)
    if found is None:
        found = _found[path] = _find(moved(path))
    return found


def _resolve(path: str) -> Callable[..., Any]:
    found = _function_of(_find(path))
    if not callable(found):
        raise FunctionNotFound(f"{path} cannot be called: it is a {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def _find(path: str) -> Any:
    module_name, separator, qualname = path.partition(":")
    if not separator or not module_name or not qualname:
        raise FunctionNotFound(f"{path!r} is not of the form 'package.module:function'")
    if not is_allowed(path):
        raise FunctionNotAllowed(
            f"{path} may not be called: {module_name} belongs to no installed app. Add its app to "
            "INSTALLED_APPS, decorate the function with @job in a module that every process imports, "
            "or name the module in DJANGO_JOBS['ALLOWED_MODULES']"
        )
    try:
        # Not from sys.modules: another thread may be in the middle of importing it, and this waits.
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module of the project may raise anything while it is imported
        raise FunctionNotFound(
            f"{path} cannot be called: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise FunctionNotFound(
                f"{path} cannot be called: {module_name} has no {qualname}. If it was renamed, add "
                f"{{{path!r}: 'its.new.module:name'}} to DJANGO_JOBS['MOVED']"
            ) from None
    return found


def is_allowed(path: str) -> bool:
    """Return whether a `module:qualname` is one that a row may name."""
    module = path.partition(":")[0]
    return path in _registered or any(
        module == allowed or module.startswith(f"{allowed}.") for allowed in _allowed_modules()
    )


@functools.cache
def _allowed_modules() -> frozenset[str]:
    chosen = jobs_settings().ALLOWED_MODULES
    if chosen is not None:
        return frozenset(chosen)
    # The project's own package often holds functions without being an installed app.
    project = settings.ROOT_URLCONF.rpartition(".")[0] if getattr(settings, "ROOT_URLCONF", None) else ""
    return frozenset({config.name for config in apps.get_app_configs()} | ({project} if project else set()))


@functools.lru_cache(maxsize=1024)
def _signature(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(func)
    except (TypeError, ValueError):
        # Some functions written in C do not say; their own call will.
        return None


@functools.lru_cache(maxsize=1024)
def hidden_positions(func: Callable[..., Any], sensitive: frozenset[str]) -> tuple[int, ...]:
    """Return the positions of the parameters whose arguments pages and logs do not show.

    Those that `sensitive` names, and those that Django would hide among settings by their names.
    """
    signature = _signature(func)
    if signature is None:
        return ()
    is_secret = SafeExceptionReporterFilter.hidden_settings.search
    return tuple(
        position
        for position, parameter in enumerate(signature.parameters.values())
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        and (parameter.name in sensitive or is_secret(parameter.name))
    )


def stored_options(
    options: JobOptions, func: Callable[..., Any], args: tuple[Any, ...]
) -> dict[str, Any] | None:
    """Return what a run keeps of its options, with the positions of arguments that are not shown."""
    stored = options.stored()
    hidden = hidden_positions(func, frozenset(options.sensitive or ()))
    positions = [position for position in hidden if position < len(args)]
    if positions:
        stored = stored or {}
        stored["sensitive"] = [*stored.get("sensitive", ()), *positions]
    return stored


def stored_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return arguments as they are stored.

    Raises:
        InvalidArgument: One of them cannot be stored.
        ValueError: They are larger than MAX_PAYLOAD_BYTES.
    """
    payload = codec.dump_arguments(args, kwargs)
    limit = jobs_settings().MAX_PAYLOAD_BYTES
    # A character is at most four bytes: most payloads need not be encoded to be measured.
    if len(payload) * 4 > limit and (size := len(payload.encode())) > limit:
        raise ValueError(
            f"the arguments have {size} bytes as JSON, more than MAX_PAYLOAD_BYTES ({limit}): "
            "store the data elsewhere and pass its path or id"
        )
    return payload


def check_arguments(
    path: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Refuse arguments that the function could not be called with.

    Raises:
        TypeError: As the call itself would, with the function's signature.
    """
    signature = _signature(func)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{path}{signature} cannot be called with these arguments: {error}") from None


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"DJANGO_JOBS", "INSTALLED_APPS", "ROOT_URLCONF"}:
        _resolved.clear()
        _found.clear()
        _known_paths.clear()
        _allowed_modules.cache_clear()


setting_changed.connect(_forget)
