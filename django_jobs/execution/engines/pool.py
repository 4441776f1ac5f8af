"""What a consumer's threads hand runs to, where they do not execute them themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from django_jobs.execution.runner import Begun, Execution


class ProcessDied(Exception):
    """A process that ended in the middle of a run; the message says how."""


class CannotStart(Exception):
    """A process that could not be started; the run was given to nobody."""


class Pool(Protocol):
    """Executes runs elsewhere; called from several threads, each of which waits for its run."""

    # What its threads are named after.
    kind: str

    def execute(self, execution: Execution) -> Begun:
        """Execute a run, as `Execution.begin` does.

        Raises:
            ProcessDied: What executed it ended before the run did.
            CannotStart: There is nothing to execute it, and the system refuses more.
        """

    def shutdown(self) -> None:
        """End what executes, whatever it does."""
