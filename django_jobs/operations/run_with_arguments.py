"""A run of a job besides its schedule, with other arguments than it is stored with; the job stays as it is."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from django_jobs import codec
from django_jobs.api.enqueue import insert_firing
from django_jobs.models import Run, jobs_database
from django_jobs.operations import retry_with_changes

if TYPE_CHECKING:
    from django_jobs.models import Job


def as_run(job: Job) -> Run:
    """Return a run of a job that is in no table, for what edits the arguments of runs."""
    return Run(
        job_id=job.pk, name=job.name, func=job.func, payload=job.payload, signature=job.signature,
        queue_name=job.queue_name, priority=job.priority, options=job.options, kind=job.kind,
    )  # fmt: skip


def enqueue(job: Job, payload: str) -> int | None:
    """Add a run of a job with other arguments, and have it begin; return its id, or None where it is refused.

    Args:
        job: As it is stored.
        payload: As `retry_with_changes.changed` returned it.

    Raises:
        BadPayload: The job's signature is not ours: its function is not signed again.
    """
    codec.verify(job.func, job.payload, job.signature)
    other = copy(job)
    other.payload, other.signature = payload, codec.sign(job.func, payload)
    other.options = retry_with_changes.options_with(job, payload) or None
    return insert_firing(other, using=jobs_database())
