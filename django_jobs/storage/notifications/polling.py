"""A poll, where a database sends no notices."""

from __future__ import annotations

from collections import deque

from django.db import connections

from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.notifications.bus import JOBS, RUNS
from django_jobs.storage.notifications.waiting import Waker, readable


class PollListener:
    """Asks at short intervals whether something is due."""

    hears_commits = False
    # The first after something new was found; then longer and longer ones.
    SHORTEST, LONGEST = 0.05, 0.25

    def __init__(self, using: str) -> None:
        self._using = using
        self._waker = Waker()
        self._interval = self.SHORTEST
        self._heard: deque[str] = deque()
        # What the last look found.
        self._found: set[str] = set()

    def wait(self, timeout: float) -> str | None:
        """See `Listener`."""
        if not self._heard:
            if readable([self._waker], min(timeout, self._interval)):
                self._waker.clear()
                return None
            due = self._due()
            self._heard.extend(due)
            # What is still due may be for nobody here: its queue paused, or all threads busy.
            is_new = not self._found.issuperset(due)
            self._interval = self.SHORTEST if is_new else min(self.LONGEST, self._interval * 1.5)
            self._found = set(due)
        return self._heard.popleft() if self._heard else None

    def _due(self) -> list[str]:
        is_run_due, is_job_due = backend_of(connections[self._using]).look_for_due()
        return [topic for topic, is_due in ((RUNS, is_run_due), (JOBS, is_job_due)) if is_due]

    def interrupt(self) -> None:
        """See `Listener`."""
        self._waker.wake()

    def close(self) -> None:
        """See `Listener`."""
        self._waker.close()
