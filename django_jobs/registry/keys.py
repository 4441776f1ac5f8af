"""Keys made of a call's arguments, such as "page:{page.pk}": read and checked early, made at the enqueue."""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Model

from django_jobs.registry.parameters import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Characters of a key; what is longer is cut, and ends with a hash of the whole.
MAX_KEY_LENGTH = 200
_MAX_FORMAT_LENGTH = 1000
_KEPT_OF_A_LONG_ONE = 100

# Their text is the same in each process, and says all that there is to say of the value.
_PLAIN = (
    str, int, float, Decimal, UUID, date, datetime, time, timedelta, PurePath, type(None),
)  # fmt: skip
_FIELD = re.compile(r"(?P<name>[^\W\d]\w*)(?P<rest>(\.[^\W\d]\w*|\[[^\[\]]+\])*)")
_STEP = re.compile(r"\.(?P<attribute>\w+)|\[(?P<item>[^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class _Part:
    """A text, and the argument that comes after it; `name` is empty where none does."""

    before: str
    name: str = ""
    # The field as it was written, for messages.
    written: str = ""
    steps: tuple[tuple[str, str], ...] = ()
    spec: str = ""


@dataclass(frozen=True, slots=True)
class KeyFormat:
    """A key as a format of a call's arguments; without a field, one key for all calls.

    A field names a parameter of the function, and then attributes or items of the argument:
    "page:{page.pk}", "{options[lang]}:{day:%Y-%m}". Defaults of parameters count as arguments. What a field
    comes to must be a string, a number, a date or time, a UUID, a path, None, or a member of an enum, which
    stands for its value. Two keys are the same when they have the same characters; MariaDB's usual
    collations look at neither case nor accents, so do not compare keys in a column of theirs.

    Args:
        text: The format, as for `str.format`, with literal braces doubled.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty, too long, or has a field that no argument can fill.
    """

    text: str
    #: The parameters that the key is made of, in order; empty for one key for all calls.
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _parts: tuple[_Part, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the format."""
        if not isinstance(self.text, str):
            raise TypeError(f"a key must be a string, not {type(self.text).__name__}")
        if not 1 <= len(self.text) <= _MAX_FORMAT_LENGTH:
            raise ValueError(f"a key must have 1 to {_MAX_FORMAT_LENGTH} characters, not {len(self.text)}")
        parts = tuple(_parse(self.text))
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "names", tuple(dict.fromkeys(part.name for part in parts if part.name)))

    def check(self, option: str, func: Callable[..., Any]) -> None:
        """Refuse a format that no call of a function can fill.

        Args:
            option: That the key is of, for the message.
            func: The function.

        Raises:
            ValueError: The function has no such parameter; the message names those that it has.
        """
        if not self.names:
            return
        signature = signature_of(func)
        path = f"{func.__module__}:{func.__qualname__}"
        if signature is None:
            raise ValueError(
                f"{option} has the key {self.text!r}, and Python does not know the parameters of {path}: "
                "write a function around it"
            )
        for name in self.names:
            if name not in signature.parameters:
                known = ", ".join(signature.parameters) or "none"
                raise ValueError(
                    f"{option} has the key {self.text!r}, and {path} has no parameter {name!r}; it has: {known}"
                )

    def make(self, arguments: Mapping[str, Any]) -> str:
        """Return the key of a call, at most `MAX_KEY_LENGTH` characters.

        Args:
            arguments: Of the call, by the names of the function's parameters; see `parameters.bind`.

        Raises:
            TypeError: The text of an argument may differ from process to process.
            ValueError: An argument has no such attribute or item, or the key cannot be stored.
        """
        key = "".join(
            part.before + (self._text(part, arguments) if part.name else "") for part in self._parts
        )
        if not key or "\x00" in key:
            raise ValueError(f"the key {self.text!r} comes to {key!r}: it must not be empty or contain NUL")
        try:
            encoded = key.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the key {self.text!r} comes to text that is not valid: {error}") from None
        if len(key) <= MAX_KEY_LENGTH:
            return key
        return f"{key[:_KEPT_OF_A_LONG_ONE]}... sha256:{hashlib.sha256(encoded).hexdigest()}"

    def _text(self, part: _Part, arguments: Mapping[str, Any]) -> str:
        value = arguments[part.name]
        for kind, name in part.steps:
            try:
                value = getattr(value, name) if kind == "." else _item(value, name)
            except (AttributeError, LookupError, TypeError) as error:
                raise ValueError(
                    f"the key {self.text!r} cannot be made: {{{part.written}}} needs what the argument "
                    f"{part.name!r} does not have ({type(error).__name__}: {error})"
                ) from error
        if isinstance(value, Enum):
            value = value.value
        if not isinstance(value, _PLAIN):
            raise TypeError(f"the key {self.text!r} cannot be made: {_refusal(part, value)}")
        try:
            return format(value, part.spec)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"the key {self.text!r} cannot be made: {{{part.written}}} does not format {value!r} ({error})"
            ) from None


@lru_cache(maxsize=256)
def key_format(text: str) -> KeyFormat:
    """Return the format of a key that is written as a string; see `KeyFormat`."""
    return KeyFormat(text)


def _item(value: Any, name: str) -> Any:
    # As `str.format`: digits are a position.
    return value[int(name) if name.isdecimal() else name]


def _parse(text: str) -> list[_Part]:
    try:
        read = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"the key {text!r} is not a format: {error}; write a literal brace twice") from None
    parts = []
    for before, name, spec, conversion in read:
        if name is None:
            parts.append(_Part(before))
            continue
        match = _FIELD.fullmatch(name)
        if match is None:
            raise ValueError(
                f"the key {text!r} has the field {{{name}}}: a field names a parameter of the function, and "
                'then attributes or items, as in "page:{page.pk}"'
            )
        if conversion or "{" in (spec or ""):
            raise ValueError(
                f"the key {text!r} has the field {{{name}}} with a conversion or a nested format: leave it out"
            )
        steps = tuple(
            (".", step["attribute"]) if step["attribute"] else ("[", step["item"])
            for step in _STEP.finditer(match["rest"])
        )
        if any(kind == "." and step.startswith("_") for kind, step in steps):
            raise ValueError(f"the key {text!r} has the field {{{name}}} with a private attribute")
        parts.append(_Part(before, match["name"], name, steps, spec or ""))
    return parts


def _refusal(part: _Part, value: Any) -> str:
    kind = type(value)
    if isinstance(value, Model):
        return (
            f"{{{part.written}}} is a {kind.__name__}, whose text changes with its fields: "
            f"write {{{part.written}.pk}}"
        )
    return (
        f"{{{part.written}}} is a {kind.__module__}.{kind.__qualname__}, whose text may differ from process to "
        "process: name a part of it that is a string, a number, a date or a UUID"
    )
