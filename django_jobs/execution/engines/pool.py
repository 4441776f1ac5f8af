"""What a consumer's threads give attempts to that they do not execute themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from django_jobs.execution.attempt import Attempt, Begun


class ProcessDied(Exception):
    """A process that ended in the middle of a run; the message says how."""


class CannotStart(Exception):
    """A process that could not be started; the run has not begun."""


class Pool(Protocol):
    """Executes runs elsewhere; called from several threads, each of which waits for its run."""

    # What its threads are named after.
    kind: str

    def execute(self, attempt: Attempt) -> Begun:
        """Execute a run, as `Attempt.execute` does.

        Raises:
            ProcessDied: What executed it ended before the run did.
            CannotStart: Nothing can execute it now: the system refuses another process or thread.
        """

    def shutdown(self) -> None:
        """End what executes, whatever it does."""
