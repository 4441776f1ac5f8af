"""When people are told about a job that fails: `Alert`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

MAX_AFTER = 1_000_000


@dataclass(frozen=True, slots=True)
class Alert:
    """When people are told that a job fails.

    Attributes:
        after: Failures before the first message: of a job with a schedule runs in a row, of immediate jobs
            failures of the function since it last succeeded. 0 never tells.
        once_per: Seconds, or a timedelta, between two messages about the same failure; an hour. Each message
            says how often it happened since the one before.

    Raises:
        ValueError: A value is out of range.
        TypeError: A value is of another type.
    """

    after: int = 1
    once_per: float | timedelta = 3600.0

    def __post_init__(self) -> None:
        if isinstance(self.after, bool) or not isinstance(self.after, int):
            raise TypeError(f"after must be a whole number, not {self.after!r}")
        if not 0 <= self.after <= MAX_AFTER:
            raise ValueError(f"after must be from 0 to {MAX_AFTER:,}, not {self.after}")
        seconds = self.once_per.total_seconds() if isinstance(self.once_per, timedelta) else self.once_per
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"once_per must be seconds or a timedelta, not {self.once_per!r}")
        if not 0 <= seconds <= 366 * 86_400:
            raise ValueError(f"once_per must be from 0 seconds to a year, not {self.once_per!r}")
        object.__setattr__(self, "once_per", float(seconds))


def to_json(alert: Alert) -> dict[str, Any]:
    """Return what a row keeps of it."""
    return {"after": alert.after, "once_per": alert.once_per}
