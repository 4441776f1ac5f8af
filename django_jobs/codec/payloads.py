"""A value, or the arguments of a call, to JSON text and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.codec import decoding
from django_jobs.codec.decoding import decode
from django_jobs.codec.encoding import encode_named
from django_jobs.codec.tags import RESULT, TAG, Reference
from django_jobs.codec.text import bounded, from_text, to_text
from django_jobs.exceptions import BadPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# What a text with a `Reference` contains.
_REFERENCE = f'"{TAG}":"{RESULT}"'
# What `dump_arguments` makes of a call without any.
NO_ARGUMENTS = '{"args":[],"kwargs":{}}'


def dumps(value: object, *, path: str = "value") -> str:
    """Encode a value as compact JSON.

    Args:
        value: Of a type that JSON has, or datetime, date, time, timedelta, Decimal, UUID, bytes
            (also bytearray and memoryview, which come back as bytes), tuple, set, frozenset, Enum,
            pathlib path, saved model instance, a dict with keys of these, or a registered type.
            Subclasses of str, int, float and of these scalar types are stored as what they extend,
            lazy translations as text.
        path: What error messages call the value.

    Raises:
        InvalidArgument: It cannot be stored; the message names the part, its type and the way out.
    """
    return to_text(encode_named(value, path), path)


def loads(text: str, *, trusted: bool = False, references: Iterable[int] = ()) -> Any:
    """Decode what `dumps` wrote; model instances are fetched from the database.

    Args:
        text: JSON.
        trusted: The text's signature was verified: modules of enums may be imported. Otherwise an
            enum of a module that is not imported yet comes back as its raw value.
        references: Positions of results of other runs that it may refer to; each comes back as a `Reference`.

    Raises:
        BadPayload: The text is damaged, or names a type, model or enum that is not here.
        ObjectGone: A model instance no longer exists.
    """
    with bounded:
        token = decoding.results.set({position: Reference(position) for position in references} or None)
        try:
            return decode(from_text(text), trusted=trusted)
        finally:
            decoding.results.reset(token)


def dump_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Encode a call's arguments as `{"args":[...],"kwargs":{...}}`.

    Raises:
        InvalidArgument: As for `dumps`; the message says `argument 2` (counted from 1) or
            `argument 'rows'[3]['file']`.
    """
    if not args and not kwargs:
        return NO_ARGUMENTS
    encoded = {
        "args": [encode_named(value, f"argument {i}") for i, value in enumerate(args, 1)],
        "kwargs": {name: encode_named(value, f"argument {name!r}") for name, value in kwargs.items()},
    }
    return to_text(encoded, "an argument")


def load_arguments(
    payload: str,
    *,
    results: Callable[[Sequence[int]], Mapping[int, Any]] | None = None,
    trusted: bool = True,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Decode what `dump_arguments` wrote.

    Args:
        payload: From `dump_arguments`.
        results: Returns what to put in the place of each `Reference`, by positions; it is called only
            where there are some. None where nobody knows: reading a reference raises ObjectGone.
        trusted: The signature was verified, so enums are imported; otherwise as for `loads`.

    Raises:
        BadPayload: It is damaged, or names something that is not here.
        ObjectGone: A model instance no longer exists.
    """
    if payload == NO_ARGUMENTS:
        return (), {}
    with bounded:
        args, kwargs = split(from_text(payload))
        if results is None or not has_references(payload):
            return _decoded(args, kwargs, trusted)
        token = decoding.results.set(results(list(decoding.referred([args, kwargs]))))
        try:
            return _decoded(args, kwargs, trusted)
        finally:
            decoding.results.reset(token)


def has_references(payload: str) -> bool:
    """Return whether stored arguments may refer to results of other runs."""
    return _REFERENCE in payload


def _decoded(
    args: list[Any], kwargs: dict[str, Any], trusted: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (
        tuple([decode(raw, trusted=trusted) for raw in args]),
        {name: decode(raw, trusted=trusted) for name, raw in kwargs.items()},
    )


def split(stored: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the args and the kwargs of parsed arguments, not yet decoded."""
    if not isinstance(stored, dict):
        raise BadPayload(f"stored arguments must be an object, not {type(stored).__name__}")
    args, kwargs = stored.get("args"), stored.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadPayload("stored arguments must have a list 'args' and an object 'kwargs'")
    return args, kwargs
