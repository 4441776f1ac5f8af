"""Look now and then whether old history is to be deleted, and whether a batch is stuck."""

from __future__ import annotations

import random
import time

from django_jobs.storage.batches import sweep
from django_jobs.storage.retention import rounds
from django_jobs.worker.side_thread import SideThread

# Seconds after its start that a process first looks; not all that were deployed together at the same time.
FIRST_LOOK = (10.0, 60.0)


class Pruner:
    """Has its process take part in the rounds, beside its maintenance.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._thread = SideThread(
            "pruner", "history was not pruned; a process will try again in its next round: "
        )
        self._next = time.monotonic() + random.uniform(*FIRST_LOOK)  # noqa: S311 - not a secret

    def look(self) -> None:
        """Begin to look whether a round is due, if it is time for that; return immediately."""
        if time.monotonic() < self._next or self._thread.is_busy:
            return
        self._next = time.monotonic() + rounds.EVERY.total_seconds()
        self._thread.begin(self._serve)

    def stop(self) -> None:
        """End after the batch under way."""
        self._thread.stop()

    def _serve(self) -> None:
        stopping = self._thread.stopping
        sweep.sweep_in_turn(self._using, stopping)
        while (pruned := rounds.prune_in_turn(self._using, stopping)) and not pruned.is_complete:
            if stopping.is_set():
                break
