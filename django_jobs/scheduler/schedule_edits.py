"""What a person changes of a job, and the way back to what its code declares.

A declared job remembers which of its values a person chose. A deploy changes the others only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q

from django_jobs import signals, triggers
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import Job, Kind, jobs_database
from django_jobs.registry.options import JobOptions
from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import to_json as retry_to_json
from django_jobs.scheduler.broken import read_trigger
from django_jobs.scheduler.declarations import POLICY, retry_of, with_retry
from django_jobs.scheduler.declared_jobs import follow
from django_jobs.storage import notifications, transactions, transitions

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


class Unchanged:
    """What a job is left to have, where None is a value of its own."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED = Unchanged()


def edit(
    job_id: str,
    *,
    trigger: BaseTrigger | None = None,
    next_run_time: datetime | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
    max_instances: int | None = None,
    retry: Retry | Unchanged | None = UNCHANGED,
    using: str | None = None,
) -> bool:
    """Change a scheduled or recurring job; of a declared one, for all deploys to come.

    What is not given stays. What is changed to what the declaration says is an override no more.

    Args:
        job_id: Of the job.
        trigger: As for `JobManager.add_job`; the next run follows from it, and a broken job is looked at
            again.
        next_run_time: When it fires next, aware; its trigger decides again after that.
        queue_name: 1 to 100 characters.
        priority: -100 to 100.
        max_instances: At least 1.
        retry: Of the runs to come; None never retries.
        using: Alias of the database; the jobs' one by default.

    Returns:
        False when there is no such job.

    Raises:
        ValueError: A value is out of range, `next_run_time` is naive, or it is given for a paused
            job, which has none.
    """
    JobOptions(queue_name=queue_name, priority=priority, max_instances=max_instances).validate()
    if trigger is not None:
        trigger = triggers.check(trigger)
    if next_run_time is not None:
        next_run_time = triggers.at(next_run_time).run_date.astimezone(UTC)
    chosen = {"queue_name": queue_name, "priority": priority, "max_instances": max_instances}
    using = using or jobs_database()
    with transactions.write_transaction(using):
        row = _locked(job_id, using)
        if row is None:
            return False
        if next_run_time is not None and row.paused_at is not None:
            raise ValueError(f"job {job_id!r} is paused, so it has no next run: resume it first")
        for name, value in chosen.items():
            if value is not None:
                setattr(row, name, value)
                _note(row, name, value)
        if not isinstance(retry, Unchanged):
            policy = None if retry is None else retry_to_json(retry)
            if row.declared is not None:
                # Not there yet where the version before declared it.
                row.declared.setdefault("retry", retry_of(row.options))
            row.options = with_retry(row.options, policy)
            _note(row, "retry", policy)
        if trigger is not None:
            _note(row, "trigger", triggers.rule(trigger))
            if not triggers.same(row.job_state, triggers.dumps(trigger)):
                row.overrides.pop("next_run_time", None)
                if row.declared is None:
                    once = triggers.is_once(trigger)
                    row.kind = Kind.SCHEDULED.value if once else Kind.RECURRING.value
                row.occurrences_since = transactions.database_now(using)
                follow(row, trigger, row.occurrences_since)
                _look_anew(row)
        if next_run_time is not None:
            row.next_run_time = next_run_time
            row.occurrences_since = transactions.database_now(using)
            # Of an added job, too: its next run is not held against its trigger then.
            row.overrides["next_run_time"] = next_run_time.isoformat()
        _save(row, using)
    return True


def reset(job_id: str, *, using: str | None = None) -> bool:
    """Make a declared job what its code declares: undo what a person changed, and a pause.

    Runs that were held with it may start.

    Returns:
        False when there is no such job, it is not declared, or none of it was changed.
    """
    using = using or jobs_database()
    with transactions.write_transaction(using):
        row = _locked(job_id, using)
        if row is None or row.declared is None or not row.overridden:
            return False
        for name in POLICY:
            setattr(row, name, row.declared[name])
        if "retry" in row.overrides:
            row.options = with_retry(row.options, row.declared["retry"])
        now = transactions.database_now(using)
        trigger = triggers.by_rule(row.declared["trigger"], now)
        is_same = triggers.same(row.job_state, triggers.dumps(trigger))
        if is_same:
            # An interval goes on counting from when it began.
            trigger = triggers.loads(row.job_state)
        has_other_time = not is_same or row.paused_at is not None or row.has_chosen_next_run
        row.overrides, row.paused_at, row.paused_by = {}, None, ""
        if has_other_time:
            follow(row, trigger, now)
        if transitions.unhold(Q(job_id=job_id), using=using):
            notifications.notify(notifications.RUNS, using=using)
        if row.next_run_time is None:
            # What the code declares has ended.
            row.delete(using=using)
            transaction.on_commit(lambda: signals.emit(signals.job_removed, job_id=job_id), using=using)
        else:
            _save(row, using)
    return True


def _look_anew(row: Job) -> None:
    """Let a broken job fire again, if its other trigger was what it needed."""
    if not row.broken_reason:
        return
    try:
        read_trigger(row)
        row.broken_reason = ""
    except (UnknownTrigger, BadPayload) as error:
        row.broken_reason = str(error)


def _locked(job_id: str, using: str) -> Job | None:
    return Job.objects.using(using).select_for_update().filter(pk=job_id).first()


def _note(row: Job, name: str, value: Any) -> None:
    if row.declared is None:
        return
    if row.declared.get(name) == value:
        row.overrides.pop(name, None)
    else:
        row.overrides[name] = value


def _save(row: Job, using: str) -> None:
    row.save(using=using)
    notifications.notify(notifications.JOBS, using=using)
    transaction.on_commit(lambda: signals.emit(signals.job_changed, job_id=row.pk), using=using)
