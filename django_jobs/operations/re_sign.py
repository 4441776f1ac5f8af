"""Sign anew what was signed with another SECRET_KEY, when an operator says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q

from django_jobs import codec
from django_jobs.exceptions import BadPayload
from django_jobs.models import Job, Run, jobs_database
from django_jobs.scheduler.broken import mend_broken
from django_jobs.storage import notifications, transactions, transitions

if TYPE_CHECKING:
    from collections.abc import Sequence


def _is_foreign(call: Job | Run) -> bool:
    try:
        codec.verify(call.func, call.payload, call.signature)
    except BadPayload:
        return True
    return False


def foreign() -> tuple[list[Job], list[Run]]:
    """Return the jobs, and the unfinished runs, whose signature is not of this process's keys."""
    using = jobs_database()
    jobs = [job for job in Job.objects.using(using).order_by("pk") if _is_foreign(job)]
    runs = [run for run in Run.objects.using(using).ready().order_by("pk").iterator() if _is_foreign(run)]
    return jobs, runs


def of_fallbacks() -> tuple[list[Job], list[Run]]:
    """Return the jobs, and the unfinished runs, whose signature is of a key in SECRET_KEY_FALLBACKS.

    They run, until that key is taken away.
    """
    using = jobs_database()
    jobs = [job for job in Job.objects.using(using).order_by("pk") if _is_of_fallback(job)]
    runs = Run.objects.using(using).unfinished().order_by("pk").iterator()
    return jobs, [run for run in runs if _is_of_fallback(run)]


def _is_of_fallback(call: Job | Run) -> bool:
    return call.signature != codec.sign(call.func, call.payload) and not _is_foreign(call)


def sign(jobs: Sequence[Job], runs: Sequence[Run], *, release: bool = True) -> None:
    """Sign jobs and runs with the present key, and let them run, unless `release` is False."""
    using = jobs_database()
    with transaction.atomic(using=using):
        for model, calls in ((Job, jobs), (Run, runs)):
            for call in calls:
                model.objects.using(using).filter(pk=call.pk, payload=call.payload, func=call.func).update(
                    signature=codec.sign(call.func, call.payload)
                )
        if not release:
            return
        # Those that nobody tried yet are not held, and those that are paused stay so.
        held = [run.pk for run in runs if run.state == "broken"]
        for start in range(0, len(held), transactions.BATCH):
            transitions.unhold(Q(pk__in=held[start : start + transactions.BATCH]), using=using)
        mend_broken(using)
        notifications.notify(notifications.JOBS, using=using)
        notifications.notify(notifications.RUNS, using=using)
