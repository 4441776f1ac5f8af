"""Check-ins with Sentry's cron monitors: what a recurring job's schedule is, and how each run of it went."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.utils.text import slugify
from sentry_sdk.crons import capture_checkin

from django_jobs import triggers
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, jobs_database

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.storage.records import ClaimedRun, Outcome

# Sentry's limit.
MOST_CHARACTERS = 50
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_STATUSES = {"SUCCESSFUL": "ok", "SKIPPED": "ok"}


def begin(run: ClaimedRun) -> None:
    """Say that a run of a recurring job has begun, and when the next ones are expected."""
    if run.attempt > 1:
        # Still the same firing.
        return
    job = Job.objects.using(jobs_database()).filter(pk=run.job_id).first()
    if job is None:
        return
    try:
        trigger = triggers.loads(job.job_state)
    except UnknownTrigger:
        return
    capture_checkin(
        monitor_slug=slug(run.job_id),
        check_in_id=_id(run),
        status="in_progress",
        monitor_config=config(trigger, run.options.get("timeout")),  # type: ignore[arg-type] # of literals
    )


def end(run: ClaimedRun, outcome: Outcome) -> None:
    """Say how a run of a recurring job went."""
    capture_checkin(
        monitor_slug=slug(run.job_id),
        check_in_id=_id(run),
        status=_STATUSES.get(outcome.status, "error"),
        duration=(outcome.finished_at - outcome.started_at).total_seconds(),
    )


def _id(run: ClaimedRun) -> str:
    # The same in every process that has to do with the run. The signature is another one for each
    # SECRET_KEY: staging may count its runs as production does.
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{run.signature}:{run.id}").hex


def slug(job_id: str) -> str:
    """Return the monitor of a job: its id where that can be one, else what is made of it."""
    text = slugify(re.sub(r"[^\w-]+", "-", job_id))
    if text == job_id and len(text) <= MOST_CHARACTERS:
        return text
    digest = hashlib.sha256(job_id.encode()).hexdigest()[:8]
    return f"{text[: MOST_CHARACTERS - 9].strip('-_')}-{digest}".lstrip("-")


def config(trigger: BaseTrigger, timeout: float | None = None) -> dict[str, Any] | None:
    """Return when Sentry should expect runs; None where it cannot be told: then its own settings count."""
    schedule = _schedule(trigger)
    if schedule is None:
        return None
    told: dict[str, Any] = {"schedule": schedule, "timezone": str(trigger.timezone)}
    if timeout is not None:
        told["max_runtime"] = max(1, math.ceil(timeout / 60))
    return told


def _schedule(trigger: BaseTrigger) -> dict[str, Any] | None:
    match trigger:
        case IntervalTrigger():
            # Sentry knows nothing shorter than minutes.
            minutes = trigger.interval / timedelta(minutes=1)
            return (
                {"type": "interval", "value": math.ceil(minutes), "unit": "minute"} if minutes >= 1 else None
            )
        case CalendarIntervalTrigger():
            units = [(unit, getattr(trigger, f"{unit}s")) for unit in ("year", "month", "week", "day")]
            given = [(unit, count) for unit, count in units if count]
            if len(given) != 1:
                return None
            return {"type": "interval", "value": given[0][1], "unit": given[0][0]}
        case CronTrigger():
            expression = _crontab(trigger)
            return None if expression is None else {"type": "crontab", "value": expression}
    return None


def _crontab(trigger: CronTrigger) -> str | None:
    fields = {field.name: str(field) for field in trigger.fields}
    if (fields["second"], fields["year"], fields["week"]) != ("0", "*", "*"):
        return None
    weekdays = _weekdays(trigger)
    if weekdays != "*" and fields["day"] != "*":
        # APScheduler wants both to fit, crontab one of them.
        return None
    if re.search(r"[a-zA-Z]", fields["day"]):
        # "last", "2nd fri", "15W": plain crontab has no words for them.
        return None
    return " ".join([fields["minute"], fields["hour"], fields["day"], fields["month"], weekdays])


def _weekdays(trigger: CronTrigger) -> str:
    (field,) = (field for field in trigger.fields if field.name == "day_of_week")
    text = str(field)
    if re.search(r"/|-(sun|6)", text):
        # Steps begin on Monday here and on Sunday in crontab, where it ends no range either.
        week = (datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 8))  # the first is a Monday
        fitting = [_WEEKDAYS[day.weekday()] for day in week if field.get_next_value(day) == day.weekday()]
        return "*" if len(fitting) == len(_WEEKDAYS) else ",".join(fitting)
    # APScheduler's 0 is Monday, cron's is Sunday.
    return re.sub(r"\d", lambda digit: _WEEKDAYS[int(digit[0])], text)
