"""Arguments and results to JSON and back, and their signatures. Nothing is ever pickled.

What JSON has no word for is stored as `{"$type": tag, "value": ...}`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import json
import math
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, KeysView, ValuesView
from contextlib import contextmanager
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from io import IOBase
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import ModuleType, NoneType
from typing import Any, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.signals import setting_changed
from django.db import connections, router
from django.db.models import Model, QuerySet
from django.utils.datastructures import MultiValueDict
from django.utils.encoding import force_bytes
from django.utils.functional import Promise
from django.views.debug import SafeExceptionReporterFilter

from django_jobs.exceptions import BadPayload, InvalidArgument, ObjectGone
from django_jobs.zones import zone_key

TAG = "$type"
VALUE = "value"

# Far below Python's recursion limit, which a worker's or a request's stack shares with us.
MAX_DEPTH = 100

_SALT = "django_jobs.payload"

T = TypeVar("T")


# What `dump_arguments` makes of a call without any.
NO_ARGUMENTS = '{"args":[],"kwargs":{}}'


# The public functions


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
    return _to_text(_encode_named(value, path), path)


def loads(text: str, *, trusted: bool = False) -> Any:
    """Decode what `dumps` wrote; model instances are fetched from the database.

    Args:
        text: JSON.
        trusted: The text's signature was verified: modules of enums may be imported. Otherwise an
            enum of a module that is not imported yet comes back as its raw value.

    Raises:
        BadPayload: The text is damaged, or names a type, model or enum that is not here.
        ObjectGone: A model instance no longer exists.
    """
    with _bounded():
        return _decode(_from_text(text), trusted=trusted)


def register(type_: type[T], tag: str, encode: Callable[[T], object], decode: Callable[[Any], T]) -> None:
    """Make instances of a type storable as arguments and results, in every process that reads them.

    Exactly this type: instances of its subclasses are not matched unless those are registered too.
    A registered type wins over what its base classes would mean. Registering it again under another
    tag keeps the old tag readable.

    Args:
        type_: The class.
        tag: Stored beside the value; must not change while values are stored.
        encode: Value to anything that `dumps` takes.
        decode: The reverse.

    Raises:
        ValueError: The tag belongs to another type, or the type needs no registration.
    """
    if not isinstance(type_, type):
        raise TypeError(f"expected a class to register, not {type_!r}")
    if not isinstance(tag, str) or not tag:
        raise ValueError(f"the tag of {type_.__qualname__} must be a non-empty string, not {tag!r}")
    if type_ in _ATOMS or type_ in _LEAVES or type_ in _CONTAINERS:
        raise ValueError(f"{type_.__qualname__} is stored by django_jobs itself")
    if tag in _DECODERS:
        raise ValueError(f"the tag {tag!r} is reserved by django_jobs; choose another one")
    known = _custom_by_tag.get(tag)
    if known is not None and known.type is not type_:
        raise ValueError(f"the tag {tag!r} already belongs to {_name(known.type)}; choose another one")
    _custom_by_tag[tag] = _custom_by_type[type_] = _Custom(type_, tag, encode, decode)


def dump_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Encode a call's arguments as `{"args":[...],"kwargs":{...}}`.

    Raises:
        InvalidArgument: As for `dumps`; the message says `argument 2` (counted from 1) or
            `argument 'rows'[3]['file']`.
    """
    encoded = {
        "args": [_encode_named(value, f"argument {i}") for i, value in enumerate(args, 1)],
        "kwargs": {name: _encode_named(value, f"argument {name!r}") for name, value in kwargs.items()},
    }
    return _to_text(encoded, "an argument")


