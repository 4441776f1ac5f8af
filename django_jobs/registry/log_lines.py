"""A line of a run's log, and its levels."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from django_jobs.conf import LOG_LEVELS

# A line of this level does not say so, as none did before there were levels.
PLAIN = "INFO"


def level_number(level: int | str) -> int:
    """Return a level of `logging` as a number.

    Raises:
        ValueError: There is no such level.
    """
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    if isinstance(level, str) and level.upper() in LOG_LEVELS:
        return logging.getLevelNamesMapping()[level.upper()]
    raise ValueError(
        f"there is no level {level!r}: use one of {', '.join(LOG_LEVELS)}, or a number of logging"
    )


def level_name(number: int) -> str:
    """Return the name of the standard level that a number is of: the next one below."""
    return LOG_LEVELS[min(max(number // 10, 1), len(LOG_LEVELS)) - 1]


def line_of(at: datetime, level: int, text: str) -> str:
    """Return a line as it is stored."""
    return _line(at.isoformat(timespec="milliseconds"), level, text)


# The last second that a line was said in, and its name: a run may say thousands of lines in one.
_second: tuple[int, str] = (0, "")


def line_now(level: int, text: str) -> str:
    """Return a line of now, as `line_of` does."""
    global _second
    now = time.time()
    whole = int(now)
    second, name = _second
    if second != whole:
        name = datetime.fromtimestamp(whole, UTC).isoformat()[:-6]
        _second = whole, name
    return _line(f"{name}.{int((now - whole) * 1000):03d}+00:00", level, text)


def _line(moment: str, level: int, text: str) -> str:
    name = level_name(level)
    return f"{moment} {text}" if name == PLAIN else f"{moment} {name} {text}"
