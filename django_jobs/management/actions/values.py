"""How arguments of `manage.py jobs` are read."""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

# No option needs more. Twice as far from now, a time can still be written.
LONGEST = timedelta(days=36_525)
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NAMED = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)


def duration(text: str) -> timedelta:
    """Read a duration: seconds, or "90s", "30m", "1h30m", "7d"."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", text)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        seconds = float(text)
    elif parts and "".join(number + unit for number, unit in parts) == text:
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid duration; use 90s, 5m or 1h30m")
    if seconds > LONGEST.total_seconds():
        raise argparse.ArgumentTypeError(f"{text!r:.50} is too long; use at most {LONGEST.days}d")
    return timedelta(seconds=seconds)


def moment(text: str) -> datetime:
    """Read a time with its zone, as "2026-12-01T03:30+01:00" or "2026-12-01 02:30Z"."""
    try:
        at = parse_datetime(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid time: {error}") from None
    if at is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid time; write it as 2026-12-01T03:30Z")
    if timezone.is_naive(at):
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; write {text}Z for UTC, or {text}+01:00")
    if not EARLIEST <= at <= LATEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is out of range; use {EARLIEST.year} to {LATEST.year - 1}"
        )
    return at


def at_least(least: int, name: str) -> Any:
    """Return a reader of whole numbers from some number on."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    # What argparse calls the value in its own messages.
    read.__name__ = name
    return read


def arguments(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Read a function's arguments: JSON values, and NAME=JSON for keyword arguments.

    Raises:
        ValueError: One is not JSON, or is given twice.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        named = _NAMED.fullmatch(word)
        if named is None:
            args.append(_json(word))
        elif named[1] in kwargs:
            raise ValueError(f"{named[1]} is given twice")
        else:
            kwargs[named[1]] = _json(named[2])
    return args, kwargs


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        quoted = json.dumps(text, ensure_ascii=False)
        raise ValueError(
            f"{text} is not JSON: a text needs double quotes, which the shell needs quoted in turn, as '{quoted}'"
        ) from None
