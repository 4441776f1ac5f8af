"""Where a function's writes and its run's outcome can be one commit: `atomic=True`, and `complete()`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS

if TYPE_CHECKING:
    from collections.abc import Callable

IN_PLAIN_CODE = (
    "Django's transactions belong to one thread and end at an await: put the writes into a plain function "
    "that opens `with current_run().complete():`, and await it with sync_to_async"
)


def data_alias(atomic: bool | str) -> str:
    """Return the alias of the database that a function writes to, as its option `atomic` says."""
    return atomic if isinstance(atomic, str) else DEFAULT_DB_ALIAS


def check_database(alias: str) -> None:
    """Refuse a database that does not have the runs: its commit cannot have their outcomes.

    Raises:
        ValueError: The runs are in another one, or under another alias of the same one, which is another
            connection.
    """
    # `@job` is used where models are still being made.
    from django_jobs.models import jobs_database

    ours = jobs_database()
    if alias != ours:
        raise ValueError(
            f"one commit cannot be on two connections: the data is written to {alias!r}, and the runs are in "
            f"{ours!r}. Keep both in one database, or name the data's with atomic={ours!r} if that is where the "
            "function writes"
        )


def check_function(func: Callable[..., Any]) -> None:
    """Refuse functions that no transaction can be put around.

    Raises:
        TypeError: It is an `async def` function.
    """
    if inspect.iscoroutinefunction(func):
        raise TypeError(f"atomic is for plain functions, and {func.__qualname__} is async. {IN_PLAIN_CODE}")
