"""Other frameworks' ways of adding and calling a function, registered by what knows those frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from django_jobs.registry.options import JobOptions
    from django_jobs.storage.records import ClaimedRun, NewRun

    Adapter: TypeAlias = Callable[[ClaimedRun, datetime], Callable[..., Any]]

# Dotted paths, imported with the first run that needs them.
_adapters: dict[str, str] = {}
_makers: dict[str, str] = {}
_tellers: dict[str, str] = {}


def register(option: str, path: str, *, maker: str = "", teller: str = "") -> None:
    """Have runs that carry an option called by an adapter.

    Args:
        option: A key of `Run.options`.
        path: The adapter's dotted path. It is given the run and its start, and returns what to call with
            the run's arguments instead of the function itself.
        maker: The dotted path of what makes such a run of something that is not callable, as `run_of` does.
        teller: The dotted path of what is given such a run after it was inserted.
    """
    _adapters[option] = path
    if maker:
        _makers[option] = maker
    if teller:
        _tellers[option] = teller


def run_of(
    called: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: JobOptions
) -> tuple[NewRun, JobOptions] | None:
    """Return a run of another framework's object, and the options that hold for it; None where nobody knows it.

    Args:
        called: What is to be called, which is not callable.
        args: For its function.
        kwargs: For its function.
        options: They go before those of the object.
    """
    for path in _makers.values():
        made: tuple[NewRun, JobOptions] | None = import_string(path)(called, args, kwargs, options)
        if made is not None:
            return made
    return None


def tell_added(runs: Iterable[NewRun]) -> None:
    """Have the frameworks of some runs, which were inserted, tell of them."""
    for run in runs:
        for option in run.options or ():
            if option in _tellers:
                import_string(_tellers[option])(run)


def is_adapted(options: Mapping[str, Any]) -> bool:
    """Return whether runs with some options are called by an adapter."""
    return any(option in _adapters for option in options)


def adapter_of(run: ClaimedRun) -> Adapter | None:
    """Return what calls a run's function; None when the function is called as it is."""
    for option in run.options or ():
        if option in _adapters:
            adapter: Adapter = import_string(_adapters[option])
            return adapter
    return None
