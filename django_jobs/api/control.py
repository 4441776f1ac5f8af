"""The manager's methods that change what is there: jobs, runs, queues and history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.db.models import Q

from django_jobs import signals
from django_jobs.api import enqueue, wait
from django_jobs.api.async_support import async_version, sync_safe
from django_jobs.exceptions import JobLookupError
from django_jobs.models import Job, Run, Wait, jobs_database
from django_jobs.registry.option_checks import checked_queue_name
from django_jobs.scheduler import jobs, overlaps, schedule_edits
from django_jobs.scheduler.backfill import Backfill, backfill
from django_jobs.scheduler.schedule_edits import UNCHANGED
from django_jobs.storage import notifications, queues, retention, transactions, transitions
from django_jobs.storage.conflicts import exact_id
from django_jobs.triggers.moments import check_aware
from django_jobs.worker import inline

if TYPE_CHECKING:
    from datetime import datetime

    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.registry.retry import Retry
    from django_jobs.scheduler.schedule_edits import Unchanged
    from django_jobs.storage.retention import Pruned


class JobControl:
    """Removes, pauses, resumes, runs, cancels, retries and edits jobs."""

    @sync_safe
    def remove_job(self, job_id: str) -> bool:
        """Remove a job: its schedule ends and waiting runs are cancelled; a running one finishes.

        Its history stays.

        Returns:
            False when nothing of this id was still to run.
        """
        using, job_id = jobs_database(), exact_id(job_id)
        with transactions.write_transaction(using):
            deleted, _ = Job.objects.using(using).filter(pk=job_id).delete()
            cancelled = transitions.cancel_waiting(Q(job_id=job_id), "removed", using=using)
            if deleted:
                notifications.notify(notifications.JOBS, using=using)
                transaction.on_commit(lambda: signals.emit(signals.job_removed, job_id=job_id), using=using)
        notifications.notify_local(notifications.FINISHED)
        return bool(deleted or cancelled)

    @sync_safe
    def pause_job(self, job_id: str, *, by: str = "") -> bool:
        """Keep a job from firing, and its waiting runs from starting, until `resume_job`.

        What runs goes on; if it is to be tried again, that waits as well.

        Args:
            job_id: Of the job.
            by: Who pauses it, for pages to show; at most 255 characters are kept.

        Returns:
            False when there is no such job, or none of it waits.
        """
        using, job_id = jobs_database(), exact_id(job_id)
        with transactions.write_transaction(using):
            is_there = jobs.pause(job_id, by, using=using)
            held = transitions.hold(Q(job_id=job_id), using=using)
            jobs.tell_of_change(job_id, using=using)
        return is_there or bool(held) or Run.objects.using(using).held().filter(job_id=job_id).exists()

    @sync_safe
    def resume_job(self, job_id: str) -> bool:
        """Undo `pause_job`: a recurring job goes on with its next time from now, waiting runs with theirs.

        What was due meanwhile runs now. A broken job or run is looked at again.

        Returns:
            False when there is no such job, or none of it waits.
        """
        using, job_id = jobs_database(), exact_id(job_id)
        with transactions.write_transaction(using):
            row = Job.objects.using(using).filter(pk=job_id).first()
            if row is not None:
                jobs.resume(row, using=using)
                notifications.notify(notifications.JOBS, using=using)
            released = transitions.unhold(Q(job_id=job_id), using=using)
            if row is not None and released:
                overlaps.let_through(job_id, row.max_instances, using=using)
            if released:
                enqueue.have_begin(Q(job_id=job_id), using=using)
            jobs.tell_of_change(job_id, using=using)
        return row is not None or bool(released)

    @sync_safe
    def run_job(self, job_id: str, *, as_of: datetime | None = None) -> str:
        """Run a job now, besides its schedule; a finished job runs once more.

        Args:
            job_id: Of the job.
            as_of: What the run finds as its `scheduled_at`, aware: to do the work of a certain time again.

        Returns:
            The job's id, to `wait` for.

        Raises:
            JobLookupError: There is no such job.
            ValueError: `as_of` is naive; or the job is of a batch, and waits for others of it; or its arguments
                were removed (`keep_arguments=False`).
        """
        if as_of is not None:
            check_aware("as_of", as_of)
        using, job_id = jobs_database(), exact_id(job_id)
        row = Job.objects.using(using).filter(pk=job_id).first()
        if row is not None:
            enqueue.insert_firing(row, as_of=as_of, using=using)
            return job_id
        last = wait.last_run(job_id, using=using)
        if last is None:
            raise JobLookupError(job_id)
        if last.waits_for == Wait.DEPENDENCY:
            raise ValueError(
                f"job {job_id!r} waits for others of its batch, and begins when they have ended: it cannot run before"
            )
        enqueue.insert_again(last, as_of=as_of, using=using)
        return job_id

    @sync_safe
    def backfill(self, job_id: str, start: datetime, end: datetime, *, dry_run: bool = False) -> Backfill:
        """Run a job for each scheduled time in the past that it has no run of, or a SKIPPED one.

        The runs come in the order of their times, `max_instances` at the same time, and each finds its time as
        `current_run().scheduled_at`. Firings that come meanwhile wait behind them. They are a batch, to wait for, to
        watch and to cancel. It can be called again, also after it was killed half-way: no time is run twice, and the
        batch takes the rest. Runs that were pruned count as none.

        Args:
            job_id: Of a recurring job, as its trigger is now.
            start: Of the first time, aware.
            end: The last time is not after it; aware, and not in the future.
            dry_run: Only count.

        Returns:
            How many scheduled times there are, how many of them got a run, and the id of the batch.

        Raises:
            JobLookupError: There is no such job.
            ValueError: One of the two is naive, `end` is in the future or before `start`, or there are more than
                10,000 times between them.
        """
        check_aware("start", start)
        check_aware("end", end)
        using = jobs_database()
        found = backfill(exact_id(job_id), start, end, dry_run=dry_run, using=using)
        if found.added and not dry_run:
            enqueue.have_begin(Q(job_id=job_id), using=using)
        return found

    @sync_safe
    def cancel_job(self, job_id: str) -> bool:
        """Cancel a job's unfinished runs; one that runs is asked to end, and decides when.

        A scheduled job that has not fired is cancelled with a run that says so. A recurring job
        goes on with its next firing.

        Returns:
            False when nothing of this id was unfinished.
        """
        using, job_id = jobs_database(), exact_id(job_id)
        with transactions.write_transaction(using):
            cancelled, asked = transitions.cancel(Q(job_id=job_id), using=using)
            cancelled += jobs.cancel_scheduled(job_id, using=using)
            if asked:
                notifications.notify(notifications.CANCELS, using=using)
        notifications.notify_local(notifications.FINISHED)
        return bool(cancelled or asked)

    @sync_safe
    def retry_job(self, job_id: str) -> bool:
        """Make a job's newest run, if it ended without success, READY again; its history goes on.

        Returns:
            False when there is no such run.
        """
        last = wait.last_run(exact_id(job_id), using=jobs_database())
        return last is not None and _retry(last.pk)

    @sync_safe
    def edit_job(
        self,
        job_id: str,
        *,
        trigger: BaseTrigger | None = None,
        next_run_time: datetime | None = None,
        queue_name: str | None = None,
        priority: int | None = None,
        max_instances: int | None = None,
        retry: Retry | Unchanged | None = UNCHANGED,
    ) -> bool:
        """Change a scheduled or recurring job as a person does: of a declared one, for all deploys to come.

        What is not given stays. A value that the declaration has as well is not an override any more.

        Args:
            job_id: Of the job.
            trigger: As for `add_job`; the next run follows from it, and a broken job is checked again.
            next_run_time: When it fires next, aware; its trigger decides again after that.
            queue_name: 1 to 100 characters.
            priority: -100 to 100.
            max_instances: At least 1.
            retry: Of the runs to come; None never retries.

        Returns:
            False when there is no such job.

        Raises:
            ValueError: A value is out of range, `next_run_time` is naive, or it is given for a paused
                job, which has none.
        """
        return schedule_edits.edit(
            exact_id(job_id),
            trigger=trigger,
            next_run_time=next_run_time,
            queue_name=queue_name,
            priority=priority,
            max_instances=max_instances,
            retry=retry,
        )

    @sync_safe
    def reset_job(self, job_id: str) -> bool:
        """Make a declared job what its code declares: undo what a person changed, and a pause.

        Runs that were held with it may start.

        Returns:
            False when there is no such job, it is not declared, or none of it was changed.
        """
        return schedule_edits.reset(exact_id(job_id))

    aremove_job = async_version(remove_job)
    apause_job = async_version(pause_job)
    aresume_job = async_version(resume_job)
    arun_job = async_version(run_job)
    abackfill = async_version(backfill)
    acancel_job = async_version(cancel_job)
    aretry_job = async_version(retry_job)
    aedit_job = async_version(edit_job)
    areset_job = async_version(reset_job)


class RunControl:
    """Retries and cancels single runs, pauses queues, and deletes history."""

    @sync_safe
    def retry_run(self, run_id: int) -> bool:
        """Make one run that ended without success READY again.

        Returns:
            False when there is no such run, or its job was added again meanwhile and is unfinished.
        """
        return _retry(run_id)

    @sync_safe
    def cancel_run(self, run_id: int) -> bool:
        """Cancel one run, as `cancel_job` does; its job goes on.

        Returns:
            False when there is no such run, or it has ended.
        """
        using = jobs_database()
        cancelled, asked = transitions.cancel(Q(pk=run_id), using=using)
        if asked:
            notifications.notify(notifications.CANCELS, using=using)
        notifications.notify_local(notifications.FINISHED)
        return bool(cancelled or asked)

    @sync_safe
    def pause_queue(
        self, name: str, *, until: datetime | None = None, reason: str = "", by: str = ""
    ) -> bool:
        """Have workers claim nothing more from a queue, until `resume_queue` or a time; what runs goes on.

        Args:
            name: Of the queue. One that is paused already is paused as said now.
            until: When it is served again, aware, by the database's clock; None for not by itself.
            reason: Why, for those who see that it is paused; at most 500 characters are kept.
            by: Who pauses it, for the same; at most 255 characters are kept.

        Returns:
            False when the queue was paused already.

        Raises:
            ValueError: No queue can have this name, or `until` is naive or in the past.
        """
        using = jobs_database()
        if until is not None:
            check_aware("until", until)
            if until <= transactions.database_now(using):
                raise ValueError(f"until must be in the future, not {until.isoformat()}")
        return queues.pause(checked_queue_name(name), until=until, by=by, reason=reason, using=using)

    @sync_safe
    def resume_queue(self, name: str) -> bool:
        """Undo `pause_queue`; what waits in a queue of Celery's is told to it again.

        Returns:
            False when the queue was not paused.

        Raises:
            ValueError: No queue can have this name.
        """
        using = jobs_database()
        is_resumed = queues.resume(checked_queue_name(name), using=using)
        if is_resumed:
            inline.execute_due_on_commit(Q(queue_name=name), using=using)
        return is_resumed

    @sync_safe
    def prune(
        self, *, keep_days: float | None, keep_runs_per_job: int | None, dry_run: bool = False
    ) -> Pruned:
        """Delete all history beyond some limits, in small batches.

        Only finished runs, and rows of workers that have ended. The newest run of a scheduled or recurring
        job is kept whatever its age, so that the job can show it. Safe to run beside anything else, also
        beside itself.

        Args:
            keep_days: Days since a run finished, or a worker ended; None for no limit.
            keep_runs_per_job: Runs of each job, the newest; None for no limit.
            dry_run: Only count.

        Raises:
            ValueError: A limit is negative, or no run of a job would be kept.
        """
        return retention.prune(keep_days=keep_days, keep_runs_per_job=keep_runs_per_job, dry_run=dry_run)

    aretry_run = async_version(retry_run)
    acancel_run = async_version(cancel_run)
    apause_queue = async_version(pause_queue)
    aresume_queue = async_version(resume_queue)
    aprune = async_version(prune)


def _retry(run_id: int) -> bool:
    using = jobs_database()
    try:
        with transaction.atomic(using=using):
            is_retried = transitions.retry(run_id, using=using)
    except IntegrityError:
        return False
    if is_retried:
        enqueue.have_begin(Q(pk=run_id), using=using)
    return is_retried
