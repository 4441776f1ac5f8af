"""The log of one attempt, in memory: its lines, and which of them are written already."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from django_jobs import codec
from django_jobs.registry.log_lines import line_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Of all logs: each is held for an instant.
_lock = threading.Lock()


class RunLog:
    """Lines, up to a size.

    Lines come from the run's own threads; whoever watches the attempt takes those that are not written yet.

    Args:
        max_bytes: What is beyond that is dropped, with a mark where.
        on_lines: Called with the first line after all others were taken; None for nobody.
    """

    __slots__ = ("_bytes", "_level", "_lines", "_max_bytes", "_on_lines", "_taken", "_waits_since", "written")

    def __init__(self, max_bytes: int, on_lines: Callable[[], None] | None = None) -> None:
        self._max_bytes = max_bytes
        self._on_lines = on_lines
        self._lines: list[str] = []
        self._bytes = 0
        # How many of the lines were taken, since when others wait (monotonic; 0 for none), and their level.
        self._taken = 0
        self._waits_since = 0.0
        self._level = 0
        #: Whether some of it was taken while the attempt was under way, to be written.
        self.written = False

    def add(self, text: str, level: int = logging.INFO) -> None:
        """Add a line with its time."""
        if self._bytes > self._max_bytes:
            return
        line = line_now(level, codec.storable(text))
        size = len(line) if line.isascii() else len(line.encode())
        with _lock:
            self._bytes += size + 1
            if self._bytes > self._max_bytes:
                line = f"... cut at {self._max_bytes} bytes (MAX_LOG_BYTES)"
            self._lines.append(line)
            if level > self._level:
                self._level = level
            is_first = not self._waits_since
            if is_first:
                self._waits_since = time.monotonic()
        if is_first and self._on_lines is not None:
            self._on_lines()

    def add_lines(self, lines: Sequence[str], level: int) -> None:
        """Add lines as another process has formatted them, which has seen to their size."""
        with _lock:
            self._lines.extend(lines)
            self._level = max(self._level, level)
            self._waits_since = self._waits_since or time.monotonic()

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self._lines) if self._lines else ""

    def take(self, older_than: float = 0.0) -> tuple[list[str], int] | None:
        """Take the lines that were not taken yet, and the highest of their levels.

        Args:
            older_than: Seconds that the first of them must have waited; else none is taken.
        """
        if not self._waits_since or time.monotonic() - self._waits_since < older_than:
            return None
        with _lock:
            lines, level = self._lines[self._taken :], self._level
            self._taken += len(lines)
            self._waits_since, self._level = 0.0, 0
            # Now, not when they are stored: the attempt may end in between, and must know that there is something.
            self.written = self.written or bool(lines)
        return (lines, level) if lines else None

    def give_back(self, lines: Sequence[str], level: int) -> None:
        """Note that lines which were taken could not be written; nobody has taken any since."""
        with _lock:
            self._taken -= len(lines)
            self._level = max(self._level, level)
            self._waits_since = self._waits_since or time.monotonic()
