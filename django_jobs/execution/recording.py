"""The last steps of an attempt: its outcome is written, counted and told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.storage import outcomes, statistics

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django_jobs.storage.records import ClaimedRun, Key, Outcome


def record(batch: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[Key]:
    """Write outcomes; return the keys of those that the database took.

    It refuses those of runs that are another worker's by now, or of another claim.
    """
    return outcomes.finish(batch, using=using)


def report(batch: Sequence[tuple[ClaimedRun, Outcome]], written: Collection[Key]) -> None:
    """Count the outcomes that were written, and send the signals of all."""
    counted = [one for one in batch if one[0].key in written]
    statistics.note_attempts(counted)
    for run, outcome in batch:
        outcomes.report_outcome(run, outcome, is_written=run.key in written)
