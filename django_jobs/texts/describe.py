"""Describe exceptions and values that are not ours: whatever they do when they are looked at, it returns.

An exception class whose `__getattr__` raises KeyError breaks `traceback` and, through it, `logging`; one
whose `__str__` raises breaks every message about it; `isinstance` asks its `__class__`.
"""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING, TypeGuard, TypeVar

if TYPE_CHECKING:
    import logging
    from types import TracebackType

E = TypeVar("E", bound=BaseException)


class Indescribable(Exception):
    """Stands in a log for an exception that cannot be formatted."""


def is_a(error: BaseException, kinds: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Return whether an exception is of some classes, without asking the exception itself."""
    return issubclass(type(error), kinds)


def name_of(kind: type) -> str:
    """Return the qualified name of a class, without its module."""
    try:
        return _plain(kind.__qualname__)
    except BaseException:  # noqa: BLE001 - a metaclass of the project's
        return "an unnamed class"


def path_of(kind: type) -> str:
    """Return the module and qualified name of a class."""
    try:
        return f"{_plain(kind.__module__)}.{name_of(kind)}"
    except BaseException:  # noqa: BLE001 - a metaclass of the project's
        return name_of(kind)


def text_of(value: object) -> str:
    """Return `str(value)`, or why there is none."""
    try:
        return _plain(value)
    except BaseException as mistake:  # noqa: BLE001 - whatever `__str__` raises
        return f"its text cannot be had: {name_of(type(mistake))}"


def repr_of(value: object) -> str:
    """Return `repr(value)`, or the name of its class where it has none."""
    try:
        return str.__str__(repr(value))
    except BaseException:  # noqa: BLE001 - whatever `__repr__` raises
        return f"<{name_of(type(value))}, which cannot be shown>"


def in_a_line(error: BaseException, most: int = 1000) -> str:
    """Return the class and text of an exception in one line of at most so many characters."""
    text, name = " ".join(text_of(error).split()), name_of(type(error))
    return (f"{name}: {text}" if text else name)[:most]


def formatted(error: BaseException, since: TracebackType | None = None) -> str:
    """Return an exception with its traceback, as much of it as can be had.

    Args:
        error: The exception.
        since: The first of its frames to show; None for all.
    """
    since = since or traceback_of(error)
    try:
        return "".join(traceback.format_exception(type(error), error, since))
    except BaseException:  # noqa: BLE001 - this exception, or one in its chain
        frames = traceback.format_tb(since)
    return "".join(["Traceback (most recent call last):\n", *frames, in_a_line(error), "\n"])


def loggable(error: BaseException) -> BaseException:
    """Return an exception that a log can show: this one, or what stands for it."""
    try:
        traceback.format_exception(error)
    except BaseException:  # noqa: BLE001 - this exception, or one in its chain
        return Indescribable(in_a_line(error)).with_traceback(traceback_of(error))
    return error


def log_error(log: logging.Logger, error: BaseException, message: str, *args: object) -> None:
    """Log an error with its traceback, whatever it is and whatever handlers do with it."""
    # A handler of the project's may raise, too; there is nowhere left to say it.
    with contextlib.suppress(Exception, SystemExit):
        log.error(message, *args, exc_info=loggable(error), stacklevel=2)


def _plain(value: object) -> str:
    # Exactly a str: a subclass may do anything when it is split or joined.
    return str.__str__(str(value))


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return an exception's traceback without asking the exception itself."""
    # Not `error.__traceback__`: its class may have a `__getattribute__` of its own.
    found: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    return found
