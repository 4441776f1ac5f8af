"""What people see of stored values: plain, and without their secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.views.debug import SafeExceptionReporterFilter

from django_jobs.codec.payloads import split
from django_jobs.codec.tags import REMOVED, RESULT, TAG, VALUE
from django_jobs.codec.text import bounded, from_text, to_json
from django_jobs.exceptions import BadPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


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
        with bounded:
            return _plain(from_text(text))
    except BadPayload:
        return text


def display_arguments(
    payload: str, *, sensitive: Collection[str | int] = ()
) -> tuple[list[Any], dict[str, Any]]:
    """Decode arguments as `plain` does, without their secrets, for pages and logs; none where they were removed.

    Args:
        payload: From `dump_arguments`.
        sensitive: Names (keywords and keys at any depth) and positions (counted from 0) to hide,
            besides the names that Django's debug page hides.

    Raises:
        BadPayload: The payload is damaged.
    """
    if payload == REMOVED:
        return [], {}
    hidden = SafeExceptionReporterFilter.cleansed_substitute
    with bounded:
        args, kwargs = split(from_text(payload))
        return (
            [hidden if i in sensitive else redact(_plain(raw), sensitive) for i, raw in enumerate(args)],
            redact({name: _plain(raw) for name, raw in kwargs.items()}, sensitive),
        )


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
    return {key if isinstance(key, str) else to_json(key): item for key, item in pairs}


def redact(shown: Any, sensitive: Collection[str | int] = ()) -> Any:
    """Return a plain value with asterisks under the keys of its dicts, at any depth, that are named like secrets.

    Args:
        shown: From `plain`.
        sensitive: More such names.
    """
    if isinstance(shown, list):
        return [redact(item, sensitive) for item in shown]
    if not isinstance(shown, dict):
        return shown
    hidden = SafeExceptionReporterFilter.hidden_settings
    return {
        name: SafeExceptionReporterFilter.cleansed_substitute
        if name in sensitive or hidden.search(name)
        else redact(item, sensitive)
        for name, item in shown.items()
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
    RESULT: lambda raw: f"<result {raw + 1} of what it waits for>",
}
