"""Waits that grow while something fails."""

from __future__ import annotations

import random


class Backoff:
    """The waits between tries of something that fails: each is twice as long as the one before.

    Args:
        first: Seconds after the first failure.
        longest: Seconds at most.
        jitter: Share of a wait by which it is made longer or shorter, so that many do not try together.
    """

    def __init__(self, first: float, longest: float, *, jitter: float = 0.5) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        # Without jitter; None while it works.
        self._delay: float | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last try failed."""
        return self._delay is not None

    def failed(self) -> float:
        """Note a failure; return the seconds to wait before the next try."""
        self._delay = self._first if self._delay is None else min(self._longest, self._delay * 2)
        return self._delay * random.uniform(1 - self._jitter, 1 + self._jitter)  # noqa: S311 - jitter, not a secret

    def worked(self) -> None:
        """Note a success: the next failure is a first one."""
        self._delay = None
