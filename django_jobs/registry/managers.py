"""The manager that decorated functions add their jobs with; the room that has it is above this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_get_manager: Callable[[], Any] | None = None


def provide_manager(get_manager: Callable[[], Any]) -> None:
    """Have decorated functions enqueue through this manager; it is imported with the first call."""
    global _get_manager
    _get_manager = get_manager


def provided_manager() -> Any:
    """Return the manager of this process.

    Raises:
        RuntimeError: Django is not set up yet.
    """
    if _get_manager is None:
        raise RuntimeError("jobs can be added once Django is set up: call django.setup() first")
    return _get_manager()
