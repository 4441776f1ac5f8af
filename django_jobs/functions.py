"""Functions by name: `@job`, and `module:qualname` to the function and back."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, TypeVar, overload

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.views.debug import SafeExceptionReporterFilter

from django_jobs.conf import jobs_settings
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.retry import Retry
from django_jobs.retry import to_json as retry_to_json

F = TypeVar("F", bound=Callable[..., Any])

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


@overload
def job(func: F) -> F: ...
@overload
def job(**options: Any) -> Callable[[F], F]: ...
def job(func: F | None = None, **options: Any) -> F | Callable[[F], F]:
    """Give a function the options its jobs have, and allow it to be called as a job.

    The function itself stays as it is. `options` are those of `JobOptions`.

    Raises:
        TypeError: An option does not exist.
        ValueError: An option's value is out of range.
    """
    chosen = JobOptions(**options) if options else NO_OPTIONS
    chosen.validate()

    def decorate(function: F) -> F:
        setattr(function, _ATTRIBUTE, chosen)
        _registered.add(f"{function.__module__}:{function.__qualname__}")
        return function

    return decorate if func is None else decorate(func)


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
    found = resolve(path, error=ValueError)
    if found is not func and not inspect.ismethod(func):
        raise ValueError(
            f"{path} leads to another object than the one that was passed: was it replaced by a decorator?"
        )
    return path


def _function_of(found: Any) -> Any:
    # Django's `@task` puts a Task in the function's place: it has the function, and cannot be called.
    return found if callable(found) else getattr(found, "func", found)


def allow(func: Callable[..., Any]) -> None:
    """Let rows name a function whatever its module, as the code that decorates it wants."""
    _registered.add(f"{func.__module__}:{func.__qualname__}")


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
