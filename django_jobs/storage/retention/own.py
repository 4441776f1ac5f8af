"""What becomes of single runs after their end, by their own options: how long they are kept, and their arguments."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from django_jobs.codec import REMOVED
from django_jobs.models import FINISHED, Run, Status
from django_jobs.storage.batch_locks import MARK
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_jobs.models import RunQuerySet
    from django_jobs.storage.endings import Ended

KEEP, KEEP_ARGUMENTS = "keep", "keep_arguments"


def note_ended(runs: Sequence[Ended], *, using: str) -> None:
    """Note until when runs that ended are kept, in the transaction of their ends; see `endings.when_ended`."""
    kept: dict[float, list[int]] = defaultdict(list)
    for run in runs:
        # One of a batch goes with that.
        if run.status in FINISHED and MARK not in run.options:
            kept[run.options[KEEP]].append(run.run_id)
    now = database_now(using) if kept else None
    for seconds, ids in kept.items():
        assert now is not None  # noqa: S101 - for type checkers
        _rows(ids, using).update(keep_until=now + timedelta(seconds=seconds))


def note_reopened(runs: Sequence[Ended], *, using: str) -> None:
    """Keep runs that wait again until they have ended."""
    _rows([run.run_id for run in runs], using).update(keep_until=None)


def remove_arguments(runs: Sequence[Ended], *, using: str) -> None:
    """Remove the arguments of runs that were SUCCESSFUL, in the transaction of their ends."""
    ids = [run.run_id for run in runs if run.status == Status.SUCCESSFUL]
    if ids:
        _rows(ids, using).update(payload=REMOVED, signature="")


def _rows(ids: Iterable[int], using: str) -> RunQuerySet:
    return Run.objects.using(using).filter(pk__in=list(ids))
