"""Values to what JSON has, by their types."""

from __future__ import annotations

import base64
import math
import sys
from collections import Counter, OrderedDict, defaultdict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import NoneType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.db.models import Model
from django.utils.functional import Promise

from django_jobs.codec.decoding import decode, find
from django_jobs.codec.refusals import Unstorable, refusal
from django_jobs.codec.tags import RESULT, TAG, Reference, custom_by_type, name_of, tagged
from django_jobs.codec.zones import zone_key
from django_jobs.exceptions import BadPayload, InvalidArgument
from django_jobs.texts.describe import in_a_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Far below Python's recursion limit, which a worker's or a request's stack shares with us.
MAX_DEPTH = 100

# Ids of the containers around the value that is being encoded.
_Outer = set[int]


def encode_named(value: object, path: str) -> Any:
    """Return a value as what JSON has.

    Raises:
        InvalidArgument: It cannot be stored; the message calls it by `path`, and names the part.
    """
    if type(value) in ATOMS:
        return value
    try:
        return _encode(value, set())
    except Unstorable as error:
        place = path + "".join(reversed(error.steps))
        raise InvalidArgument(f"{place} {error.reason}") from error.__cause__


def _encode(value: Any, outer: _Outer) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    leaf = LEAVES.get(kind)
    if leaf is not None:
        return leaf(value)
    container = CONTAINERS.get(kind)
    if container is not None:
        return _enter(value, container, outer)
    custom = custom_by_type.get(kind)
    if custom is not None:
        return _enter(value, _encode_custom, outer)
    return _encode_relative(value, outer)


def _enter(value: Any, container: Callable[[Any, _Outer], Any], outer: _Outer) -> Any:
    key = id(value)
    if key in outer:
        raise Unstorable("contains itself, which cannot be stored; pass the parts or an id instead")
    if len(outer) >= MAX_DEPTH:
        raise Unstorable(f"is nested more than {MAX_DEPTH} deep, which cannot be stored")
    outer.add(key)
    try:
        return container(value, outer)
    finally:
        outer.discard(key)


def _encode_items(values: Iterable[Any], outer: _Outer) -> list[Any]:
    encoded: list[Any] = []
    try:
        for value in values:
            encoded.append(value if type(value) in ATOMS else _encode(value, outer))  # noqa: PERF401 - its length names the failing item
    except Unstorable as error:
        error.steps.append(f"[{len(encoded)}]")
        raise
    return encoded


def _encode_dict(value: dict[Any, Any], outer: _Outer) -> Any:
    if TAG in value or not _ONLY_STR.issuperset(map(type, value)):
        return tagged("dict", [_encode_pair(*pair, outer) for pair in value.items()])
    encoded = {}
    key = ""
    try:
        for key, item in value.items():
            encoded[key] = item if type(item) in ATOMS else _encode(item, outer)
    except Unstorable as error:
        error.steps.append(f"[{key!r}]")
        raise
    return encoded


def _encode_pair(key: Any, item: Any, outer: _Outer) -> list[Any]:
    # A key of a type of its own may have a repr that is long, or that queries.
    shown = repr(key) if type(key) in ATOMS else f"<{name_of(type(key))}>"
    try:
        encoded = _encode(key, outer)
    except Unstorable as error:
        error.steps.append(f"[the key {shown}]")
        raise
    try:
        return [encoded, _encode(item, outer)]
    except Unstorable as error:
        error.steps.append(f"[{shown}]")
        raise


def _encode_custom(value: Any, outer: _Outer) -> Any:
    custom = custom_by_type[type(value)]
    try:
        raw = custom.encode(value)
    except Exception as error:  # the project's own
        reason = f"the encoder registered for it raised {in_a_line(error)}"
        raise Unstorable(f"is a {name_of(custom.type)}, and {reason}") from error
    return tagged(custom.tag, _encode(raw, outer))


