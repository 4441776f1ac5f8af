"""Whether one of this process's threads lives and gets on, for logs, health and the exit code."""

from __future__ import annotations

import logging
import time

from django_jobs.texts import describe

logger = logging.getLogger(__name__)

# One step of a thread may take so long before it is taken to hang: a lock, or a server that does not answer.
STUCK_SECONDS = 30.0


class Liveness:
    """What is known of one thread.

    Args:
        name: What the thread does, as logs name it.

    Attributes:
        failure: The mistake of the last step, or what ended the thread; None while all is well.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: BaseException | None = None
        # Monotonic: when the step under way began.
        self._since: float | None = None

    def begin_step(self) -> None:
        """Note that a step begins that should not take long."""
        self._since = time.monotonic()

    def end_step(self) -> None:
        """Note that the step is over, however."""
        self._since = None

    def note_mistake(self, error: BaseException) -> None:
        """Log an error that the thread survives, once until a step works."""
        is_first, self.failure = self.failure is None, error
        if is_first:
            describe.log_error(logger, error, "the %s thread failed, and goes on", self.name)

    def note_success(self) -> None:
        """Note that a step worked."""
        self.failure = None

    def problem(self, *, is_alive: bool) -> str:
        """Return what is wrong with the thread in a few words; empty while nothing is.

        Args:
            is_alive: Whether the thread, which was started and not told to stop, has not ended.
        """
        if not is_alive:
            return f"the {self.name} thread has ended"
        if self.failure is not None:
            return f"the {self.name} thread fails: {describe.in_a_line(self.failure, 300)}"
        since = self._since
        if since is not None and time.monotonic() - since > STUCK_SECONDS:
            # Not for how long: that would be another problem each time.
            return (
                f"the {self.name} thread has been waiting in one step for more than {STUCK_SECONDS:g} s: "
                "a lock in the database, or a server that does not answer"
            )
        return ""
