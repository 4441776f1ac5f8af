"""The jobs that fire next, and where their firings lie on a line of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_jobs import triggers
from django_jobs.admin.shared import charts
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, jobs_database

if TYPE_CHECKING:
    from collections.abc import Sequence

# Jobs that are shown.
JOBS = 12
# A clock fires within this time, unless something is wrong.
LATE = timedelta(seconds=30)
# Marks on one job's line: of what fires more often, the line is full anyway.
MARKS = 120
# How much time the picture may show.
LENGTHS = [
    timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7),
    timedelta(days=30), timedelta(days=366),
]  # fmt: skip
# The picture shows what the most jobs do, rather than everything of a job that fires in a year.
SHOWN = 0.75


@dataclass(frozen=True, slots=True)
class Line:
    """One job: its next firing, and where its firings lie on the line."""

    job: Job
    schedule: str
    next_at: datetime
    is_late: bool
    marks: list[float]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The jobs that fire next, the first one first."""

    begins_at: datetime
    ends_at: datetime
    lines: list[Line]


def timeline(now: datetime) -> Timeline:
    """Return what fires next, with one query whatever number of jobs there is."""
    jobs: Any = Job.objects.using(jobs_database()).active()
    next_jobs = list(
        jobs.order_by("next_run_time", "pk").only("pk", "name", "func", "next_run_time", "job_state")[:JOBS]
    )
    ends_at = now + _length([job.next_run_time - now for job in next_jobs])
    return Timeline(now, ends_at, [_line(job, now, ends_at) for job in next_jobs])


def _length(waits: Sequence[timedelta]) -> timedelta:
    shown = sorted(waits)[: max(1, round(len(waits) * SHOWN))]
    longest = shown[-1] if shown else timedelta()
    return next((length for length in LENGTHS if longest <= length * 0.9), LENGTHS[-1])


def _line(job: Job, now: datetime, ends_at: datetime) -> Line:
    moments = [job.next_run_time]
    schedule = ""
    try:
        trigger = triggers.loads(job.job_state)
        schedule = triggers.describe(trigger)
        while len(moments) < MARKS and moments[-1] <= ends_at:
            # As APScheduler asks: what follows a firing, asked at that time.
            last = triggers.local(trigger, moments[-1])
            following = trigger.get_next_fire_time(last, max(now, last))
            if following is None or following.astimezone(UTC) <= moments[-1]:
                break
            moments.append(following.astimezone(UTC))
    except UnknownTrigger:
        # Its page says so once a clock has looked at it; until then it fires next.
        pass
    is_late = job.next_run_time < now - LATE
    return Line(job, schedule, job.next_run_time, is_late, charts.marks(moments, now, ends_at))
