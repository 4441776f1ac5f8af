"""Other frameworks' ways of calling a function, registered by what knows those frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from django_jobs.storage.records import ClaimedRun

    Adapter: TypeAlias = Callable[[ClaimedRun, datetime], Callable[..., Any]]

# Dotted paths, imported with the first run that needs them.
_adapters: dict[str, str] = {}


def register(option: str, path: str) -> None:
    """Have runs that carry an option called by an adapter.

    Args:
        option: A key of `Run.options`.
        path: The adapter's dotted path. It is given the run and its start, and returns what to call with
            the run's arguments instead of the function itself.
    """
    _adapters[option] = path


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
