"""Pause jobs whose runs keep failing: `pause_after_failures`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import transaction

from django_jobs.models import Job, Run, Status
from django_jobs.scheduler import jobs
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.endings import Ended

logger = logging.getLogger(__name__)


def runs_ended(ended: Sequence[Ended], *, using: str) -> None:
    """Pause the jobs whose last runs all FAILED, in the transaction that writes the last of them.

    What was cancelled or skipped does not count, neither as a failure nor as an end of the row. After it was
    resumed, one failure more pauses a job again, until a run succeeds.
    """
    failed = {one.run_id: one.options["pause_after_failures"] for one in ended if one.status == Status.FAILED}
    if not failed:
        return
    rows = Run.objects.using(using).filter(pk__in=list(failed)).values_list("pk", "job_id")
    most = {job_id: failed[pk] for pk, job_id in rows}
    locked = Job.objects.using(using).filter(pk__in=list(most)).order_by("pk").select_for_update()
    for row in list(locked):
        if row.next_run_time is not None and _has_failed(row.pk, most[row.pk], using):
            _pause(row.pk, most[row.pk], using)


def _has_failed(job_id: str, times: int, using: str) -> bool:
    attempted = Run.objects.using(using).filter(job_id=job_id, status__in=[Status.SUCCESSFUL, Status.FAILED])
    last = list(attempted.order_by("-pk").values_list("status", flat=True)[:times])
    return len(last) == times and set(last) == {Status.FAILED}


def _pause(job_id: str, times: int, using: str) -> None:
    reason = (
        f"pause_after_failures: {times} runs in a row failed"
        if times > 1
        else "pause_after_failures: a run failed"
    )
    jobs.pause(job_id, reason, using=using)
    jobs.tell_of_change(job_id, using=using)
    transaction.on_commit(
        lambda: logger.warning("job=%s paused: %s", printable(job_id), printable(reason)), using=using
    )
