"""Runs of a batch that are retried: what was ended for their failure waits for them again."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from django_jobs.models import Dependency, Dependent, Run, Status, Wait
from django_jobs.storage import endings
from django_jobs.storage.batch_locks import MARK, lock
from django_jobs.storage.batches.ends import LockedBatch
from django_jobs.storage.endings import Ended
from django_jobs.storage.records import renewed
from django_jobs.storage.transactions import BATCH as ROWS
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def note_reopened(runs: Sequence[Ended], *, using: str) -> None:
    """Tell batches that runs of theirs are READY again, in the transaction that makes them so."""
    by_batch: dict[int, list[Ended]] = defaultdict(list)
    for run in runs:
        by_batch[run.options[MARK]].append(run)
    for batch_id, batch in lock(by_batch, using=using).items():
        _Revival(LockedBatch(batch, using=using), using).begin(by_batch[batch_id])


class _Revival:
    """Reopens runs of one batch, and with them what was ended for their failure.

    Args:
        locked: The batch.
        using: Alias of the database.
    """

    def __init__(self, locked: LockedBatch, using: str) -> None:
        self._locked = locked
        self._using = using

    def begin(self, runs: Sequence[Ended]) -> None:
        """Count runs that are READY again as unfinished, and have others wait for them again."""
        batch = self._locked.batch
        batch.ended_at = batch.cancelled_at = None
        batch.status = Status.RUNNING
        self._count_back([run.was for run in runs])
        if batch.has_dependencies:
            ids = [run.run_id for run in runs]
            self._wait_again(ids)
            # One that is revived may depend on others that failed, too.
            self._locked.settle(self._with_dependents([*ids, *self._revive(ids)]))
        self._locked.save()

    def _count_back(self, statuses: Iterable[str]) -> None:
        batch = self._locked.batch
        for status, count in Counter(statuses).items():
            setattr(batch, status.lower(), getattr(batch, status.lower()) - count)

    def _wait_again(self, run_ids: Sequence[int]) -> None:
        """Have runs that were made READY wait as when they were added, until `settle` looks at them."""
        dependents = Dependent.objects.using(self._using).filter(pk__in=run_ids)
        waiting = list(dependents.values_list("pk", flat=True))
        dependents.update(ended_by=None)
        Run.objects.using(self._using).ready().filter(pk__in=waiting).update(
            run_after=None, waits_for=Wait.DEPENDENCY
        )

    def _revive(self, run_ids: Sequence[int]) -> list[int]:
        """Reopen what was ended for the failure of runs, and what was ended for that; return all of it."""
        revived: list[int] = []
        causes = list(run_ids)
        while causes:
            part, causes = causes[:ROWS], causes[ROWS:]
            ids = self._ended_by(part)
            if ids:
                self._reopen(ids)
                revived += ids
                causes += ids
        return revived

    def _ended_by(self, causes: Sequence[int]) -> list[int]:
        after = Dependency.objects.using(self._using).filter(after_id__in=causes).values("run_id")
        found = Dependent.objects.using(self._using).filter(pk__in=after, ended_by__in=causes)
        return list(found.values_list("pk", flat=True))

    def _reopen(self, run_ids: Sequence[int]) -> None:
        for start in range(0, len(run_ids), ROWS):
            ids = run_ids[start : start + ROWS]
            runs = Run.objects.using(self._using).filter(
                pk__in=ids, status__in=[Status.CANCELLED, Status.SKIPPED]
            )
            rows = list(runs.select_for_update().values_list("pk", "status", "options"))
            Run.objects.using(self._using).filter(pk__in=[pk for pk, *_ in rows]).update(
                status=Status.READY,
                run_after=None,
                waits_for=Wait.DEPENDENCY,
                held_run_after=None,
                finished_at=None,
                cancel_requested=False,
                error="",
            )
            self._renew([(pk, options) for pk, _, options in rows if options and "expires_at" in options])
            Dependent.objects.using(self._using).filter(pk__in=ids).update(ended_by=None)
            self._count_back([status for _, status, _ in rows])
            reopened = [Ended(pk, Status.READY.value, options or {}, was=was) for pk, was, options in rows]
            endings.reopened(reopened, using=self._using, told=MARK)

    def _renew(self, runs: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Have the time in which runs may begin count from now on."""
        for pk, options in runs:
            changed = renewed(options, database_now(self._using))
            Run.objects.using(self._using).filter(pk=pk).update(options=changed)

    def _with_dependents(self, run_ids: Sequence[int]) -> list[int]:
        """Return runs and those that wait for them."""
        found = dict.fromkeys(run_ids)
        for start in range(0, len(run_ids), ROWS):
            edges = Dependency.objects.using(self._using).filter(after_id__in=run_ids[start : start + ROWS])
            found.update(dict.fromkeys(edges.values_list("run_id", flat=True)))
        return list(found)
