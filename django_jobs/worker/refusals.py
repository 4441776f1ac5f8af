"""Whether a database that refuses outcomes refuses what is in one of them, or is away."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, transaction
from django.db import connections as django_connections

from django_jobs.execution import recording
from django_jobs.storage.connections import ConnectionBackoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.records import ClaimedRun, Outcome


# Classes of SQLSTATE: connection, transaction state, rolled back, resources, object in use, operator, system.
PASSING_STATES = {"08", "25", "40", "53", "55", "57", "58"}
# MySQL's and MariaDB's numbers: a file or the disk failed or is full, a table is full, lock waits, deadlocks, read-only.
PASSING_NUMBERS = {3, 11, 14, 20, 28, 1021, 1026, 1030, 1114, 1205, 1213, 1290, 1836}


class Refusals:
    """What is known of the refusals of some outcomes.

    The class of an error does not tell: MariaDB calls a character that it cannot store an operational
    error, like a server that is gone. So the connection is asked, and the database is given the same rows
    without what they contain.

    Args:
        using: Alias of the database.
        is_last: Nothing is left to leave out.

    Attributes:
        are_repeated: Whether to try again without a wait: the connection answers.
    """

    def __init__(self, using: str, *, is_last: bool = False) -> None:
        self._using = using
        self._is_last = is_last
        self._count = 0
        self._is_taken_without = False
        self.are_repeated = False

    def are_about_data(self, error: Exception, batch: Sequence[tuple[ClaimedRun, Outcome]]) -> bool:
        """Return whether a refusal is about the rows, as far as this one and those before it say.

        Args:
            error: What was raised.
            batch: The outcomes. Of one, it must be sure: what it contains is given up.
        """
        self.are_repeated = False
        if self._is_last:
            return False
        if ConnectionBackoff.is_about_data(error):
            return True
        if self._is_about_the_server(error) or not self._answers():
            self._count, self._is_taken_without = 0, False
            return False
        self._count += 1
        if self._count == 1:
            # Perhaps two waited for each other, or another writer was too slow.
            self.are_repeated = True
            return False
        if len(batch) > 1:
            return True
        if self._is_taken_without:
            # Refused before and after it took the row without its contents.
            return True
        self._is_taken_without = self._takes_without(*batch[0], error)
        self.are_repeated = self._is_taken_without
        return False

    def _is_about_the_server(self, error: Exception) -> bool:
        """Return whether an error is about room, files or other transactions, which pass: a full disk answers."""
        cause = error.__cause__
        match django_connections[self._using].vendor:
            case "sqlite":
                # The driver has another class for values that it cannot store.
                return cause is not None
            case "postgresql":
                # psycopg 2 has another name for it.
                state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
                return state[:2] in PASSING_STATES
            case _:
                return isinstance(cause, Exception) and bool(cause.args) and cause.args[0] in PASSING_NUMBERS

    def _answers(self) -> bool:
        connection = django_connections[self._using]
        try:
            connection.ensure_connection()
            return connection.is_usable()
        except (DatabaseError, InterfaceError):
            return False

    def _takes_without(self, run: ClaimedRun, outcome: Outcome, error: Exception) -> bool:
        """Return whether the row is written without its contents, which is then undone."""
        try:
            with transaction.atomic(using=self._using):
                written = recording.record([unstorable(run, outcome, error)], using=self._using)
                transaction.set_rollback(True, using=self._using)
        except (DatabaseError, InterfaceError):
            return False
        return run.key in written


def unstorable(run: ClaimedRun, outcome: Outcome, error: Exception) -> tuple[ClaimedRun, Outcome]:
    """Return the outcome of a run whose own was refused: FAILED, and nothing of what it contained."""
    text = f"{type(error).__name__}: the database refused the outcome of this run: {str(error)[:300]}"
    return run, replace(
        outcome,
        status="FAILED",
        retry_in=None,
        result=None,
        error=text.encode("ascii", "backslashreplace").decode(),
        traceback="",
        exception="",
        log="",
        has_chunks=False,
        progress=None,
        waits=None,
    )
