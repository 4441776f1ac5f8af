"""What values options can have: each check takes an option's name and a value, and raises if no job can have it."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, overload

from django_jobs.conf import LOG_LEVELS
from django_jobs.registry.keys import key_format
from django_jobs.registry.limits import seen

MAX_ID_LENGTH = 255
MAX_NAME_LENGTH = 255
MAX_QUEUE_NAME_LENGTH = 100
MAX_TAGS = 20
MAX_TAG_LENGTH = 50
# Some thirty years: longer than anybody waits, and short of what threads and databases can count to.
MAX_SECONDS = 1_000_000_000
# Of the columns, on every database.
MAX_NUMBER = 2**31 - 1


@overload
def seconds(duration: float | timedelta) -> float: ...
@overload
def seconds(duration: None) -> None: ...
def seconds(duration: float | timedelta | None) -> float | None:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def check_text(key: str, value: object, shortest: int, longest: int) -> None:
    """Refuse what is not a text of so many characters."""
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {type(value).__name__}")
    if not shortest <= len(value) <= longest:
        raise ValueError(f"{key} must have {shortest} to {longest} characters, not {len(value)}")
    if "\x00" in value:
        raise ValueError(f"{key} must not contain a NUL character, which PostgreSQL cannot store")


def check_fair_key(key: str, value: object) -> None:
    """Refuse what is not a format of a key."""
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {type(value).__name__}")
    key_format(value)
    seen.any = True


def check_priority(key: str, value: object) -> None:
    """Refuse what is not a priority."""
    if isinstance(value, bool) or not isinstance(value, int) or not -100 <= value <= 100:
        raise ValueError(f"{key} must be a whole number from -100 to 100, not {value!r}")


def check_class(key: str, value: object, kind: type) -> None:
    """Refuse what is not an object of one of our classes."""
    if not isinstance(value, kind):
        raise TypeError(f"{key} must be a django_jobs.{kind.__name__}, not {type(value).__name__}")


def check_word(key: str, value: object, words: tuple[str, ...]) -> None:
    """Refuse what is not one of some words."""
    if value not in words:
        *others, last = (f'"{word}"' for word in words)
        raise ValueError(f"{key} must be {', '.join(others)} or {last}, not {value!r}")


def check_duration(key: str, value: object) -> None:
    """Refuse what is not a length of time."""
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(f"{key} must be seconds or a timedelta, not {value!r}")
    length = seconds(value)
    if length != math.inf and not 0 < length <= MAX_SECONDS:
        raise ValueError(
            f"{key} must be more than 0 seconds and at most {MAX_SECONDS}, or math.inf for no limit, not {value!r}"
        )


def check_count(key: str, value: object) -> None:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_NUMBER:
        raise ValueError(
            f"{key} must be a whole number of at least 1 and at most {MAX_NUMBER}, not {value!r}"
        )


def check_flag(key: str, value: object) -> None:
    """Refuse what is not True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be True or False, not {value!r}")


def check_level(key: str, value: object) -> None:
    """Refuse what is not a level of `logging`."""
    if not isinstance(value, str) or value.upper() not in LOG_LEVELS:
        raise ValueError(f"{key} must be one of {', '.join(LOG_LEVELS)}, not {value!r}")


def check_atomic(key: str, value: object) -> None:
    """Refuse what is not True, False or the alias of a database."""
    if not isinstance(value, bool) and not (isinstance(value, str) and value):
        raise TypeError(f"{key} must be True, False or the alias of a database, not {value!r}")


def check_names(key: str, value: Any) -> None:
    """Refuse what is not names of parameters."""
    if isinstance(value, str) or any(not isinstance(name, str) or "\x00" in name for name in value):
        raise TypeError(f"{key} must be a list of parameter names, not {value!r}")


def check_tags(key: str, value: object) -> None:
    """Refuse what is not tags."""
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(tag, str) for tag in value
    ):
        raise TypeError(f"{key} must be a list of strings, not {value!r}")
    if len(set(value)) > MAX_TAGS:
        raise ValueError(f"{key} must be at most {MAX_TAGS}, not {len(set(value))}")
    for tag in value:
        check_text(f"each of {key}", tag, 1, MAX_TAG_LENGTH)


def checked_id(job_id: str) -> str:
    """Return a job's id, if it can be one.

    Raises:
        ValueError: It is empty, longer than 255 characters, or holds a NUL character.
        TypeError: It is no string.
    """
    check_text("job_id", job_id, 1, MAX_ID_LENGTH)
    return job_id


def checked_queue_name(name: str) -> str:
    """Return a queue's name, if it can be one.

    Raises:
        ValueError: It is empty, longer than 100 characters, or holds a NUL character.
        TypeError: It is no string.
    """
    check_text("queue_name", name, 1, MAX_QUEUE_NAME_LENGTH)
    return name


def lookup_id(job_id: str) -> str:
    """Return an id to look for: of one that no job can have, the empty one, which none has."""
    job_id = str(job_id)
    # PostgreSQL does not even look for it.
    return "" if "\x00" in job_id else job_id
