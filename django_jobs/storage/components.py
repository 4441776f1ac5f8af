"""One kind of long-living thread: worker, maintenance, completer, listener, dispatcher and live feed are such."""

from __future__ import annotations

import logging
import threading
from typing import ClassVar

from django.db import DatabaseError, InterfaceError, connections

from django_jobs import describe
from django_jobs.storage.connections import ConnectionBackoff, claim_context, forget_queries, give_back

logger = logging.getLogger(__name__)


class Component:
    """A thread of this process that does what is due (`look`), waits, and looks again, until it is stopped.

    While the database is away it backs off. A mistake in `look` is logged, once, and survived. The
    thread's connections are given back when it ends.

    Args:
        name: What the thread does, for its name and the log.
        using: Alias of the database.
        mistake_seconds: Wait after a look that raised.

    Attributes:
        failure: The mistake of the last look, or what ended the thread; None while all is well.
    """

    # What `look` raises while the database is away.
    away: ClassVar[tuple[type[Exception], ...]] = (DatabaseError, InterfaceError)

    def __init__(self, name: str, using: str, *, mistake_seconds: float = 5.0) -> None:
        self.name = name
        self.using = using
        self.failure: BaseException | None = None
        self.backoff = ConnectionBackoff(name, using)
        self._mistake_seconds = mistake_seconds
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"django_jobs-{name}", daemon=True)

    def look(self) -> float | None:
        """Do what is due; return the seconds until the next look, None to wait until woken."""
        raise NotImplementedError

    def has_nothing_due(self) -> bool:
        """Return whether it has no work to do now, which `runjobs --drain` waits for."""
        return True

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system refuses another thread.
        """
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self, timeout: float | None = None) -> bool:
        """End the thread after the look under way, if it was started; return whether it has ended.

        Args:
            timeout: Seconds to wait for that; None for no limit.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def rest(self, seconds: float) -> bool:
        """Wait, whoever wakes it; return whether it was told to stop."""
        return self._stopping.wait(seconds)

    def run(self) -> None:
        """Live, on the thread: look and wait in turns."""
        wait: float | None = 0.0
        while not self._stopping.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            if self._stopping.is_set():
                return
            wait = self._look()

    def _look(self) -> float | None:
        try:
            wait = self.look()
        except self.away as error:
            self.rest(self.backoff.failed(error))
            return 0.0
        except BaseException as error:  # noqa: BLE001 - no mistake of ours, or SystemExit of a receiver, may end the thread
            self.note_mistake(error)
            return self._mistake_seconds
        self.backoff.worked()
        self.failure = None
        forget_queries(connections[self.using])
        return wait

    def note_mistake(self, error: BaseException) -> None:
        """Log an error that the thread survives, once until a look works."""
        if self.failure is None:
            describe.log_error(logger, error, "the %s thread failed, and goes on", self.name)
        self.failure = error

    def _serve(self) -> None:
        claim_context()
        try:
            self.run()
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.backoff.close()
            give_back()
