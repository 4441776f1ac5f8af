"""The window of a scheduled run: from the scheduled time before it to its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django.db import connections

from django_jobs import triggers
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import Job, jobs_database
from django_jobs.scheduler.broken import read_trigger

if TYPE_CHECKING:
    from datetime import datetime


def previous_scheduled_at(job_id: str, scheduled_at: datetime) -> datetime | None:
    """Return the time before `scheduled_at` on a job's schedule; None without one.

    Also from a coroutine: Django forbids queries on the thread of an event loop, so another one asks.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _previous(job_id, scheduled_at)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_on_own_thread, job_id, scheduled_at).result()


def _on_own_thread(job_id: str, scheduled_at: datetime) -> datetime | None:
    try:
        return _previous(job_id, scheduled_at)
    finally:
        connections.close_all()


def _previous(job_id: str, scheduled_at: datetime) -> datetime | None:
    row = Job.objects.using(jobs_database()).filter(pk=job_id).first()
    if row is None:
        return None
    try:
        return triggers.previous(read_trigger(row), scheduled_at)
    except (UnknownTrigger, BadPayload):
        # A broken job has no schedule to be asked.
        return None
