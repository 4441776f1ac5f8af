"""Jobs whose rows cannot be read, and next runs that their triggers would not give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs import codec, triggers
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import Job

if TYPE_CHECKING:
    from datetime import datetime

    from apscheduler.triggers.base import BaseTrigger

# Jobs that are looked at for a next run that is too late: what a clock that ran ahead leaves is the latest.
MOST_STRAYS = 50
# Jobs whose next run is looked at when a clock starts, the nearest first.
MOST_NEXT = 200


def read_trigger(row: Job) -> BaseTrigger:
    """Return a job's trigger, if the row can be read and is ours.

    Raises:
        UnknownTrigger: The trigger cannot be read.
        BadPayload: The row is signed with another key, or was tampered with.
    """
    codec.verify(row.func, row.payload, row.signature)
    return triggers.loads(row.job_state)


def next_run_time(row: Job, now: datetime) -> datetime | None:
    """Return when a job that goes on as it was fires next: as stored, unless its trigger would not give that.

    A pause, and a next run that a person chose, stay.
    """
    stored: datetime | None = row.next_run_time
    if stored is None or row.has_chosen_next_run:
        return stored
    try:
        trigger = read_trigger(row)
    except (UnknownTrigger, BadPayload):
        return stored
    return triggers.first(trigger, now) if triggers.strays(trigger, stored, now) else stored


def strays(using: str, now: datetime) -> list[str]:
    """Return the ids of jobs whose next run is later than their trigger gives it, among the latest ones."""
    # The index has next runs only; who paused or broke a job says it elsewhere.
    latest = Job.objects.using(using).filter(next_run_time__gt=now).order_by("-next_run_time")[:MOST_STRAYS]
    return [row.id for row in latest if next_run_time(row, now) != row.next_run_time]


def mend_moved(using: str, now: datetime) -> list[str]:
    """Move the next runs that rules of time zones put earlier since they were stored; return the jobs' ids.

    A process that starts may have newer rules than the one that stored a next run. What they put later is
    seen when it is due.

    Args:
        using: Alias of the database.
        now: By the database's clock.
    """
    waiting = Job.objects.using(using).active().filter(next_run_time__gt=now)
    mended = []
    for row in waiting.order_by("next_run_time")[:MOST_NEXT]:
        right = None if row.has_chosen_next_run else _moved_from(row, now)
        if right is None:
            continue
        # Only if nobody moved or paused it meanwhile.
        if waiting.filter(pk=row.pk, next_run_time=row.next_run_time).update(next_run_time=right):
            mended.append(row.pk)
    return mended


def _moved_from(row: Job, now: datetime) -> datetime | None:
    try:
        return triggers.moved_from(read_trigger(row), row.next_run_time, now)
    except Exception:  # noqa: BLE001 - what is broken is set aside with its reason when it is due
        return None


def mend_broken(using: str) -> list[str]:
    """Let broken jobs fire again that this process can read; return their ids."""
    mended = []
    for row in Job.objects.using(using).broken():
        try:
            read_trigger(row)
        except (UnknownTrigger, BadPayload):
            continue
        Job.objects.using(using).filter(pk=row.pk).update(broken_reason="")
        mended.append(row.id)
    return mended
