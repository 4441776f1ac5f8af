"""What `Run.unique_key` of a run holds that is one of its key.

A prefix says until when the key is taken, and a hash which key of which function it is: databases that look
at neither case nor accents take two keys for the same only where they are.

- "w:<hash>" until the run is claimed. Then it becomes "r:<id>:<hash>", which nobody else asks for; a run that
  waits again takes the first form again, if no other has it.
- "u:<hash>" until the run has ended.
- "t:<hash>" for a time from the enqueue on; the row keeps it after its end.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

WAITS, BEGAN, UNFINISHED, WINDOW = "w:", "r:", "u:", "t:"
#: Why a run ended that would have waited beside another of its key.
SUPERSEDED = "superseded: a newer run of its key waits"

_MARKS = ("unique", "debounce")


class Holder(NamedTuple):
    """A run that has a key, and the time by the database's clock."""

    id: int
    job_id: str
    status: str
    enqueued_at: datetime
    run_after: datetime | None
    held_run_after: datetime | None
    waits_for: str | None
    error: str
    options: dict[str, Any]
    now: datetime

    @property
    def is_broken(self) -> bool:
        """Whether it waits for a person, because it cannot be called as it is stored."""
        is_held = self.run_after is None and self.held_run_after is None and self.waits_for is None
        return is_held and bool(self.error)


def mark_of(options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a run's options say of its key; None for a run without."""
    for name in _MARKS:
        mark = (options or {}).get(name)
        if isinstance(mark, dict):
            return mark
    return None


def without_mark(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of another run of the same call, which is not under the key."""
    return {name: value for name, value in options.items() if name not in _MARKS}


def key_of(func: str, options: Mapping[str, Any] | None) -> str | None:
    """Return the key that a run holds while it waits; None for one that is not unique.

    Args:
        func: Its function, as module:qualname: each has keys of its own.
        options: As its row keeps them.
    """
    mark = mark_of(options)
    if mark is None:
        return None
    digest = hashlib.sha256(f"{func}\0{mark['key']}".encode()).hexdigest()
    if "within" in mark:
        return f"{WINDOW}{digest}"
    return f"{UNFINISHED if mark.get('until') == 'finished' else WAITS}{digest}"


def begun(unique_key: str | None, run_id: int) -> str | None:
    """Return what a run holds once it is claimed."""
    if unique_key is None or not unique_key.startswith(WAITS):
        return unique_key
    return f"{BEGAN}{run_id}:{unique_key.removeprefix(WAITS)}"


def waiting_again(unique_key: str | None) -> str | None:
    """Return what a run has to hold before it waits again; None where it holds that already."""
    if unique_key is None or not unique_key.startswith(BEGAN):
        return None
    return f"{WAITS}{unique_key.rpartition(':')[2]}"
