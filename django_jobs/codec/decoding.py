"""What JSON has to values, by their tags."""

from __future__ import annotations

import base64
import importlib
import sys
from contextvars import ContextVar
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections, router

from django_jobs.codec.tags import RESULT, TAG, VALUE, custom_by_tag
from django_jobs.exceptions import BadPayload, ObjectGone, UnknownHere
from django_jobs.texts.describe import in_a_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django.db.models import Model


def decode(raw: Any, *, trusted: bool) -> Any:
    """Return the value that parsed JSON stands for; `trusted` as for `payloads.loads`.

    Raises:
        BadPayload: It is damaged, or names something that is not here.
        ObjectGone: A model instance no longer exists.
    """
    kind = type(raw)
    if kind is list:
        return [decode(item, trusted=trusted) for item in raw]
    if kind is not dict:
        return raw
    if TAG not in raw:
        return {key: decode(item, trusted=trusted) for key, item in raw.items()}
    tag, content = raw[TAG], raw.get(VALUE)
    if not isinstance(tag, str):
        raise BadPayload(f"the type tag of a stored value must be a string, not {tag!r:.50}")
    try:
        if tag in DECODERS:
            return DECODERS[tag](content, trusted)
        custom = custom_by_tag.get(tag)
        if custom is not None:
            return custom.decode(decode(content, trusted=trusted))
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise BadPayload(f"a stored {tag} cannot be read: {in_a_line(error)}") from error
    raise UnknownHere(
        f"the type {tag!r:.50}",
        f"unknown type tag {tag!r}: this process has not called django_jobs.codec.register() for it",
    )


def _decode_items(raw: Any, trusted: bool) -> list[Any]:
    if not isinstance(raw, list):
        raise TypeError(f"expected a list, not {type(raw).__name__}")
    return [decode(item, trusted=trusted) for item in raw]


def _decode_dict(raw: Any, trusted: bool) -> dict[Any, Any]:
    return {decode(key, trusted=trusted): decode(item, trusted=trusted) for key, item in raw}


def _decode_clock(kind: type[datetime] | type[time], raw: Any) -> datetime | time:
    if isinstance(raw, str):
        return kind.fromisoformat(raw)
    text, key, fold = raw
    value = kind.fromisoformat(text)
    return value.replace(tzinfo=ZoneInfo(key) if key else value.tzinfo, fold=fold)


def _decode_enum(raw: Any, trusted: bool) -> Any:
    reference, name, stored = raw
    module_name, _, qualname = reference.partition(":")
    value = decode(stored, trusted=trusted)
    module = sys.modules.get(module_name)
    if module is None and trusted:
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # a module that is executed raises what it likes
            raise UnknownHere(
                f"the enum {reference:.100}",
                f"cannot import {module_name!r} for the enum {reference}: {error}",
            ) from error
    kind = find(module, qualname)
    if isinstance(kind, type) and issubclass(kind, Enum):
        if name in kind.__members__:
            return kind[name]
        if issubclass(kind, Flag):  # a combination has no name of its own
            return kind(value)
    if not trusted:
        return value
    raise UnknownHere(
        f"the enum member {reference:.100}.{name:.50}",
        f"there is no enum member {reference}.{name}; was it renamed?",
    )


def find(module: ModuleType | None, qualname: str) -> Any:
    """Return what a module has under a dotted name, or None."""
    found: Any = module
    for name in qualname.split("."):
        # Not getattr: a name from a row must not set off a module's `__getattr__` or a descriptor.
        found = vars(found).get(name) if isinstance(found, ModuleType | type) else None
    return found


def _decode_model(raw: Any, trusted: bool) -> Model:
    label, stored_key, alias = raw
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise UnknownHere(f"the model {label!r:.100}", f"there is no model {label!r}: {error}") from error
    key = decode(stored_key, trusted=trusted)
    if alias not in connections.databases:
        alias = router.db_for_read(model)
    try:
        instance: Model = model._base_manager.using(alias).get(pk=key)
    except model.DoesNotExist:
        raise ObjectGone(f"{label} with pk {key} no longer exists") from None
    except ValidationError as error:
        raise BadPayload(f"{key!r:.50} is not a primary key of {label}") from error
    return instance


# The results of other runs by their positions, while the arguments of one that is given them are read.
results: ContextVar[Mapping[int, Any] | None] = ContextVar("django_jobs_results", default=None)


def _decode_result(raw: Any, trusted: bool) -> Any:
    known = results.get()
    if known is None or raw not in known:
        raise ObjectGone("it is the result of another run, which is known only when this one is executed")
    return known[raw]


def referred(raw: Any) -> Iterator[int]:
    """Yield the positions of the results that parsed JSON refers to."""
    if isinstance(raw, list):
        for item in raw:
            yield from referred(item)
    elif isinstance(raw, dict):
        if raw.get(TAG) == RESULT and isinstance(raw.get(VALUE), int):
            yield raw[VALUE]
        else:
            for item in raw.values():
                yield from referred(item)


DECODERS: dict[str, Callable[[Any, bool], Any]] = {
    "float": lambda raw, _: float(raw),
    "datetime": lambda raw, _: _decode_clock(datetime, raw),
    "date": lambda raw, _: date.fromisoformat(raw),
    "time": lambda raw, _: _decode_clock(time, raw),
    "timedelta": lambda raw, _: timedelta(*raw),
    "decimal": lambda raw, _: Decimal(raw),
    "uuid": lambda raw, _: UUID(raw),
    "bytes": lambda raw, _: base64.b64decode(raw, validate=True),
    "path": lambda raw, _: Path(raw),
    "tuple": lambda raw, trusted: tuple(_decode_items(raw, trusted)),
    "set": lambda raw, trusted: set(_decode_items(raw, trusted)),
    "frozenset": lambda raw, trusted: frozenset(_decode_items(raw, trusted)),
    "dict": _decode_dict,
    "enum": _decode_enum,
    "model": _decode_model,
    RESULT: _decode_result,
}
