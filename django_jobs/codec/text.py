"""JSON text that every database takes, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django_jobs.exceptions import BadPayload, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable


def storable(text: str) -> str:
    r"""Return a text that every database takes: a NUL as `\x00`, half a surrogate pair as `\udc80`."""
    if "\x00" in text:
        # The one character that PostgreSQL does not store.
        text = text.replace("\x00", "\\x00")
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


to_json = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
_to_ascii_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def to_text(encoded: object, path: str) -> str:
    """Write compact JSON.

    Raises:
        InvalidArgument: It cannot be written; the message calls it by `path`.
    """
    try:
        text = to_json(encoded)
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


def reader(decoder: json.JSONDecoder) -> Callable[[str], Any]:
    """Return what parses a text as a decoder does.

    It looks for white space around the text only where there is something: a third of the time of a short text.
    """

    def read(text: str) -> Any:
        try:
            value, end = decoder.raw_decode(text)
        except ValueError:
            return decoder.decode(text)
        return value if end == len(text) else decoder.decode(text)

    return read


# NaN and Infinity are never written by us, and no JSON that a browser reads.
_from_json = reader(json.JSONDecoder(parse_constant=str))


def from_text(text: str) -> Any:
    """Parse JSON.

    Raises:
        BadPayload: It is not JSON.
    """
    try:
        return _from_json(text)
    except (ValueError, TypeError) as error:
        raise BadPayload(f"the stored value is not JSON: {error}") from error


class _Bounded:
    """Reports a text that nests deeper than we write, and than Python can follow."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, RecursionError):
            raise BadPayload("the stored value is nested too deeply to be read") from None


# One for all, and no generator: a microsecond of each run with arguments.
bounded = _Bounded()
