"""`JobManager`, the facade: add, look at and control jobs; `get_job_manager()` gives one per process."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from django_jobs import conf, signals, triggers
from django_jobs.api import enqueue, job_info, wait
from django_jobs.api.async_support import async_version, sync_safe
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import JobLookupError
from django_jobs.models import Job, Kind, Run, jobs_database
from django_jobs.registry import decorators
from django_jobs.registry.options import NO_OPTIONS, UNSET, JobOptions, lookup_id
from django_jobs.scheduler import jobs
from django_jobs.storage import conflicts, notifications, transactions, transitions
from django_jobs.storage.queues import set_paused
from django_jobs.worker.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime, timedelta, tzinfo

    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.api.enqueue import Func
    from django_jobs.registry.retry import Retry

# Every manager that a service may be started on; a child that is forked must forget those.
_roots: weakref.WeakSet[JobManager] = weakref.WeakSet()


class JobManager:
    """Adds jobs, looks at them and controls them; starts and stops the process's own worker.

    Every method may be called from any thread, and each has a twin named with a leading `a` for
    async code. What the calls raise they raise before anything is stored. Inside `atomic()` they
    are part of the caller's transaction, and workers hear of it when it commits.
    """

    def __init__(self) -> None:
        self._options: JobOptions = NO_OPTIONS
        self._root = self
        self._lock = threading.RLock()
        self._service: Service | None = None
        _roots.add(self)

    # Start and stop

    def start(self) -> None:
        """Start this process's clock and worker, unless they run; `AppConfig.ready` calls it in servers.

        Returns at once. The database is first touched in the background, when Django is ready, and
        waited for if it or its tables are not there yet.
        """
        self.start_after(0.0)

    def start_after(self, delay: float) -> None:
        """Start as `start` does, but leave the database alone for some seconds."""
        settings = jobs_settings()
        self.serve(Service(queues=settings.QUEUES, clock=settings.CLOCK, worker=settings.WORKER, delay=delay))

    def serve(self, service: Service) -> bool:
        """Start a service as this process's own, unless there is one.

        Returns:
            Whether it was started.
        """
        root = self._root
        with root._lock:
            if root._service is not None:
                return False
            root._service = service
            service.start()
            return True

    def shutdown(self, wait: bool = True) -> None:
        """Stop this process's clock and worker, losing nothing; may be called again, and before `start`.

        Args:
            wait: Let running work finish, for at most SHUTDOWN_SECONDS; what is left after that, or
                at once without waiting, is handed back to the queue without counting an attempt.
        """
        root = self._root
        with root._lock:
            service, root._service = root._service, None
        if service is not None:
            service.stop(None if wait else 0.0)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Start with an ASGI application of another framework, and shut down with it.

        As in `FastAPI(lifespan=get_job_manager().lifespan)`, or `async with manager.lifespan():` inside a
        lifespan of one's own. Where AUTOSTART is off, other processes do the work, and nothing is started.

        Args:
            app: The application, as frameworks pass it; not used.
        """
        if conf.autostart() is not False:
            self.start()
        try:
            yield
        finally:
            await self.ashutdown()

    @property
    def is_running(self) -> bool:
        """Whether `start` was called in this process, and `shutdown` was not since."""
        return self._root._service is not None

    @property
    def service(self) -> Service | None:
        """What works in this process, from `start` to `shutdown`."""
        return self._root._service

    def using(
        self,
        *,
        queue_name: str | None = None,
        priority: int | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        at_most_once: bool | None = None,
        expires: float | timedelta | None = None,
        max_instances: int | None = None,
        coalesce: bool | None = None,
        misfire_grace_time: int | None = None,
        sensitive: Iterable[str] | None = None,
        name: str | None = None,
        on_conflict: str | None = None,
    ) -> JobManager:
        """Return a view of this manager whose jobs are added with these options.

        They go before the function's own from `@job`; see `JobOptions` for each. Views can be
        chained, kept and shared.

        Raises:
            ValueError: An option is out of range; the message says which and what is allowed.
        """
        options = JobOptions(
            queue_name=queue_name,
            priority=priority,
            retry=retry,
            timeout=timeout,
            at_most_once=at_most_once,
            expires=expires,
            max_instances=max_instances,
            coalesce=coalesce,
            misfire_grace_time=misfire_grace_time,
            sensitive=None
            if sensitive is None
            else sensitive
            if isinstance(sensitive, str)
            else tuple(sensitive),
            name=name,
            on_conflict=on_conflict,
        )
        options.validate()
        view = JobManager.__new__(type(self))
        view._options = options.over(self._options)
        view._root = self._root
        return view

    # Adding

    @sync_safe
    def add_immediate_job(self, func: Func, /, *args: Any, job_id: str | None = None, **kwargs: Any) -> str:
        """Have a function called as soon as a worker is free.

        Args:
            func: A module-level function, or its "module:qualname".
            *args: For the function; what `django_jobs.codec` can store.
            job_id: At most 255 characters; a random one by default.
            **kwargs: For the function.

        Returns:
            The job's id. Outside a transaction the job is committed by now.

        Raises:
            ConflictingIdError: A job of this id is unfinished, and `on_conflict` is "raise".
            FunctionNotAllowed: The function is of a module that may not be called.
            TypeError: The arguments do not fit the function, or one cannot be stored.
            ValueError: The function cannot be found by name, or the id is too long.
        """
        using = jobs_database()
        run, options = enqueue.new_run(self._options, func, args, kwargs, job_id)
        if job_id is None:
            enqueue.insert(run, self._root._service, using=using)()
        else:
            enqueue.insert_under_its_id(run, options, self._root._service, using=using)
        return run.job_id

    @sync_safe
    def add_scheduled_job(
        self,
        func: Func,
        run_at: datetime | timedelta,
        /,
        *args: Any,
        job_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Have a function called once, at a time; a time in the past means now.

        Args:
            func: As for `add_immediate_job`.
            run_at: An aware datetime, or a timedelta from now.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            **kwargs: For the function.

        Raises:
            ValueError: `run_at` is naive; otherwise as `add_immediate_job`.
        """
        return self._add_job(func, triggers.at(run_at), args, kwargs, job_id, UNSET, Kind.SCHEDULED)

    @sync_safe
    def add_recurring_job(
        self,
        func: Func,
        interval_seconds: float | timedelta,
        /,
        *args: Any,
        job_id: str | None = None,
        max_instances: int = UNSET,
        **kwargs: Any,
    ) -> str:
        """Have a function called again and again; the first time after one interval.

        A recurring job is declared, not added: the same id updates it, and keeps its next run while
        the interval is the same, and its pause. With `on_conflict` "skip" the one that is there stays
        as it is, and "raise" refuses.

        Args:
            func: As for `add_immediate_job`.
            interval_seconds: More than 0.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            max_instances: Unfinished runs at the same time, over all processes; firings beyond are
                recorded as SKIPPED. It goes before `using` and `@job`.
            **kwargs: For the function.

        Raises:
            ValueError: The interval is not positive; otherwise as `add_immediate_job`.
        """
        trigger = triggers.interval(interval_seconds)
        return self._add_job(func, trigger, args, kwargs, job_id, max_instances, Kind.RECURRING)

    @sync_safe
    def add_cron_job(
        self,
        func: Func,
        expression: str,
        /,
        *args: Any,
        job_id: str | None = None,
        max_instances: int = UNSET,
        timezone: str | tzinfo | None = None,
        **kwargs: Any,
    ) -> str:
        """Have a function called by a crontab expression; declared as in `add_recurring_job`.

        Args:
            func: As for `add_immediate_job`.
            expression: Five fields as in crontab(5), where weekdays 0 and 7 are Sunday; or @daily
                and its like.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            max_instances: As for `add_recurring_job`.
            timezone: Whose wall clock the expression speaks of; CRON_TIME_ZONE, which is UTC by default.
            **kwargs: For the function.

        Raises:
            ValueError: The expression or the time zone is wrong, with the field and its range.
        """
        trigger = triggers.crontab(expression, timezone)
        return self._add_job(func, trigger, args, kwargs, job_id, max_instances, Kind.RECURRING)

    @sync_safe
    def add_job(
        self,
        func: Func,
        trigger: BaseTrigger,
        /,
        *args: Any,
        job_id: str | None = None,
        max_instances: int = UNSET,
        **kwargs: Any,
    ) -> str:
        """Have a function called by an APScheduler trigger.

        Args:
            func: As for `add_immediate_job`.
            trigger: Of APScheduler's date, interval, cron, calendar interval, and their And and Or.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            max_instances: As for `add_recurring_job`.
            **kwargs: For the function.

        Raises:
            ValueError: The trigger is of another class, or never fires.
        """
        trigger = triggers.check(trigger)
        kind = Kind.SCHEDULED if triggers.is_once(trigger) else Kind.RECURRING
        return self._add_job(func, trigger, args, kwargs, job_id, max_instances, kind)

    @sync_safe
    def add_many(self, jobs: Iterable[tuple[Any, ...]]) -> list[str]:
        """Add many immediate jobs, a few hundred to a statement; all of them or none.

        Args:
            jobs: Tuples of a function, its positional arguments (a list or tuple) and, if any, its
                keyword arguments (a dict).

        Returns:
            Their ids, in order.

        Raises:
            TypeError: As `add_immediate_job`, naming the position of the job in the list; so do all others.
        """
        runs = enqueue.new_runs(self._options, jobs)
        if runs:
            enqueue.insert_many(runs, self._root._service, using=jobs_database())
        return [run.job_id for run in runs]

    def _add_job(
        self,
        func: Func,
        trigger: BaseTrigger,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        job_id: str | None,
        max_instances: int,
        kind: Kind,
    ) -> str:
        run, options = enqueue.new_run(self._options, func, args, kwargs, job_id)
        jobs.add(
            run, options, trigger, kind, max_instances=max_instances, is_named=job_id is not None,
            using=jobs_database(),
        )  # fmt: skip
        return run.job_id

    # Looking

    @sync_safe
    def get_job(self, job_id: str) -> job_info.JobInfo | None:
        """Return a job that is scheduled, queued, running, or finished while history keeps it.

        Returns:
            A plain dict that `JsonResponse` can send, shaped as `django_jobs.api.job_info.JobSnapshot`;
            None when there is no such job.
        """
        return job_info.one(_exact_id(job_id), using=jobs_database())

    @sync_safe
    def get_jobs(self) -> list[job_info.JobInfo]:
        """Return what is still to run: scheduled and recurring jobs, then queued and running ones."""
        return job_info.unfinished(using=jobs_database())

    @sync_safe
    def wait(self, job_id: str, timeout: float | None = None) -> Any:
        """Wait for a job's newest run to end, and return what its function returned.

        A scheduled job is waited for until it has fired, also where an earlier job had its id. A firing
        that was skipped beside a run that goes on is not the job's end: that run's is.

        Args:
            job_id: Of a job that is queued, scheduled, running or finished.
            timeout: Seconds; None waits for ever, 0 only looks.

        Raises:
            JobFailed: It ended FAILED or SKIPPED; the error and traceback are attributes.
            JobCancelled: It was cancelled.
            TimeoutError: It has not ended in time; it goes on. The message says what it waits for.
            RuntimeError: It has not ended, a transaction is under way, and there is no `timeout`: what the
                transaction adds begins when it commits.
            JobLookupError: There is no such job.
        """
        return wait.wait(_exact_id(job_id), timeout, using=jobs_database())

    # Control

    @sync_safe
    def remove_job(self, job_id: str) -> bool:
        """Remove a job: its schedule ends and waiting runs are cancelled; a running one finishes.

        Its history stays.

        Returns:
            False when nothing of this id was still to run.
        """
        using, job_id = jobs_database(), _exact_id(job_id)
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
            False when there is no such job, or nothing of it waits.
        """
        using, job_id = jobs_database(), _exact_id(job_id)
        with transactions.write_transaction(using):
            is_there = jobs.pause(job_id, by, using=using)
            held = transitions.hold(Q(job_id=job_id), using=using)
            jobs.tell_of_change(job_id, using=using)
        return is_there or bool(held) or Run.objects.using(using).held().filter(job_id=job_id).exists()

    @sync_safe
    def resume_job(self, job_id: str) -> bool:
        """Undo `pause_job`: a recurring job goes on with its next time from now, waiting runs with theirs.

        What was due meanwhile runs now. A broken job or run is looked at anew.

        Returns:
            False when there is no such job, or nothing of it waits.
        """
        using, job_id = jobs_database(), _exact_id(job_id)
        with transactions.write_transaction(using):
            row = Job.objects.using(using).filter(pk=job_id).first()
            if row is not None:
                jobs.resume(row, using=using)
                notifications.notify(notifications.JOBS, using=using)
            released = transitions.unhold(Q(job_id=job_id), using=using)
            if released:
                notifications.notify(notifications.RUNS, using=using)
            jobs.tell_of_change(job_id, using=using)
        return row is not None or bool(released)

    @sync_safe
    def run_job(self, job_id: str) -> str:
        """Run a job now, besides its schedule; a finished job runs once more.

        Returns:
            The job's id, to `wait` for.

        Raises:
            JobLookupError: There is no such job.
        """
        using, job_id = jobs_database(), _exact_id(job_id)
        row = Job.objects.using(using).filter(pk=job_id).first()
        if row is not None:
            enqueue.insert_firing(row, using=using)
            return job_id
        last = wait.last_run(job_id, using=using)
        if last is None:
            raise JobLookupError(job_id)
        enqueue.insert_again(last, using=using)
        return job_id

    @sync_safe
    def cancel_job(self, job_id: str) -> bool:
        """Cancel a job's unfinished runs; one that runs is asked to end, and decides when.

        A scheduled job that has not fired is cancelled with a run that says so. A recurring job
        goes on with its next firing.

        Returns:
            False when nothing of this id was unfinished.
        """
        using, job_id = jobs_database(), _exact_id(job_id)
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
        last = wait.last_run(_exact_id(job_id), using=jobs_database())
        return last is not None and self.retry_run(last.pk)

    @sync_safe
    def retry_run(self, run_id: int) -> bool:
        """Make one run that ended without success READY again.

        Returns:
            False when there is no such run, or its job was added anew meanwhile and is unfinished.
        """
        using = jobs_database()
        try:
            with transaction.atomic(using=using):
                is_retried = transitions.retry(run_id, using=using)
        except IntegrityError:
            return False
        if is_retried:
            notifications.notify(notifications.RUNS, using=using)
        return is_retried

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
    def pause_queue(self, name: str) -> bool:
        """Have workers claim nothing more from a queue, until `resume_queue`; what runs goes on.

        Returns:
            False when the queue was paused already.
        """
        return set_paused(name, is_paused=True, using=jobs_database())

    @sync_safe
    def resume_queue(self, name: str) -> bool:
        """Undo `pause_queue`; what waits in a queue of Celery's is told to it again.

        Returns:
            False when the queue was not paused.
        """
        return set_paused(name, is_paused=False, using=jobs_database())

    astart = async_version(start)
    ashutdown = async_version(shutdown)
    aadd_immediate_job = async_version(add_immediate_job)
    aadd_scheduled_job = async_version(add_scheduled_job)
    aadd_recurring_job = async_version(add_recurring_job)
    aadd_cron_job = async_version(add_cron_job)
    aadd_job = async_version(add_job)
    aadd_many = async_version(add_many)
    aget_job = async_version(get_job)
    aget_jobs = async_version(get_jobs)
    aremove_job = async_version(remove_job)
    apause_job = async_version(pause_job)
    aresume_job = async_version(resume_job)
    arun_job = async_version(run_job)
    acancel_job = async_version(cancel_job)
    aretry_job = async_version(retry_job)
    aretry_run = async_version(retry_run)
    acancel_run = async_version(cancel_run)
    apause_queue = async_version(pause_queue)
    aresume_queue = async_version(resume_queue)

    async def await_job(self, job_id: str, timeout: float | None = None) -> Any:
        """Await `wait`, without holding a thread meanwhile (`await` is a word of Python's own)."""
        return await wait.await_end(_exact_id(job_id), timeout, using=jobs_database())


_manager: JobManager | None = None
_manager_lock = threading.Lock()


def _exact_id(job_id: str) -> str:
    return conflicts.exact_id(lookup_id(job_id), using=jobs_database())


def _forget_parent() -> None:
    """Make a forked child's managers as those of a fresh process: no thread of the parent's is here.

    What the parent claimed stays the parent's: a child that ends must not hand it back.
    """
    global _manager_lock
    _manager_lock = threading.Lock()
    for manager in _roots:
        manager._lock = threading.RLock()
        manager._service = None


os.register_at_fork(after_in_child=_forget_parent)


def get_job_manager() -> JobManager:
    """Return this process's job manager, the same to every thread."""
    global _manager
    if _manager is None:
        with _manager_lock:
            if _manager is None:
                _manager = JobManager()
    return _manager


decorators.provide_manager(get_job_manager)
