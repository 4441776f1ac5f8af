"""Jobs whose rows cannot be read: found, set aside with a reason, and tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs import codec, triggers
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import Job

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


def read_trigger(row: Job) -> BaseTrigger:
    """Return a job's trigger, if the row can be read and is ours.

    Raises:
        UnknownTrigger: The trigger cannot be read.
        BadPayload: The row is signed with another key, or was tampered with.
    """
    codec.verify(row.func, row.payload, row.signature)
    return triggers.loads(row.job_state)


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
