"""How a value that JSON has no word for is stored, as `{"$type": tag, "value": ...}`; the tags of registered types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# What is stored, without a signature, in the place of arguments that were removed.
REMOVED = '{"removed":true}'
TAG = "$type"
VALUE = "value"


class Custom(NamedTuple):
    """A registered type."""

    type: type[Any]
    tag: str
    encode: Callable[[Any], object]
    decode: Callable[[Any], Any]


class Reference(NamedTuple):
    """Stands for the result of another run, which is put in its place when the arguments are read.

    Attributes:
        position: Which of the runs that this one waits for, counted from 0.
    """

    position: int


RESULT = "result"

custom_by_type: dict[type[Any], Custom] = {}
custom_by_tag: dict[str, Custom] = {}


def tagged(tag: str, raw: Any) -> dict[str, Any]:
    """Return a value with the tag of its type."""
    return {TAG: tag, VALUE: raw}


def name_of(type_: type[Any]) -> str:
    """Return what messages call a type."""
    return (
        type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"
    )
