"""Look now and then whether old history is to be deleted."""

from __future__ import annotations

import logging
import random
import threading
import time

from django.db import DatabaseError, InterfaceError

from django_jobs.printable import printable
from django_jobs.storage import connections
from django_jobs.storage.retention import rounds

logger = logging.getLogger(__name__)

# Seconds after its start that a process first looks; not all that were deployed together at the same time.
FIRST_LOOK = (10.0, 60.0)


class Pruner:
    """Has its process take part in the rounds, on a thread that lives as long as one look or round.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = time.monotonic() + random.uniform(*FIRST_LOOK)  # noqa: S311 - not a secret

    def look(self) -> None:
        """Begin to look whether a round is due, if it is time for that; return immediately."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + rounds.EVERY.total_seconds()
        thread = threading.Thread(target=self._serve, name="django_jobs-pruner", daemon=True)
        thread.start()
        # Only now: `stop` waits for it.
        self._thread = thread

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        connections.claim_context()
        try:
            while (pruned := rounds.prune_in_turn(self._using, self._stopping)) and not pruned.is_complete:
                if self._stopping.is_set():
                    break
        except (DatabaseError, InterfaceError) as error:
            logger.warning(
                "history was not pruned, some process will in its next round: %s", printable(error)
            )
        except Exception:  # a mistake of ours must be seen, and there is nobody else to see it
            logger.exception("pruning failed")
        finally:
            connections.give_back()
