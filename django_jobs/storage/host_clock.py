"""How far this host's clock is from the database's, as the last heartbeat learned it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger(__name__)

# A clock that is further off is worth a line: what people read beside each other is.
MOST_SECONDS = 5.0


class _HostClock:
    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        self._is_told = False

    def note(self, now: datetime, took: float) -> None:
        """Note the database's time, whose answer came some seconds after it was asked for."""
        ahead = time.time() - now.timestamp()
        # It may have been read at any time of these.
        self.ahead_seconds = ahead - took if ahead > took else min(ahead, 0.0)
        is_off = abs(self.ahead_seconds) > MOST_SECONDS
        if is_off and not self._is_told:
            logger.warning(
                "this host's clock is %.0f s %s the database's: times in logs and pages differ by that; "
                "runs are due, expire and are rescued by the database's clock",
                abs(self.ahead_seconds), "ahead of" if self.ahead_seconds > 0 else "behind",
            )  # fmt: skip
        self._is_told = is_off


_clock = _HostClock()
note = _clock.note


def ahead_seconds() -> float:
    """Return how many seconds this host's clock is ahead of the database's; 0 where nobody has compared them."""
    return _clock.ahead_seconds if abs(_clock.ahead_seconds) > 1.0 else 0.0


def notable_seconds() -> float | None:
    """Return whole seconds that this host's clock is ahead, negative for behind; None while it is nearly right."""
    ahead = _clock.ahead_seconds
    return float(round(ahead)) if abs(ahead) > MOST_SECONDS else None


def in_host_time(options: dict[str, Any]) -> None:
    """Have a claimed run's options say by this host's clock when it expires, not by the database's."""
    if "expires_at" in options:
        options["expires_at"] += ahead_seconds()
