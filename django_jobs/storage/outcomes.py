"""Write what attempts came to and how far they are, and report it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_jobs import signals
from django_jobs.models import Run, Status
from django_jobs.storage import fences
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.transactions import in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.records import ClaimedRun, Key, Outcome


def finish(outcomes: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[Key]:
    """Write what attempts came to, a few hundred to a statement.

    Fenced: only a run that is RUNNING by the same claim is written, so a
    worker that lost a run cannot end it a second time. A run that was asked to stop is not tried again:
    it is CANCELLED, and `outcomes` are changed accordingly.

    Returns:
        Keys of those that were written; the others belong to somebody else by now.
    """
    written = _finish(outcomes, using=using)
    left = [
        (run, outcome)
        for run, outcome in outcomes
        if outcome.status == Status.READY and run.key not in written
    ]
    if left:
        # Asked to stop, or lost.
        status = Status.CANCELLED.value
        ends = [(run, replace(outcome, status=status, retry_in=None)) for run, outcome in left]
        cancelled = _finish(ends, using=using)
        for run, outcome in left:
            if run.key in cancelled:
                outcome.status, outcome.retry_in = status, None
        written |= cancelled
    return written


def _finish(outcomes: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[Key]:
    """Write outcomes, but those to be tried again only where nobody asked for the end."""
    backend = backend_of(connections[using])
    written: set[Key] = set()
    rows = [backend.finished_row(run, outcome) for run, outcome in outcomes]
    sizes = [sum(len(value) for value in row[8:] if value) for row in rows]
    has_keys = any(run.unique_key is not None for run, _ in outcomes)
    for batch in in_batches(rows, sizes):
        written |= backend.finish(batch, has_keys=has_keys)
    return written


def is_written(run: ClaimedRun, outcome: Outcome, *, using: str) -> bool:
    """Return whether a run's row has the outcome of this attempt, whose answer was lost."""
    row = Run.objects.using(using).filter(fences.of_attempt(run))
    return row.filter(status=outcome.status, started_at=outcome.started_at).exists()


def set_progress(run: ClaimedRun, progress: dict[str, Any], *, using: str) -> None:
    """Store how far a run has come, if it is still this worker's."""
    fences.of_claim(run, using=using).update(progress=progress)


def report_outcome(run: ClaimedRun, outcome: Outcome, *, is_written: bool) -> None:
    """Report what became of an attempt: it ended, waits for a person, or came too late to be written."""
    if not is_written:
        signals.emit(signals.run_refused, run=run)
    elif outcome.status == Status.READY and outcome.retry_in is None:
        signals.emit(signals.run_held, run=run, reason=outcome.error)
    else:
        signals.emit(signals.run_finished, run=run, outcome=outcome)
