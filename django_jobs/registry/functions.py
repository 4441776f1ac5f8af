"""Names of functions: `module:qualname` to the function and back, and which of them may be called."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed

from django_jobs.conf import jobs_settings
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PATH_LENGTH = 500
# Our own jobs may be called before their modules are imported, and whatever ALLOWED_MODULES says. Nobody
# chooses their arguments: these say, for one, by whose permission they act.
# The path that rows keep, and where the function is today: a process of another version reads the same rows.
OWN = {
    "django_jobs.bulk:act_on_matching": "django_jobs.operations.bulk:act_on_matching",
    "django_jobs.alerts:send": "django_jobs.operations.alerts.send:send",
}
_STORED = {place: path for path, place in OWN.items()}
_registered: set[str] = set()


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
    # Other callables may have no hash.
    is_plain = inspect.isfunction(function)
    path = _known_paths.get(function) if is_plain else None
    if path is None:
        path = _path_of(function)
        if is_plain:
            _known_paths[function] = path
    return path, function


_known_paths: dict[Any, str] = {}


def _path_of(func: Callable[..., Any]) -> str:
    path = name_of(func)
    found = resolve(path, error=ValueError)
    # Each look at a class method makes another object, equal to the one before.
    if found is not func and not (inspect.ismethod(func) and found == func):
        raise ValueError(
            f"{path} leads to another object than the one that was passed: was it replaced by a decorator? "
            "Put @job, @recurring and @cron above all others"
        )
    return path


def name_of(func: Callable[..., Any]) -> str:
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
    if inspect.ismethod(func):
        # One that `Sub` inherits has the name of where it was defined, and is called with another class.
        owner: Any = func.__self__
        module, name = owner.__module__, f"{owner.__qualname__}.{func.__name__}"
    if "<lambda>" in name or "<locals>" in name:
        kind = "a lambda" if "<lambda>" in name else "defined inside another function"
        raise ValueError(
            f"{module}:{name} is {kind}, so no other process can import it: move it to a module's top level"
        )
    if module == "__main__":
        raise ValueError(
            f"{name} is defined in __main__, which no other process can import: move it to a module"
        )
    path = _STORED.get(f"{module}:{name}", f"{module}:{name}")
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
    """Return the `module:qualname` of the project's decorated functions, in the modules imported so far."""
    return sorted(_registered - {*OWN, *_STORED})


def moved(path: str) -> str:
    """Return where a function lives now, by the MOVED setting."""
    return jobs_settings().MOVED.get(path, path)


# With whether it is `async def`: to ask that takes as long as to call an empty function ten times.
_resolved: dict[str, tuple[Callable[..., Any], bool]] = {}
_found: dict[str, Any] = {}


def resolve(path: str, *, error: type[Exception] | None = None) -> Callable[..., Any]:
    """Return the function of a `module:qualname`.

    Nothing is imported before the module is known to be allowed.

    Raises:
        FunctionNotAllowed: The module is none of ALLOWED_MODULES (by default: of installed apps).
        FunctionNotFound: There is no such function; the message says what is missing.
    """
    try:
        return resolve_call(path)[0]
    except FunctionNotFound as missing:
        if error is None:
            raise
        raise error(str(missing)) from None


def resolve_call(path: str) -> tuple[Callable[..., Any], bool]:
    """Return the function of a `module:qualname`, and whether it is `async def`; raises as `resolve` does."""
    found = _resolved.get(path)
    if found is None:
        function = _resolve(moved(path))
        found = _resolved[path] = function, inspect.iscoroutinefunction(function)
    return found


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
    module_name, _, qualname = OWN.get(path, path).partition(":")
    try:
        # Not from sys.modules: another thread may be in the middle of importing it, and this waits.
        imported = importlib.import_module(module_name)
    except Exception as error:  # a module of the project may raise anything while it is imported
        raise FunctionNotFound(
            f"{path} cannot be called: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    found: Any = imported
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise FunctionNotFound(
                f"{path} cannot be called: {module_name} has no {qualname}. If it was renamed, add "
                f"{{{path!r}: 'its.new.module:name'}} to DJANGO_JOBS['MOVED']"
            ) from None
    if path not in OWN:
        _refuse_what_is_only_imported(path, _function_of(found), imported.__name__)
    return found


def _refuse_what_is_only_imported(path: str, found: Any, own_name: str) -> None:
    """Refuse a function that an allowed module imports: `shop.jobs:os.system` is not the shop's.

    Args:
        path: As a row names it.
        found: What stands there.
        own_name: What the module calls itself: `os.path` is `posixpath`.

    Raises:
        FunctionNotAllowed: It is neither defined nor decorated in a module that is allowed.
    """
    if not callable(found):
        return
    module = getattr(found, "__module__", None) or "builtins"
    home = f"{module}:{getattr(found, '__qualname__', type(found).__qualname__)}"
    if module != own_name and not is_allowed(home):
        raise FunctionNotAllowed(
            f"{path} may not be called: it is {home}, which {path.partition(':')[0]} only imports. Write a "
            "function that calls it, or name its module in DJANGO_JOBS['ALLOWED_MODULES']"
        )


def is_allowed(path: str) -> bool:
    """Return whether a `module:qualname` is one that a row may name."""
    module = path.partition(":")[0]
    return (
        path in OWN
        or path in _registered
        or any(module == allowed or module.startswith(f"{allowed}.") for allowed in _allowed_modules())
    )


@functools.cache
def _allowed_modules() -> frozenset[str]:
    chosen = jobs_settings().ALLOWED_MODULES
    if chosen is not None:
        return frozenset(chosen)
    # The project's own package often holds functions without being an installed app.
    project = settings.ROOT_URLCONF.rpartition(".")[0] if getattr(settings, "ROOT_URLCONF", None) else ""
    return frozenset({config.name for config in apps.get_app_configs()} | ({project} if project else set()))


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"DJANGO_JOBS", "INSTALLED_APPS", "ROOT_URLCONF"}:
        _resolved.clear()
        _found.clear()
        _known_paths.clear()
        _allowed_modules.cache_clear()


setting_changed.connect(_forget)
