"""Work that may take long beside a thread that must not: on a thread that lives as long as one piece of it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.storage import connections
from django_jobs.storage.components import STOP_SECONDS
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class SideThread:
    """A thread that is started for each piece of work, and for one at a time.

    Args:
        name: Of the thread, after ours.
        undone: What the log says when the database does not let it end; the error follows.
    """

    def __init__(self, name: str, undone: str) -> None:
        self.name = name
        self._undone = undone
        self._thread: threading.Thread | None = None
        self.stopping = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether the last piece of work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, work: Callable[[], object]) -> None:
        """Begin a piece of work; return immediately."""
        thread = threading.Thread(
            target=self._serve, args=[work], name=f"django_jobs-{self.name}", daemon=True
        )
        thread.start()
        # Only now: `stop` waits for it.
        self._thread = thread

    def stop(self) -> None:
        """Set `stopping`, which the work under way may look at, and wait for it some seconds."""
        self.stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _serve(self, work: Callable[[], object]) -> None:
        connections.claim_context()
        try:
            work()
        except (DatabaseError, InterfaceError) as error:
            what = self._undone
            logger.warning("%s%s", what, printable(error))
        except BaseException as error:  # noqa: BLE001 - a mistake of ours must be seen, and there is nobody else to see it
            describe.log_error(logger, error, "the %s thread failed", self.name)
        finally:
            connections.give_back()
