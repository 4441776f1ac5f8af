"""What the ends of a batch's runs come to: others are released, cancelled or skipped, and the batch ends.

All of it is part of the transaction that writes the ends, under the lock of the batch: of two that end its
last runs at the same instant the second one sees what the first has counted.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from django_jobs.models import FINISHED, Batch, Dependency, Dependent, Run, Status, Wait
from django_jobs.storage import enqueue, notifications, transitions, waits
from django_jobs.storage.batch_locks import MARK, lock
from django_jobs.storage.endings import Ended
from django_jobs.storage.records import NewRun
from django_jobs.storage.transactions import BATCH as ROWS
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

# What the error of a run begins with that was ended for another one's failure.
DEPENDENCY_FAILED = "DependencyFailed"
# Characters that it quotes of the other one's error.
MOST_QUOTED = 500


# Columns of a batch that change.
_CHANGING = (
    "status", "closed_at", "cancelled_at", "ended_at", "changed_at", "total", "successful", "failed", "cancelled",
    "skipped", "has_dependencies", "callback_jobs",
)  # fmt: skip


def note_ended(runs: Sequence[Ended], *, using: str) -> None:
    """Tell batches of the ends of their runs, in the transaction that writes these."""
    by_batch: dict[int, list[Ended]] = defaultdict(list)
    for run in runs:
        if run.status in FINISHED:
            by_batch[run.options[MARK]].append(run)
    for batch_id, batch in lock(by_batch, using=using).items():
        locked = LockedBatch(batch, using=using)
        locked.note_ends(by_batch[batch_id])
        locked.save()


class LockedBatch:
    """A batch whose row the transaction under way has locked.

    Args:
        batch: Its row; `save` writes what changes of it.
        using: Alias of the database.
    """

    def __init__(self, batch: Batch, *, using: str) -> None:
        self.batch = batch
        self._using = using
        self._read = {name: getattr(batch, name) for name in _CHANGING}

    def note_ends(self, ended: Sequence[Ended]) -> None:
        """Count ends of runs, and do what follows from them for others."""
        while ended:
            for status, count in Counter(run.status.lower() for run in ended).items():
                setattr(self.batch, status, getattr(self.batch, status) + count)
            # Runs that end with them are the next ones: no recursion, however long a chain is.
            ended = self._follow(ended) if self.batch.has_dependencies else []

    def close(self) -> None:
        """Take no more from outside."""
        self.batch.closed_at = database_now(self._using)

    def save(self) -> None:
        """Write the row; end the batch if all of its runs have ended."""
        batch = self.batch
        # By this host's clock: it only tells for how long nothing has changed.
        batch.changed_at = timezone.now()
        if batch.closed_at is not None and batch.ended_at is None and batch.ended_runs >= batch.total:
            self._end(database_now(self._using))
        changed = {name: value for name, old in self._read.items() if (value := getattr(batch, name)) != old}
        Batch.objects.using(self._using).filter(pk=batch.pk).update(**changed)

    # Dependencies

    def settle(self, run_ids: Sequence[int]) -> None:
        """Count again what runs wait for, from what became of it; release or end those that wait for nothing.

        For runs whose dependencies may have ended before they were added, and after a retry.
        """
        self.note_ends([run for ids in _cut(run_ids) for run in self._settle(ids)])

    def _settle(self, run_ids: Sequence[int]) -> list[Ended]:
        after = self._dependencies_of(run_ids)
        ends = self._ends({pk for ids in after.values() for pk in ids})
        waiting = self._waiting(run_ids)
        causes: dict[int, list[int]] = defaultdict(list)
        for dependent in Dependent.objects.using(self._using).filter(pk__in=waiting):
            ids = after.get(dependent.run_id, ())
            failed = next((pk for pk in ids if pk in ends and ends[pk].status in self.batch.failures), None)
            left = sum(pk not in ends for pk in ids)
            if left != dependent.waits:
                Dependent.objects.using(self._using).filter(pk=dependent.run_id).update(waits=left)
            if failed is not None and dependent.after_failure != "run":
                causes[failed].append(dependent.run_id)
            elif not left:
                self._release([dependent.run_id])
        return self._end_waiting(causes, ends)

    def _follow(self, ended: Sequence[Ended]) -> list[Ended]:
        """Have what waits for ended runs wait for less; return the runs that end with them."""
        further: list[Ended] = []
        for part in _cut(ended):
            ends = {run.run_id: run for run in part}
            edges = Dependency.objects.using(self._using).filter(after_id__in=list(ends))
            by_run: dict[int, list[int]] = defaultdict(list)
            for run_id, after_id in edges.values_list("run_id", "after_id"):
                by_run[run_id].append(after_id)
            for run_ids in _cut(list(by_run)):
                further += self._follow_to(run_ids, by_run, ends)
        return further

    def _follow_to(
        self, run_ids: Sequence[int], after: dict[int, list[int]], ends: dict[int, Ended]
    ) -> list[Ended]:
        causes: dict[int, list[int]] = defaultdict(list)
        free: list[int] = []
        fewer: dict[int, list[int]] = defaultdict(list)
        for dependent in Dependent.objects.using(self._using).filter(pk__in=run_ids):
            ids = after[dependent.run_id]
            fewer[len(ids)].append(dependent.run_id)
            failed = next((pk for pk in ids if ends[pk].status in self.batch.failures), None)
            if failed is not None and dependent.after_failure != "run":
                causes[failed].append(dependent.run_id)
            elif dependent.waits <= len(ids):
                free.append(dependent.run_id)
        for count, ids in fewer.items():
            Dependent.objects.using(self._using).filter(pk__in=ids).update(waits=F("waits") - count)
        self._release(free)
        return self._end_waiting(causes, ends)

    def _release(self, run_ids: Sequence[int]) -> None:
        # Those of a cancelled batch are about to be cancelled.
        if run_ids and self.batch.cancelled_at is None:
            waits.end_waits(Q(pk__in=run_ids, waits_for=Wait.DEPENDENCY), using=self._using)

    def _end_waiting(self, causes: dict[int, list[int]], ends: dict[int, Ended]) -> list[Ended]:
        """End runs for the failures of others: ids by the run that failed."""
        if not causes:
            return []
        names = dict(Run.objects.using(self._using).filter(pk__in=list(causes)).values_list("pk", "name"))
        ended: list[Ended] = []
        for cause, run_ids in causes.items():
            reason = _reason(ends[cause], names.get(cause, ""))
            dependents = Dependent.objects.using(self._using).filter(pk__in=run_ids)
            skipped = set(dependents.filter(after_failure="skip").values_list("pk", flat=True))
            for status, ids in (
                (Status.SKIPPED, [pk for pk in run_ids if pk in skipped]),
                (Status.CANCELLED, [pk for pk in run_ids if pk not in skipped]),
            ):
                if not ids:
                    continue
                runs = Run.objects.using(self._using).ready().filter(pk__in=ids, waits_for=Wait.DEPENDENCY)
                # Not told of these ends by their mark: they are counted here.
                found = transitions.end_waiting(runs, status, reason, told=MARK, using=self._using)
                dependents.filter(pk__in=[run.run_id for run in found]).update(ended_by=cause)
                ended += found
        return ended

    def _dependencies_of(self, run_ids: Sequence[int]) -> dict[int, list[int]]:
        after: dict[int, list[int]] = defaultdict(list)
        edges = Dependency.objects.using(self._using).filter(run_id__in=run_ids)
        for run_id, after_id in edges.values_list("run_id", "after_id"):
            after[run_id].append(after_id)
        return after

    def _ends(self, run_ids: Iterable[int]) -> dict[int, Ended]:
        """Return what became of those of some runs that have ended; one that was deleted was successful."""
        ids = sorted(run_ids)
        ends: dict[int, Ended] = {}
        for part in _cut(ids):
            rows = Run.objects.using(self._using).filter(pk__in=part)
            found = {pk: (status, error) for pk, status, error in rows.values_list("pk", "status", "error")}
            for pk in part:
                status, error = found.get(pk, (Status.SUCCESSFUL, ""))
                if status in FINISHED:
                    ends[pk] = Ended(pk, str(status), {}, error)
        return ends

    def _waiting(self, run_ids: Sequence[int]) -> list[int]:
        runs = Run.objects.using(self._using).ready().filter(pk__in=run_ids, waits_for=Wait.DEPENDENCY)
        return list(runs.values_list("pk", flat=True))

    # The end

    def _end(self, now: datetime) -> None:
        batch = self.batch
        batch.ended_at = now
        bad = [status for status in batch.failures if getattr(batch, str(status).lower())]
        if not bad:
            batch.status = Status.SUCCESSFUL
        else:
            batch.status = Status.CANCELLED if batch.cancelled_at is not None else Status.FAILED
        self._add_jobs("end", "failure" if bad else "success")
        transaction.on_commit(lambda: notifications.notify_local(notifications.FINISHED), using=self._using)

    def _add_jobs(self, *words: str) -> None:
        """Add the jobs that are wanted at this end, each once in the life of the batch."""
        batch = self.batch
        added = dict(batch.callback_jobs or {})
        calls = [(word, (batch.callbacks or {}).get(word)) for word in words if word not in added]
        runs = [NewRun(**call, job_id=uuid.uuid4().hex) for word, call in calls if call]
        if not runs:
            return
        added.update(zip((word for word, call in calls if call), (run.job_id for run in runs), strict=True))
        batch.callback_jobs = added
        enqueue.insert(runs, using=self._using)
        notifications.notify(notifications.RUNS, using=self._using)


def _reason(cause: Ended, name: str) -> str:
    why = f": {cause.error[:MOST_QUOTED]}" if cause.error else ""
    return f"{DEPENDENCY_FAILED}: run {cause.run_id} ({name}), which it waits for, is {cause.status}{why}"


def _cut(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), ROWS):
        yield items[start : start + ROWS]
