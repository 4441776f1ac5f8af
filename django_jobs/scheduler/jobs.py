"""The rows of jobs with a schedule: add or declare, pause, resume, cancel."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.utils import timezone

from django_jobs import signals, triggers
from django_jobs.exceptions import BadPayload, ConflictingIdError, UnknownTrigger
from django_jobs.execution import instrumentation
from django_jobs.models import Job, Kind, Run, Status
from django_jobs.registry.call_spec import CALL_COLUMNS, columns_of
from django_jobs.registry.options import UNSET, JobOptions
from django_jobs.scheduler.broken import next_run_time, read_trigger
from django_jobs.scheduler.occurrences import database_time, occurrence_run
from django_jobs.storage import enqueue, notifications, statistics, transactions
from django_jobs.storage.conflicts import insert_if_free, refuse_equal, resolve_conflict
from django_jobs.storage.records import lasting

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.storage.records import NewRun


def add(
    run: NewRun,
    options: JobOptions,
    trigger: BaseTrigger,
    kind: Kind,
    *,
    max_instances: int,
    is_named: bool,
    using: str,
) -> bool:
    """Write the row of a job, and tell clocks of it; return whether it is new.

    Args:
        run: As the job's firings are to be.
        options: As `new_run` returns them.
        trigger: When it fires.
        kind: SCHEDULED or RECURRING; of the latter, one of the same id is updated.
        max_instances: The call's own; `UNSET` leaves it to the options.
        is_named: Whether the caller chose the id.
        using: Alias of the database.

    Raises:
        ConflictingIdError: A job of this id is unfinished, and `on_conflict` is "raise". That is the
            default, but where one recurring job takes the place of another.
        ValueError: `max_instances` is out of range.
    """
    # The firings of others have nothing to do with who added them.
    with (
        instrumentation.adding([run])
        if kind is Kind.SCHEDULED and instrumentation.installed
        else nullcontext()
    ):
        row = _row(run, options, trigger, kind, max_instances)
        row.occurrences_since = database_time(using)
        with transaction.atomic(using=using):
            is_new: bool | None = True
            if not is_named:
                row.save(using=using, force_insert=True)
            elif kind is Kind.RECURRING:
                is_new = _declare(row, options, using)
                if is_new is None:
                    return False
            elif not insert_if_free(
                row.id, options, lambda: row.save(using=using, force_insert=True), using=using
            ):
                return False
            notifications.notify(notifications.JOBS, using=using)
            signal = signals.job_added if is_new else signals.job_changed
            transaction.on_commit(lambda: signals.emit(signal, job_id=run.job_id), using=using)
    return bool(is_new)


def _row(run: NewRun, options: JobOptions, trigger: BaseTrigger, kind: Kind, max_instances: int) -> Job:
    # An argument of the call is nearer than `using()`.
    instances = options.max_instances if max_instances is UNSET else max_instances
    if instances is not None:
        JobOptions(max_instances=instances).validate()
    return Job(
        **columns_of(run) | {"options": lasting(run.options)},
        id=run.job_id,
        kind=kind.value,
        job_state=triggers.dumps(trigger),
        next_run_time=triggers.first(trigger, datetime.now(UTC)),
        max_instances=instances or 1,
        coalesce=options.coalesce is not False,
        misfire_grace_time=options.misfire_grace_time,
    )


def _declare(row: Job, options: JobOptions, using: str) -> bool | None:
    """Insert or update a recurring job; return whether it is new, None where the one that is there is kept."""
    columns = (*CALL_COLUMNS, "kind", "job_state", "max_instances", "coalesce", "misfire_grace_time")
    for _attempt in range(3):
        old = Job.objects.using(using).select_for_update().filter(pk=row.pk).first()
        if old is None or old.kind != Kind.RECURRING:
            if not _may_take_id(row.id, options, is_pending=old is not None, using=using):
                return None
            try:
                with transaction.atomic(using=using):
                    row.save(using=using, force_insert=True)
            except IntegrityError:
                # Another process declares it at the same time: update what it wrote.
                continue
            return True
        refuse_equal(row.id, old.pk)
        if options.on_conflict == "skip":
            return None
        if options.on_conflict == "raise":
            raise ConflictingIdError(row.id)
        overrides = {}
        if triggers.same(old.job_state, row.job_state):
            # The old one goes on as it was, with its start and its next run.
            row.job_state = old.job_state
            row.next_run_time = next_run_time(old, transactions.database_now(using))
            if old.has_chosen_next_run:
                overrides["next_run_time"] = old.overrides["next_run_time"]
        elif old.paused_at is not None:
            row.next_run_time = None
        for column in columns:
            setattr(old, column, getattr(row, column))
        old.next_run_time = row.next_run_time
        old.broken_reason = ""
        # Added from now on, not declared: the nearer word.
        old.declared, old.overrides = None, overrides
        old.save(using=using)
        return False
    raise ConflictingIdError(row.id)


def _may_take_id(job_id: str, options: JobOptions, *, is_pending: bool, using: str) -> bool:
    """Apply `on_conflict` where what runs once has the id; return whether a recurring job may take it.

    Raises:
        ConflictingIdError: It may not, and `on_conflict` is not "skip".
    """
    # Unfinished runs of a recurring job that was removed are in nobody's way.
    once = Run.objects.using(using).unfinished().filter(job_id=job_id).exclude(kind=Kind.RECURRING)
    return not (is_pending or once.exists()) or resolve_conflict(job_id, options, using=using)


def pause(job_id: str, by: str, *, using: str) -> bool:
    """Keep a job from firing; return whether there is one."""
    jobs = Job.objects.using(using).filter(pk=job_id)
    paused = jobs.filter(next_run_time__isnull=False).update(
        next_run_time=None, paused_at=timezone.now(), paused_by=by[:255]
    )
    return bool(paused) or jobs.exists()


def resume(row: Job, *, using: str) -> None:
    """Have a job fire again, with its next time from now; look again at a broken one."""
    jobs = Job.objects.using(using).filter(pk=row.pk)
    try:
        trigger = read_trigger(row)
    except (UnknownTrigger, BadPayload) as error:
        jobs.update(broken_reason=str(error))
        return
    following = row.next_run_time or triggers.first(trigger, transactions.database_now(using))
    if following is None:
        # As for APScheduler: a job that will never fire again has ended.
        jobs.delete()
    else:
        jobs.update(paused_at=None, paused_by="", broken_reason="", next_run_time=following)


def cancel_scheduled(job_id: str, *, using: str) -> bool:
    """Replace a scheduled job by a cancelled run; return whether there was one."""
    row = Job.objects.using(using).filter(pk=job_id, kind=Kind.SCHEDULED).first()
    if row is None:
        return False
    run = occurrence_run(row, None)
    run.status = Status.CANCELLED.value
    runs = [(run_id, run.options) for run_id in enqueue.insert([run], using=using)]
    row.delete(using=using)

    def tell() -> None:
        statistics.note_ended([(run.func, run.queue_name, run.status)], using=using)
        signals.emit(signals.runs_cancelled, runs=runs, reason="")
        signals.emit(signals.job_removed, job_id=job_id)

    transaction.on_commit(tell, using=using)
    return True


def tell_of_change(job_id: str, *, using: str) -> None:
    """Say that a job was changed, when that is committed."""
    transaction.on_commit(lambda: signals.emit(signals.job_changed, job_id=job_id), using=using)
