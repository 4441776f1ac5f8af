"""The manager that decorated functions add their jobs with; the room that has it is above this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_get_manager: Callable[[], Any] | None = None
_batch_of_run: Callable[[int, int], Any] | None = None


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


def provide_batches(batch_of_run: Callable[[int, int], Any]) -> None:
    """Have runs find the batches that they are of: with the ids of the batch's row and of the run."""
    global _batch_of_run
    _batch_of_run = batch_of_run


def provided_batch(row_id: int, run_id: int) -> Any:
    """Return the batch that a run is of; None when it is gone."""
    # Its module provides both.
    provided_manager()
    assert _batch_of_run is not None  # noqa: S101 - see above
    return _batch_of_run(row_id, run_id)
