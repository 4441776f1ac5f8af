"""One kind of long-living thread: worker, maintenance, completer, listener, dispatcher and live feed are such."""

from __future__ import annotations

import logging
import threading
from typing import ClassVar

from django.db import DatabaseError, InterfaceError, connections

from django_jobs.storage.connections import (
    ConnectionBackoff,
    claim_context,
    forget_queries,
    give_back,
    leave_replaced,
)
from django_jobs.storage.liveness import Liveness

logger = logging.getLogger(__name__)


# For the step under way when a component is stopped, where nobody says how long.
STOP_SECONDS = 10.0


class Component:
    """A thread of this process that does what is due (`look`), waits, and looks again, until it is stopped.

    While the database is away it backs off. A mistake is logged, once, and survived wherever it happens. The
    thread's connections are given back when it ends.

    Args:
        name: What the thread does, for its name and the log.
        using: Alias of the database.
        mistake_seconds: Wait after a look that raised.
    """

    # What `look` raises while the database is away.
    away: ClassVar[tuple[type[Exception], ...]] = (DatabaseError, InterfaceError)
    # Whether a look is one short step, and hangs if it is not.
    is_brief: ClassVar[bool] = True

    def __init__(self, name: str, using: str, *, mistake_seconds: float = 5.0) -> None:
        self.name = name
        self.using = using
        self.liveness = Liveness(name)
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
        # Called as each run ends: to set it takes ten times as long. Once it is cleared a look follows.
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, timeout: float | None = None) -> bool:
        """End the thread after the look under way, if it was started; return whether it has ended.

        Args:
            timeout: Seconds to wait for that; None for STOP_SECONDS.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS if timeout is None else timeout)
        if self.is_alive:
            logger.warning("the %s thread does not end: it is left, and ends with its process", self.name)
        return not self.is_alive

    @property
    def failure(self) -> BaseException | None:
        """The mistake of the last look; None while all is well."""
        return self.liveness.failure

    @property
    def problem(self) -> str:
        """What is wrong with the thread; empty while nothing is."""
        if self._thread.ident is None or self.is_stopping:
            return ""
        return self.liveness.problem(is_alive=self.is_alive)

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
        leave_replaced()
        if self.is_brief:
            self.liveness.begin_step()
        try:
            wait = self.look()
        except self.away as error:
            self.liveness.end_step()
            self.rest(self.backoff.failed(error))
            return 0.0
        except BaseException as error:  # noqa: BLE001 - no mistake of ours, or SystemExit of a receiver, may end the thread
            self.liveness.note_mistake(error)
            return self._mistake_seconds
        finally:
            self.liveness.end_step()
        self.backoff.worked()
        self.liveness.note_success()
        forget_queries(connections[self.using])
        return wait

    def _serve(self) -> None:
        try:
            claim_context()
            while not self._serve_once():
                pass
        finally:
            self.backoff.close()
            give_back()

    def _serve_once(self) -> bool:
        """Live until told to stop; return False where a mistake came between."""
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - in what is around a look: a handler of the log, `rest`
            self.liveness.note_mistake(error)
            return self._stopping.wait(max(self._mistake_seconds, 0.1))
        return True