def _encode_relative(value: Any, outer: _Outer) -> Any:
    """Encode a value whose own type says nothing, by what it extends or stands for."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Enum):
        return _encode_enum(value, outer)
    if isinstance(value, Model):  # also request.user, which is lazy
        return _encode_model(value, outer)
    # The bases' own methods: a subclass may have overridden its conversion.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return _encode_float(float.__float__(value))
    for base in _SCALARS:
        if isinstance(value, base):
            return _encode_subclass(value, base)
    raise Unstorable(refusal(value))


def _encode_subclass(value: Any, base: type[Any]) -> Any:
    encoded = LEAVES[base](value)
    try:
        same = decode(encoded, trusted=False) == value
    except BadPayload:
        same = False
    if not same:  # pandas' NaT is a datetime, and its Timestamp has nanoseconds
        hint = f"is more than a {base.__name__}, which cannot be stored; pass a {base.__name__}"
        raise Unstorable(f"is a {name_of(type(value))} that {hint}")
    return encoded


def _encode_float(value: float) -> Any:
    return value if math.isfinite(value) else tagged("float", repr(value))


def _encode_clock(value: datetime | time) -> Any:
    key = zone_key(value.tzinfo)
    if key is None and not value.fold:
        return value.isoformat()
    return [value.isoformat(), key, value.fold]


def _encode_enum(value: Enum, outer: _Outer) -> Any:
    kind = type(value)
    reference = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__" or find(sys.modules.get(kind.__module__), kind.__qualname__) is not kind:
        raise Unstorable(
            f"is a member of {name_of(kind)}, which other processes cannot import; pass its value instead, "
            "or define the enum at the top of a module"
        )
    try:
        raw = _encode(value.value, outer)
    except Unstorable:
        raw = value.name  # for display only; the name finds the member
    return tagged("enum", [reference, value.name, raw])


def _encode_model(value: Model, outer: _Outer) -> Any:
    label = value._meta.label_lower
    if value.pk is None or value._state.adding:
        raise Unstorable(f"is an unsaved {label}, which cannot be stored; save it first, or pass its fields")
    try:
        apps.get_model(label)
    except LookupError:
        raise Unstorable(f"is a {label}, whose app is not installed; pass its primary key instead") from None
    try:
        key = _encode(value.pk, outer)
    except Unstorable as error:
        error.steps.append(".pk")
        raise
    return tagged("model", [label, key, value._state.db])


_ONLY_STR = frozenset({str})
ATOMS = frozenset({str, int, bool, NoneType})
_PATHS = (PurePath, PurePosixPath, PureWindowsPath, Path, PosixPath, WindowsPath)

LEAVES: dict[type[Any], Callable[[Any], Any]] = {
    float: _encode_float,
    datetime: lambda value: tagged("datetime", _encode_clock(value)),
    date: lambda value: tagged("date", value.isoformat()),
    time: lambda value: tagged("time", _encode_clock(value)),
    timedelta: lambda value: tagged("timedelta", [value.days, value.seconds, value.microseconds]),
    Decimal: lambda value: tagged("decimal", str(value)),
    UUID: lambda value: tagged("uuid", str(value)),
    **dict.fromkeys(
        (bytes, bytearray, memoryview),
        lambda value: tagged("bytes", base64.b64encode(value).decode()),
    ),
    Reference: lambda value: tagged(RESULT, value.position),
    # Not subclasses: a path of cloud storage would come back as a local one.
    **dict.fromkeys(_PATHS, lambda value: tagged("path", value.as_posix())),
}

# Subclasses of these are stored as what they extend; a datetime is also a date, so it comes first.
_SCALARS = (datetime, date, time, timedelta, Decimal, UUID)

CONTAINERS: dict[type[Any], Callable[[Any, _Outer], Any]] = {
    list: _encode_items,
    tuple: lambda value, outer: tagged("tuple", _encode_items(value, outer)),
    set: lambda value, outer: tagged("set", _encode_items(value, outer)),
    frozenset: lambda value, outer: tagged("frozenset", _encode_items(value, outer)),
    **dict.fromkeys((dict, OrderedDict, defaultdict, Counter), _encode_dict),
}
