"""Write what attempts came to and how far they are, and report it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, connections, transaction

from django_jobs import signals
from django_jobs.models import Run, Status
from django_jobs.storage import endings, fences
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.transactions import in_batches, write_transaction
from django_jobs.storage.unique_keys import SUPERSEDED, waiting_again

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django_jobs.storage.records import ClaimedRun, Key, Outcome


def finish(outcomes: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[Key]:
    """Write what attempts came to, a few hundred to a statement.

    Fenced: only a run that is RUNNING by the same claim is written, so a
    worker that lost a run cannot end it a second time. A run that was asked to stop is not tried again:
    it is CANCELLED, and `outcomes` are changed accordingly.

    Returns:
        Keys of those that were written; the others belong to somebody else by now.
    """
    if any(endings.concerns(run.options, outcome.status) for run, outcome in outcomes):
        # With what else is to be done when these runs end.
        with write_transaction(using):
            written = _finish_or_cancel(outcomes, using=using)
            endings.ended(
                [
                    endings.Ended(run.id, str(outcome.status), run.options, outcome.error)
                    for run, outcome in outcomes
                    if run.key in written and endings.concerns(run.options, outcome.status)
                ],
                using=using,
            )
            return written
    return _finish_or_cancel(outcomes, using=using)


def _finish_or_cancel(outcomes: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[Key]:
    """Write outcomes; those to be tried again that were asked to stop are CANCELLED."""
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
    has_keys = any(run.unique_key is not None for run, _ in outcomes)
    again = [one for one in outcomes if _takes_its_key_again(*one)] if has_keys else []
    rows = [backend.finished_row(*one) for one in outcomes if not again or one not in again]
    sizes = [sum(map(len, filter(None, row[8:]))) for row in rows]
    for batch in in_batches(rows, sizes):
        written |= backend.finish(batch, has_keys=has_keys)
    # After the others: one may wait for a transaction that adds another run of its key.
    for run, outcome in again:
        written |= _finish_under_key(run, outcome, using=using)
    return written


def _takes_its_key_again(run: ClaimedRun, outcome: Outcome) -> bool:
    return outcome.status == Status.READY and waiting_again(run.unique_key) is not None


def _finish_under_key(run: ClaimedRun, outcome: Outcome, *, using: str) -> set[Key]:
    """Have a run wait again under its key; end it where a newer run waits that has the key."""
    backend = backend_of(connections[using])
    key = waiting_again(run.unique_key)
    try:
        with transaction.atomic(using=using):
            fences.of_claim(run, using=using).filter(cancel_requested=False).update(unique_key=key)
            # What is not written here was asked to stop, or is another's: its key was left alone.
            return backend.finish([backend.finished_row(run, outcome)])
    except IntegrityError:
        outcome.status, outcome.retry_in = Status.CANCELLED.value, None
        outcome.error = f"{SUPERSEDED}; {outcome.error}" if outcome.error else SUPERSEDED
        return backend.finish([backend.finished_row(run, outcome)])


def is_written(run: ClaimedRun, outcome: Outcome, *, using: str) -> bool:
    """Return whether a run's row has the outcome of this attempt, whose answer was lost."""
    row = Run.objects.using(using).filter(fences.of_attempt(run))
    return row.filter(status=outcome.status, started_at=outcome.started_at).exists()


def set_progress(run: ClaimedRun, progress: dict[str, Any], *, using: str) -> None:
    """Store how far a run has come, if it is still this worker's."""
    fences.of_claim(run, using=using).update(progress=progress)


def report_outcomes(outcomes: Sequence[tuple[ClaimedRun, Outcome]], written: Collection[Key]) -> None:
    """Report what became of attempts; nothing is made for ends that nobody listens to, nor logs."""
    unheard = signals.unheard_ends()
    if len(written) == len(outcomes) and all(
        outcome.waits is None and outcome.status in unheard for _, outcome in outcomes
    ):
        return
    for run, outcome in outcomes:
        if run.key not in written:
            signals.emit(signals.run_refused, run=run)
        elif outcome.waits is not None:
            signals.emit(signals.run_suspended, run=run)
        elif outcome.status in unheard:
            continue
        elif outcome.status == Status.READY and outcome.retry_in is None:
            signals.emit(signals.run_held, run=run, reason=outcome.error)
        else:
            signals.emit(signals.run_finished, run=run, outcome=outcome)
