"""The jobs that fire next, and where their firings lie on a line of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django_jobs import triggers
from django_jobs.admin.shared import charts
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, jobs_database

# Jobs that are shown.
JOBS = 5
# What fires again within this time is counted, and not shown: it would leave no room for the rest.
FREQUENT = timedelta(minutes=5)
# Jobs that are looked at, the next ones first.
SOON = 200
# A clock fires within this time, unless something is wrong.
LATE = timedelta(seconds=30)
# How much time a line shows, and the most marks on it: what fires more often fills it.
LENGTH, MARKS = timedelta(days=1), 60


@dataclass(frozen=True, slots=True)
class Line:
    """One job: its next firing, and where its firings lie on the line."""

    job: Job
    schedule: str
    next_at: datetime
    is_late: bool
    marks: list[float]
    # Too many marks to be told apart.
    is_full: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """The jobs that fire next, the first one first, and how many more fire all the time."""

    begins_at: datetime
    ends_at: datetime
    lines: list[Line]
    frequent: int


def timeline(now: datetime) -> Timeline:
    """Return what fires next, with one query, or two where hundreds of jobs fire all the time."""
    jobs: Any = Job.objects.using(jobs_database()).active().order_by("next_run_time", "pk")
    jobs = jobs.only("pk", "name", "func", "next_run_time", "job_state")
    found = list(jobs[:SOON])
    lines: list[Line] = []
    frequent = 0
    for job in found:
        if is_frequent(job):
            frequent += 1
        elif len(lines) < JOBS:
            lines.append(_line(job, now))
    if len(lines) < JOBS and len(found) == SOON:
        # What fires all the time does so before then.
        behind = max(now + FREQUENT, found[-1].next_run_time)
        lines += [_line(job, now) for job in jobs.filter(next_run_time__gt=behind)[: JOBS - len(lines)]]
    return Timeline(now, now + LENGTH, lines, frequent)


def is_frequent(job: Job) -> bool:
    """Return whether a job fires again within `FREQUENT` of its next firing."""
    try:
        following = triggers.following(triggers.loads(job.job_state), job.next_run_time)
    except UnknownTrigger:
        return False
    return following is not None and following - job.next_run_time <= FREQUENT


def _line(job: Job, now: datetime) -> Line:
    ends_at = now + LENGTH
    moments: list[datetime] = [job.next_run_time]
    schedule = ""
    try:
        trigger = triggers.loads(job.job_state)
        schedule = triggers.describe(trigger)
        while len(moments) <= MARKS and moments[-1] <= ends_at:
            following = triggers.following(trigger, max(now, moments[-1]))
            if following is None:
                break
            moments.append(following)
    except UnknownTrigger:
        # Its page says so once a clock has looked at it; until then it fires next.
        pass
    is_late = job.next_run_time < now - LATE
    is_full = len(moments) > MARKS and moments[-1] <= ends_at
    return Line(job, schedule, job.next_run_time, is_late, charts.marks(moments, now, ends_at), is_full)
