"""The attempts that a worker holds, from their claim until their outcome is written."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.records import Key


class Holdings:
    """Which attempts wait for a thread, are under way, or have ended and are not yet written.

    Whoever takes an attempt out (`take`, `end`) decides what becomes of it, so that each has one end.

    Args:
        lock: That the parts of a worker share.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._is_empty = threading.Condition(lock)
        # By run and attempt: a run that was lost may be here a second time.
        self._attempts: dict[Key, Attempt] = {}
        # Those of them that no thread has begun.
        self._waiting: dict[Key, Attempt] = {}
        self._unwritten: set[Key] = set()
        # Begun, interrupted, and still RUNNING in the database: their lease does the rest.
        self._left_to_lease: set[Key] = set()
        self._progressed: set[Attempt] = set()
        # Interrupted as the worker stops, ended, and not yet handed back.
        self._over: set[Key] = set()

    # With the lock held

    def add(self, attempt: Attempt) -> None:
        """Add an attempt that was just claimed, or that waits once more; the lock is held."""
        self._attempts[attempt.key] = self._waiting[attempt.key] = attempt

    def keys(self) -> set[Key]:
        """Return the runs and attempts that the database may say this worker holds; the lock is held."""
        return self._attempts.keys() | self._unwritten | self._left_to_lease

    def are_none(self) -> bool:
        """Return whether nothing is held; the lock is held."""
        return not (self._attempts or self._unwritten)

    # Without it

    def attempts(self) -> list[Attempt]:
        """Return the attempts that are under way or wait for a thread."""
        with self._lock:
            return list(self._attempts.values())

    def waiting(self) -> list[Attempt]:
        """Return the attempts that wait for a thread."""
        return list(self._waiting.values())

    def take(self, key: Key) -> Attempt | None:
        """Take an attempt out of those that wait; None if somebody else did."""
        return self._waiting.pop(key, None)

    def take_waiting(self) -> list[Attempt]:
        """Take out all that wait."""
        return [attempt for key in list(self._waiting) if (attempt := self.take(key)) is not None]

    def end(self, attempt: Attempt) -> bool:
        """Note that an attempt ended and is to be written; return False if it ended before."""
        with self._lock:
            self._progressed.discard(attempt)
            if self._attempts.pop(attempt.key, None) is None:
                return False
            self._unwritten.add(attempt.key)
            return True

    def written(self, keys: Iterable[Key]) -> None:
        """Note that outcomes are written, or refused."""
        with self._lock:
            self._unwritten.difference_update(keys)
            if self.are_none():
                self._is_empty.notify_all()

    def leave_to_lease(self, key: Key) -> None:
        """Note that an attempt could not be handed back."""
        with self._lock:
            self._left_to_lease.add(key)

    def forget(self, keys: Iterable[Key]) -> None:
        """Note that some attempts are no longer this worker's."""
        with self._lock:
            for key in keys:
                self._attempts.pop(key, None)
                self._waiting.pop(key, None)
                self._unwritten.discard(key)
            if self.are_none():
                self._is_empty.notify_all()

    def note_over(self, attempt: Attempt) -> None:
        """Note that an attempt was interrupted and has ended, and is to be handed back."""
        with self._lock:
            self._over.add(attempt.key)
            self._is_empty.notify_all()

    def is_over(self, attempt: Attempt) -> bool:
        """Return whether an attempt has ended that is to be handed back."""
        return attempt.key in self._over

    def wait_empty(self, timeout: float | None) -> bool:
        """Wait until nothing is held that goes on; return whether it came to that in time."""
        with self._is_empty:
            return self._is_empty.wait_for(self._have_all_ended, timeout)

    def _have_all_ended(self) -> bool:
        return not self._unwritten and self._over.issuperset(self._attempts)

    def note_progress(self, attempt: Attempt) -> bool:
        """Note that an attempt's progress changed; return whether it is the first since `take_progress`."""
        with self._lock:
            is_first = not self._progressed
            self._progressed.add(attempt)
            return is_first

    def take_progress(self) -> list[Attempt]:
        """Return the attempts whose progress changed since the last call."""
        with self._lock:
            changed, self._progressed = self._progressed, set()
        return list(changed)