def load_arguments(payload: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Decode what `dump_arguments` wrote. Verify the signature first: enums are imported.

    Raises:
        BadPayload: It is damaged, or names something that is not here.
        ObjectGone: A model instance no longer exists.
    """
    if payload == NO_ARGUMENTS:
        return (), {}
    with _bounded():
        args, kwargs = _split(_from_text(payload))
        return (
            tuple([_decode(raw, trusted=True) for raw in args]),
            {name: _decode(raw, trusted=True) for name, raw in kwargs.items()},
        )


def plain(text: str | None) -> Any:
    """Decode a stored value into what a JSON response can show: no tags, no fetching, no importing.

    Datetimes become ISO strings, Decimal, UUID and paths strings, timedelta seconds, bytes base64,
    tuples and sets lists (sets sorted if they can be), enums their values, models
    `app.model:pk`, registered and unknown types their stored form.

    Returns:
        None for None and for an empty text; a text that is not JSON as it is.
    """
    if not text:
        return None
    try:
        with _bounded():
            return _plain(_from_text(text))
    except BadPayload:
        return text


def display_arguments(
    payload: str, *, sensitive: Collection[str | int] = ()
) -> tuple[list[Any], dict[str, Any]]:
    """Decode arguments as `plain` does, without their secrets, for pages and logs.

    Args:
        payload: From `dump_arguments`.
        sensitive: Names (keywords and keys at any depth) and positions (counted from 0) to hide,
            besides the names that Django's debug page hides.

    Raises:
        BadPayload: The payload is damaged.
    """
    hidden = SafeExceptionReporterFilter.cleansed_substitute
    with _bounded():
        args, kwargs = _split(_from_text(payload))
        return (
            [hidden if i in sensitive else _redact(_plain(raw), sensitive) for i, raw in enumerate(args)],
            _redact({name: _plain(raw) for name, raw in kwargs.items()}, sensitive),
        )


def sign(func: str, payload: str) -> str:
    """Sign a function's name and its arguments with SECRET_KEY; at most 64 characters."""
    return _signature(func, payload, _keys()[0])


def verify(func: str, payload: str, signature: str) -> None:
    """Check a signature against SECRET_KEY and SECRET_KEY_FALLBACKS.

    Raises:
        BadPayload: It was made with none of these keys, or for something else.
    """
    for key in _keys():
        if signature.isascii() and hmac.compare_digest(signature, _signature(func, payload, key)):
            return
    raise BadPayload(
        f"signature of {func} does not match: either the row was changed outside django_jobs or signed with "
        "another SECRET_KEY; if the key is known, add the old key to SECRET_KEY_FALLBACKS or run "
        "`manage.py jobs resign`"
    )


def _signature(func: str, payload: str, key: hmac.HMAC) -> str:
    """Return what `django.core.signing.Signer` with our salt does, in a tenth of its time."""
    # A copy, not `hmac.digest`, which lets go of the interpreter's lock each time, and waits for it.
    mac = key.copy()
    mac.update(f"{func}\n{payload}".encode())
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()


# Of SECRET_KEY and SECRET_KEY_FALLBACKS; empty until they are needed.
_derived: tuple[hmac.HMAC, ...] = ()


def _keys() -> tuple[hmac.HMAC, ...]:
    """Return the keys that a Signer derives, for every signature anew: that is most of its work."""
    global _derived
    keys = _derived
    if not keys:
        secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        salt = force_bytes(f"{_SALT}signer")
        derived = [hashlib.sha256(salt + force_bytes(secret)).digest() for secret in secrets]
        keys = _derived = tuple(hmac.new(key, digestmod="sha256") for key in derived)
    return keys


def _forget_keys(*, setting: str, **_: object) -> None:
    global _derived
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _derived = ()


setting_changed.connect(_forget_keys)


# Text


def storable(text: str) -> str:
    r"""Return a text that every database takes: a NUL as `\x00`, half a surrogate pair as `\udc80`."""
    if "\x00" in text:
        # The one character that PostgreSQL does not store.
        text = text.replace("\x00", "\\x00")
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


_to_json = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
_to_ascii_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def _to_text(encoded: object, path: str) -> str:
    try:
        text = _to_json(encoded)
    except ValueError as error:
        # Python refuses to spell out integers of more than 4300 digits.
        raise InvalidArgument(f"{path} cannot be stored: {error}; pass such a number as bytes") from error
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair, as in names of files that are not UTF-8: no database takes
            # it as it is, and JSON can escape it.
            return _to_ascii_json(encoded)
    return text


# NaN and Infinity are never written by us, and no JSON that a browser reads.
_from_json = json.JSONDecoder(parse_constant=str).decode


def _from_text(text: str) -> Any:
    try:
        return _from_json(text)
    except (ValueError, TypeError) as error:
        raise BadPayload(f"the stored value is not JSON: {error}") from error


@contextmanager
def _bounded() -> Iterator[None]:
    """Report a text that nests deeper than we write, and than Python can follow."""
    try:
        yield
    except RecursionError:
        raise BadPayload("the stored value is nested too deeply to be read") from None


def _split(stored: Any) -> tuple[list[Any], dict[str, Any]]:
    if not isinstance(stored, dict):
        raise BadPayload(f"stored arguments must be an object, not {type(stored).__name__}")
    args, kwargs = stored.get("args"), stored.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadPayload("stored arguments must have a list 'args' and an object 'kwargs'")
    return args, kwargs


# Encoding


class _Unstorable(Exception):
    """Why a value cannot be stored; its place is added on the way up, so that success pays nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


class _Custom(NamedTuple):
    type: type[Any]
    tag: str
    encode: Callable[[Any], object]
    decode: Callable[[Any], Any]


_custom_by_type: dict[type[Any], _Custom] = {}
_custom_by_tag: dict[str, _Custom] = {}

# Ids of the containers around the value that is being encoded.
_Outer = set[int]


def _encode_named(value: object, path: str) -> Any:
    if type(value) in _ATOMS:
        return value
    try:
        return _encode(value, set())
    except _Unstorable as error:
        place = path + "".join(reversed(error.steps))
        raise InvalidArgument(f"{place} {error.reason}") from error.__cause__


def _encode(value: Any, outer: _Outer) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    leaf = _LEAVES.get(kind)
    if leaf is not None:
        return leaf(value)
    container = _CONTAINERS.get(kind)
    if container is not None:
        return _enter(value, container, outer)
    custom = _custom_by_type.get(kind)
    if custom is not None:
        return _enter(value, _encode_custom, outer)
    return _encode_relative(value, outer)


def _enter(value: Any, container: Callable[[Any, _Outer], Any], outer: _Outer) -> Any:
    key = id(value)
    if key in outer:
        raise _Unstorable("contains itself, which cannot be stored; pass the parts or an id instead")
    if len(outer) >= MAX_DEPTH:
        raise _Unstorable(f"is nested more than {MAX_DEPTH} deep, which cannot be stored")
    outer.add(key)
    try:
        return container(value, outer)
    finally:
        outer.discard(key)


def _encode_items(values: Iterable[Any], outer: _Outer) -> list[Any]:
    encoded: list[Any] = []
    try:
        for value in values:
            encoded.append(value if type(value) in _ATOMS else _encode(value, outer))  # noqa: PERF401 - its length names the failing item
    except _Unstorable as error:
        error.steps.append(f"[{len(encoded)}]")
        raise
    return encoded


def _encode_dict(value: dict[Any, Any], outer: _Outer) -> Any:
    if TAG in value or not _ONLY_STR.issuperset(map(type, value)):
        return _tagged("dict", [_encode_pair(*pair, outer) for pair in value.items()])
    encoded = {}
    key = ""
    try:
        for key, item in value.items():
            encoded[key] = item if type(item) in _ATOMS else _encode(item, outer)
    except _Unstorable as error:
        error.steps.append(f"[{key!r}]")
        raise
    return encoded


def _encode_pair(key: Any, item: Any, outer: _Outer) -> list[Any]:
    # A key of a type of its own may have a repr that is long, or that queries.
    shown = repr(key) if type(key) in _ATOMS else f"<{_name(type(key))}>"
    try:
        encoded = _encode(key, outer)
    except _Unstorable as error:
        error.steps.append(f"[the key {shown}]")
        raise
    try:
        return [encoded, _encode(item, outer)]
    except _Unstorable as error:
        error.steps.append(f"[{shown}]")
        raise


def _encode_custom(value: Any, outer: _Outer) -> Any:
    custom = _custom_by_type[type(value)]
    try:
        raw = custom.encode(value)
    except Exception as error:
        reason = f"the encoder registered for it raised {type(error).__name__}: {error}"
        raise _Unstorable(f"is a {_name(custom.type)}, and {reason}") from error
    return _tagged(custom.tag, _encode(raw, outer))


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
    raise _Unstorable(_refusal(value))


def _encode_subclass(value: Any, base: type[Any]) -> Any:
    encoded = _LEAVES[base](value)
    try:
        same = _decode(encoded, trusted=False) == value
    except BadPayload:
        same = False
    if not same:  # pandas' NaT is a datetime, and its Timestamp has nanoseconds
        hint = f"is more than a {base.__name__}, which cannot be stored; pass a {base.__name__}"
        raise _Unstorable(f"is a {_name(type(value))} that {hint}")
    return encoded


def _encode_float(value: float) -> Any:
    return value if math.isfinite(value) else _tagged("float", repr(value))


def _encode_clock(value: datetime | time) -> Any:
    key = zone_key(value.tzinfo)
    if key is None and not value.fold:
        return value.isoformat()
    return [value.isoformat(), key, value.fold]


def _encode_enum(value: Enum, outer: _Outer) -> Any:
    kind = type(value)
    reference = f"{kind.__module__}:{kind.__qualname__}"
    if (
        kind.__module__ == "__main__"
        or _find(sys.modules.get(kind.__module__), kind.__qualname__) is not kind
    ):
        raise _Unstorable(
            f"is a member of {_name(kind)}, which other processes cannot import; pass its value instead, "
            "or define the enum at the top of a module"
        )
    try:
        raw = _encode(value.value, outer)
    except _Unstorable:
        raw = value.name  # for display only; the name finds the member
    return _tagged("enum", [reference, value.name, raw])


def _encode_model(value: Model, outer: _Outer) -> Any:
    label = value._meta.label_lower
    if value.pk is None or value._state.adding:
        raise _Unstorable(f"is an unsaved {label}, which cannot be stored; save it first, or pass its fields")
    try:
        apps.get_model(label)
    except LookupError:
        raise _Unstorable(f"is a {label}, whose app is not installed; pass its primary key instead") from None
    try:
        key = _encode(value.pk, outer)
    except _Unstorable as error:
        error.steps.append(".pk")
        raise
    return _tagged("model", [label, key, value._state.db])


def _tagged(tag: str, raw: Any) -> dict[str, Any]:
    return {TAG: tag, VALUE: raw}


def _name(type_: type[Any]) -> str:
    return (
        type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"
    )


def _refusal(value: Any) -> str:
    return f"is a {_name(value.__class__)}, which cannot be stored; {_way_out(value)}"


def _way_out(value: Any) -> str:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return "pass a dict: value._asdict()"
    if is_dataclass(value) and not isinstance(value, type):
        return "pass a dict, such as dataclasses.asdict(value), or register the type with django_jobs.codec.register()"
    for types, hint in _WAYS_OUT:
        if isinstance(value, types):
            return hint
    return "pass its path or id instead, or register the type with django_jobs.codec.register()"


# Decoding


def _decode(raw: Any, *, trusted: bool) -> Any:
    kind = type(raw)
    if kind is list:
        return [_decode(item, trusted=trusted) for item in raw]
    if kind is not dict:
        return raw
    if TAG not in raw:
        return {key: _decode(item, trusted=trusted) for key, item in raw.items()}
    tag, content = raw[TAG], raw.get(VALUE)
    if not isinstance(tag, str):
        raise BadPayload(f"the type tag of a stored value must be a string, not {tag!r:.50}")
    try:
        if tag in _DECODERS:
            return _DECODERS[tag](content, trusted)
        custom = _custom_by_tag.get(tag)
        if custom is not None:
            return custom.decode(_decode(content, trusted=trusted))
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise BadPayload(f"a stored {tag} cannot be read: {type(error).__name__}: {error}") from error
    raise BadPayload(
        f"unknown type tag {tag!r}: this process has not called django_jobs.codec.register() for it"
    )


def _decode_items(raw: Any, trusted: bool) -> list[Any]:
    if not isinstance(raw, list):
        raise TypeError(f"expected a list, not {type(raw).__name__}")
    return [_decode(item, trusted=trusted) for item in raw]


def _decode_dict(raw: Any, trusted: bool) -> dict[Any, Any]:
    return {_decode(key, trusted=trusted): _decode(item, trusted=trusted) for key, item in raw}


def _decode_clock(kind: type[datetime] | type[time], raw: Any) -> datetime | time:
    if isinstance(raw, str):
        return kind.fromisoformat(raw)
    text, key, fold = raw
    value = kind.fromisoformat(text)
    return value.replace(tzinfo=ZoneInfo(key) if key else value.tzinfo, fold=fold)


def _decode_enum(raw: Any, trusted: bool) -> Any:
    reference, name, stored = raw
    module_name, _, qualname = reference.partition(":")
    value = _decode(stored, trusted=trusted)
    module = sys.modules.get(module_name)
    if module is None and trusted:
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise BadPayload(f"cannot import {module_name!r} for the enum {reference}: {error}") from error
    kind = _find(module, qualname)
    if isinstance(kind, type) and issubclass(kind, Enum):
        if name in kind.__members__:
            return kind[name]
        if issubclass(kind, Flag):  # a combination has no name of its own
            return kind(value)
    if not trusted:
        return value
    raise BadPayload(f"there is no enum member {reference}.{name}; was it renamed?")


def _find(module: ModuleType | None, qualname: str) -> Any:
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
        raise BadPayload(f"there is no model {label!r}: {error}") from error
    key = _decode(stored_key, trusted=trusted)
    if alias not in connections.databases:
        alias = router.db_for_read(model)
    try:
        instance: Model = model._base_manager.using(alias).get(pk=key)
    except model.DoesNotExist:
        raise ObjectGone(f"{label} with pk {key} no longer exists") from None
    except ValidationError as error:
        raise BadPayload(f"{key!r:.50} is not a primary key of {label}") from error
    return instance


# Showing


def _plain(raw: Any) -> Any:
    if isinstance(raw, list):
        return [_plain(item) for item in raw]
    if not isinstance(raw, dict):
        return raw
    if TAG not in raw:
        return {key: _plain(item) for key, item in raw.items()}
    content = raw.get(VALUE)
    shown = _PLAIN.get(raw[TAG]) if isinstance(raw[TAG], str) else None
    try:
        return _plain(content) if shown is None else shown(content)
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return _plain(content)


def _plain_set(raw: Any) -> list[Any]:
    shown: list[Any] = _plain(raw)
    try:
        return sorted(shown)
    except TypeError:
        return shown


def _plain_dict(raw: Any) -> dict[str, Any]:
    pairs = [(_plain(key), _plain(item)) for key, item in raw]
    return {key if isinstance(key, str) else _to_json(key): item for key, item in pairs}


def _redact(shown: Any, sensitive: Collection[str | int]) -> Any:
    if isinstance(shown, list):
        return [_redact(item, sensitive) for item in shown]
    if not isinstance(shown, dict):
        return shown
    hidden = SafeExceptionReporterFilter.hidden_settings
    return {
        name: SafeExceptionReporterFilter.cleansed_substitute
        if name in sensitive or hidden.search(name)
        else _redact(item, sensitive)
        for name, item in shown.items()
    }


# The types


_ONLY_STR = frozenset({str})
_ATOMS = frozenset({str, int, bool, NoneType})

_PATHS = (PurePath, PurePosixPath, PureWindowsPath, Path, PosixPath, WindowsPath)

_LEAVES: dict[type[Any], Callable[[Any], Any]] = {
    float: _encode_float,
    datetime: lambda value: _tagged("datetime", _encode_clock(value)),
    date: lambda value: _tagged("date", value.isoformat()),
    time: lambda value: _tagged("time", _encode_clock(value)),
    timedelta: lambda value: _tagged("timedelta", [value.days, value.seconds, value.microseconds]),
    Decimal: lambda value: _tagged("decimal", str(value)),
    UUID: lambda value: _tagged("uuid", str(value)),
    **dict.fromkeys(
        (bytes, bytearray, memoryview),
        lambda value: _tagged("bytes", base64.b64encode(value).decode()),
    ),
    # Not subclasses: a path of cloud storage would come back as a local one.
    **dict.fromkeys(_PATHS, lambda value: _tagged("path", value.as_posix())),
}

# Subclasses of these are stored as what they extend; a datetime is also a date, so it comes first.
_SCALARS = (datetime, date, time, timedelta, Decimal, UUID)

_CONTAINERS: dict[type[Any], Callable[[Any, _Outer], Any]] = {
    list: _encode_items,
    tuple: lambda value, outer: _tagged("tuple", _encode_items(value, outer)),
    set: lambda value, outer: _tagged("set", _encode_items(value, outer)),
    frozenset: lambda value, outer: _tagged("frozenset", _encode_items(value, outer)),
    **dict.fromkeys((dict, OrderedDict, defaultdict, Counter), _encode_dict),
}

_DECODERS: dict[str, Callable[[Any, bool], Any]] = {
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
}

# Tags that are missing here show what is stored.
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "datetime": lambda raw: raw if isinstance(raw, str) else raw[0],
    "time": lambda raw: raw if isinstance(raw, str) else raw[0],
    "timedelta": lambda raw: timedelta(*raw).total_seconds(),
    "set": _plain_set,
    "frozenset": _plain_set,
    "dict": _plain_dict,
    "enum": lambda raw: _plain(raw[2]),
    "model": lambda raw: f"{raw[0]}:{_plain(raw[1])}",
}

_WAYS_OUT: tuple[tuple[Any, str], ...] = (
    (QuerySet, "pass a list of primary keys: list(queryset.values_list('pk', flat=True))"),
    (MultiValueDict, "pass value.dict(), or dict(value.lists()) to keep repeated keys"),
    (IOBase, "pass its path or id instead, or register the type with django_jobs.codec.register()"),
    (dict, "pass dict(value), or register the type with django_jobs.codec.register()"),
    (tuple, "pass tuple(value), or register the type with django_jobs.codec.register()"),
    ((set, frozenset), "pass set(value), or register the type with django_jobs.codec.register()"),
    ((list, range, Iterator, KeysView, ValuesView, ItemsView), "pass list(value)"),
)
