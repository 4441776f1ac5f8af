"""Runs of a job that wait for the runs before it: `overlap="wait"`, "cancel_running", and backfills.

Such a run waits for its turn (`Wait.TURN`) and is in nobody's way. Whoever ends a run of the job lets the next
one through, in the same transaction, and so does each firing of the job. Both lock the job's row first, so two
of them never let one run too many through: the second counts what the first has let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from django_jobs.models import FINISHED, Job, Run, Wait
from django_jobs.storage import notifications, transitions, waits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.models import RunQuerySet
    from django_jobs.storage.endings import Ended
    from django_jobs.storage.records import NewRun

# Why runs are cancelled that a later one replaces.
REPLACED = "a later firing takes its place (overlap=cancel_running)"


def may_wait(overlap: str, waiting: int, *, coalesce: bool) -> bool:
    """Return whether a firing waits for its turn, rather than being skipped, where there is no room for it.

    Args:
        overlap: Of the job.
        waiting: How many of its runs wait already. Behind those of a backfill each firing waits.
        coalesce: Of the job: whether missed firings become one.
    """
    if overlap == "wait":
        return not (waiting and coalesce)
    return overlap == "cancel_running" or waiting > 0


def have_wait(run: NewRun) -> None:
    """Make a new run one that waits for its turn; `wait_for_turn` follows once it is inserted."""
    run.run_after = "held"
    # The mark by which its end lets the next one through.
    run.options = {"overlap": "wait", **(run.options or {})}


def wait_for_turn(run_ids: Sequence[int], *, using: str) -> None:
    """Have runs wait for their turn that were inserted as held, in the same transaction."""
    Run.objects.using(using).filter(pk__in=run_ids).update(waits_for=Wait.TURN)


def let_through(job_id: str, most: int, *, using: str) -> int:
    """Let the next runs of a job begin, in the transaction that has its row locked; return how many.

    Args:
        job_id: Of the job.
        most: How many of its runs may be unfinished besides those that wait.
        using: Alias of the database.
    """
    waiting = _waiting(job_id, using)
    busy = Run.objects.using(using).unfinished().filter(job_id=job_id).exclude(waits_for=Wait.TURN)
    room = most - busy.count()
    if room <= 0:
        return 0
    following = waiting.filter(held_run_after__isnull=True).order_by("scheduled_at", "pk")
    ids = list(following.values_list("pk", flat=True)[:room])
    return waits.end_waits(Q(pk__in=ids, waits_for=Wait.TURN), using=using) if ids else 0


def _waiting(job_id: str, using: str) -> RunQuerySet:
    return Run.objects.using(using).ready().filter(job_id=job_id, waits_for=Wait.TURN)


def runs_ended(ended: Sequence[Ended], *, using: str) -> None:
    """Let the next runs of the jobs through whose runs ended."""
    ids = [one.run_id for one in ended if one.status in FINISHED]
    if not ids:
        return
    job_ids = sorted(set(Run.objects.using(using).filter(pk__in=ids).values_list("job_id", flat=True)))
    # In one order, or two who end runs of the same jobs would wait for each other.
    rows = Job.objects.using(using).filter(pk__in=job_ids).order_by("pk").select_for_update()
    most = {row.pk: row.max_instances for row in rows}
    for job_id in job_ids:
        # Of a job that was removed nothing fires any more, so what waits goes one by one.
        let_through(job_id, most.get(job_id, 1), using=using)


def cancel_before_newest(job_id: str, *, using: str) -> None:
    """Cancel a job's runs before its newest, in a transaction of its own.

    Not in the one that inserts the newest: whoever ends a run locks that first, and the job then.
    """
    newest = Run.objects.using(using).unfinished().filter(job_id=job_id).order_by("-pk").first()
    if newest is None:
        return
    older = Q(job_id=job_id, pk__lt=newest.pk, scheduled_at__isnull=False)
    _, asked = transitions.cancel(older, REPLACED, using=using)
    if asked:
        notifications.notify(notifications.CANCELS, using=using)
