"""Write a run's outcome in the transaction of its function: `atomic=True`, and `current_run().complete()`.

The row of the run is locked by its last statement before the commit, and not before: until then heartbeats,
cancels and pages find it as that of any other run.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_jobs.exceptions import RunLost
from django_jobs.execution import outcomes
from django_jobs.models import Status
from django_jobs.registry import atomicity
from django_jobs.storage import outcomes as stored_outcomes
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.records import ClaimedRun, Outcome

logger = logging.getLogger(__name__)


def in_one_commit(attempt: Attempt, call: Callable[[], object]) -> Outcome:
    """Call a function in a transaction, and write the run's outcome as the last of it.

    Args:
        attempt: Of a run that is `atomic`.
        call: Calls the function.

    Returns:
        The outcome: it is written where the function succeeded. Of any other, what the function wrote is
        rolled back, and the outcome is still to be written.

    Raises:
        BaseException: What the function raised, or the database; it is rolled back.
        RunLost: The run is another worker's by now; it is rolled back.
    """
    alias = atomicity.data_alias(attempt.run.options["atomic"])
    atomicity.check_database(alias)
    commit = _Commit(attempt, alias)
    try:
        with commit:
            outcome = outcomes.of_result(attempt, _finished(call()))
            if outcome.status == Status.SUCCESSFUL:
                commit.write(outcome)
            else:
                transaction.set_rollback(True, using=alias)
    except BaseException as error:
        if attempt.recorded is None:
            raise
        report_after(attempt.run, error)
        return attempt.recorded
    return outcome


def _finished(result: object) -> object:
    """Return a result that is not still to be awaited, as that of a wrapper around an `async def` function."""
    if not inspect.iscoroutine(result):
        return result
    result.close()
    raise TypeError(f"atomic is for plain functions, and this one is async. {atomicity.IN_PLAIN_CODE}")


class Completion:
    """Ends its run as SUCCESSFUL with the block that it is entered for: one commit for all in it.

    What the block raises rolls it back, and the run goes on.

    Args:
        attempt: Of the run.
        using: Alias of the database that the block writes to.

    Attributes:
        result: What the run returns, as the function would; None unless it is set in the block.
    """

    def __init__(self, attempt: Attempt, using: str) -> None:
        self.result: object = None
        self._attempt = attempt
        self._using = using
        self._commit = _Commit(attempt, using)

    def __enter__(self) -> Completion:
        attempt = self._attempt
        if attempt.recorded is not None:
            raise RuntimeError("complete() was called before: a run ends once")
        if attempt.run.options.get("atomic"):
            raise RuntimeError("the function is atomic, so all of it is one commit: leave complete() out")
        if attempt.is_in_transaction(self._using):
            raise RuntimeError(
                "complete() inside transaction.atomic() would not end the run: it commits by itself, so use it "
                "instead of that"
            )
        self._commit.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._commit.__exit__(kind, error, trace)
            return
        try:
            outcome = outcomes.of_completion(self._attempt, self.result)
            with self._attempt.shielded():
                self._commit.write(outcome)
                self._commit.__exit__(None, None, None)
        except BaseException as mistake:
            if not self._commit.is_over:
                self._commit.__exit__(type(mistake), mistake, mistake.__traceback__)
            raise


def complete(attempt: Attempt, using: str | None) -> Completion:
    """Return what ends a run with a block; see `RunContext.complete`."""
    alias = atomicity.data_alias(using or True)
    atomicity.check_database(alias)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return Completion(attempt, alias)
    raise RuntimeError(f"complete() cannot be used on an event loop. {atomicity.IN_PLAIN_CODE}")


def report_after(run: ClaimedRun, error: BaseException) -> None:
    """Say what was raised after a run had ended: by the rest of its function, or by a callback on commit."""
    describe.log_error(
        logger,
        error,
        "job=%s run=%s: it had ended SUCCESSFUL, and what came after raised %s",
        printable(run.job_id),
        run.id,
        printable(describe.name_of(type(error))),
    )


class _Commit:
    """A transaction whose last statement writes the run's outcome.

    Attributes:
        is_over: It was committed or rolled back.
    """

    def __init__(self, attempt: Attempt, using: str) -> None:
        self._attempt = attempt
        self._using = using
        self._atomic: Any = None
        self._outcome: Outcome | None = None
        self.is_over = False

    def __enter__(self) -> None:
        is_outermost = not connections[self._using].in_atomic_block
        self._atomic = transaction.atomic(using=self._using)
        self._atomic.__enter__()
        if is_outermost:
            # The first to be called: what comes after may raise, and the commit has been by then.
            transaction.on_commit(self._note, using=self._using)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_over = True
        try:
            self._atomic.__exit__(kind, error, trace)
        except (DatabaseError, InterfaceError):
            # The answer to the commit may be all that was lost.
            if self._outcome is None or self._attempt.recorded or not self._is_committed(self._outcome):
                raise
        if kind is None:
            self._note()

    def write(self, outcome: Outcome) -> None:
        """Write the outcome, fenced.

        Raises:
            RunLost: The run is another worker's by now.
        """
        run = self._attempt.run
        if run.key not in stored_outcomes.finish([(run, outcome)], using=self._using):
            raise RunLost(run.id)
        self._outcome = outcome

    def _note(self) -> None:
        if self._outcome is not None:
            self._outcome.is_written = True
            self._attempt.recorded = self._outcome

    def _is_committed(self, outcome: Outcome) -> bool:
        """Ask on a new connection."""
        try:
            return stored_outcomes.is_written(self._attempt.run, outcome, using=self._using)
        except (DatabaseError, InterfaceError):
            # It is away. The fence knows: nothing is written twice.
            return False
