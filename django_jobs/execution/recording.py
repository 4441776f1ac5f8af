"""The last steps of an attempt: its outcome is written, counted and told of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.storage import logs, outcomes, statistics, suspension
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django_jobs.execution.attempt import Attempt
    from django_jobs.storage.records import ClaimedRun, Key, Outcome

logger = logging.getLogger(__name__)


def record(batch: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[Key]:
    """Write outcomes; return the keys of those that the database took.

    It refuses those of runs that are another worker's by now, or of another claim. What a function's own
    transaction has written is not written again.
    """
    left = [one for one in batch if not one[1].is_written and one[1].waits is None]
    if len(left) == len(batch):
        written = outcomes.finish(batch, using=using)
    else:
        written = outcomes.finish(left, using=using) if left else set()
        for run, outcome in batch:
            if outcome.is_written or (outcome.waits and suspension.suspend(run, outcome, using=using)):
                written.add(run.key)
    ended = [run for run, outcome in batch if outcome.has_chunks and run.key in written]
    if ended:
        _fold(ended, using)
    return written


def _fold(ended: Sequence[ClaimedRun], using: str) -> None:
    try:
        logs.fold(ended, using=using)
    except (DatabaseError, InterfaceError) as error:
        # The outcomes are written. Who reads a log leaves out what is in it twice.
        logger.info("parts of logs of runs that have ended were not deleted: %s", printable(error))


def write_lines(attempts: Sequence[Attempt], *, older_than: float = 0.0, using: str) -> None:
    """Store what attempts have said since this was last called, so that it outlives their process.

    Args:
        attempts: That are under way.
        older_than: Seconds since the first of an attempt's lines before which they are left for later.
        using: Alias of the database.

    Raises:
        DatabaseError: They are not stored; the next call takes them.
    """
    taken = [
        (said, attempt.run, lines)
        for attempt in attempts
        if (said := attempt.context.said) is not None and (lines := said.take(older_than)) is not None
    ]
    if not taken:
        return
    try:
        logs.append([logs.Chunk(run, *lines) for _, run, lines in taken], using=using)
    except BaseException:
        for said, _, lines in taken:
            said.give_back(*lines)
        raise


def report(batch: Sequence[tuple[ClaimedRun, Outcome]], written: Collection[Key]) -> None:
    """Count the outcomes that were written, and send the signals of all."""
    # All of them, as a rule.
    counted = batch if len(written) == len(batch) else [one for one in batch if one[0].key in written]
    statistics.note_attempts(counted)
    outcomes.report_outcomes(batch, written)
