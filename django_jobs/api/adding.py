"""The manager's methods that add jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django_jobs import triggers
from django_jobs.api import enqueue
from django_jobs.api.async_support import async_version, sync_safe
from django_jobs.models import Kind, jobs_database
from django_jobs.registry.handles import JobHandle
from django_jobs.registry.misplaced_options import (
    refuse_call_options,
    refuse_recurring_options,
    refuse_schedule_options,
)
from django_jobs.registry.options import UNSET, JobOptions
from django_jobs.scheduler import jobs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta, tzinfo

    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.api.enqueue import Func
    from django_jobs.storage.records import NewRun
    from django_jobs.worker.service import Service


class Adding:
    """Adds jobs, with the options of the view that it is called on."""

    _options: JobOptions

    if TYPE_CHECKING:

        @property
        def service(self) -> Service | None:
            """What works in this process."""

    @sync_safe
    def add_immediate_job(
        self, func: Func, /, *args: Any, job_id: str | None = None, **kwargs: Any
    ) -> JobHandle[Any]:
        """Have a function called as soon as a worker is free.

        Args:
            func: A module-level function, or its "module:qualname".
            *args: For the function; what `django_jobs.codec` can store.
            job_id: At most 255 characters; a random one by default.
            **kwargs: For the function.

        Returns:
            The job's id, which also knows how to `wait` for it. Outside a transaction the job is committed by now.

        Raises:
            ConflictingIdError: A job of this id is unfinished, and `on_conflict` is "raise"; or its `unique` key is
                taken, and says "raise".
            FunctionNotAllowed: The function is of a module that may not be called.
            TypeError: The arguments do not fit the function, or one cannot be stored; or an option is given that
                only schedules have.
            ValueError: The function cannot be found by name, or the id is too long.
        """
        refuse_schedule_options(self._options)
        run, options = enqueue.new_run(self._options, func, args, kwargs, job_id)
        return self._insert(run, options, is_named=job_id is not None)

    def _insert(self, run: NewRun, options: JobOptions, *, is_named: bool) -> JobHandle[Any]:
        using = jobs_database()
        if options.uniqueness is not None:
            return enqueue.add_unique(run, options.uniqueness, using=using)
        if is_named:
            is_new = enqueue.insert_under_its_id(run, options, self.service, using=using)
            return JobHandle(run.job_id, is_new=is_new)
        enqueue.insert(run, self.service, using=using)()
        return JobHandle(run.job_id)

    @sync_safe
    def add_scheduled_job(
        self,
        func: Func,
        run_at: datetime | timedelta,
        /,
        *args: Any,
        job_id: str | None = None,
        **kwargs: Any,
    ) -> JobHandle[Any]:
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
    ) -> JobHandle[Any]:
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
        repeats: bool = False,
        **kwargs: Any,
    ) -> JobHandle[Any]:
        """Have a function called by a crontab expression; declared as in `add_recurring_job`.

        Args:
            func: As for `add_immediate_job`.
            expression: Five fields as in crontab(5), where weekdays 0 and 7 are Sunday; or @daily
                and its like.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            max_instances: As for `add_recurring_job`.
            timezone: Whose wall clock the expression speaks of; CRON_TIME_ZONE, which is UTC by default.
            repeats: Whether a time that the clocks repeat in autumn fires twice, whatever the hour is.
            **kwargs: For the function.

        Raises:
            ValueError: The expression or the time zone is wrong, with the field and its range.
        """
        trigger = triggers.crontab(expression, timezone, repeats=repeats)
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
    ) -> JobHandle[Any]:
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
    def add_many(self, jobs: Iterable[tuple[Any, ...]]) -> list[JobHandle[Any]]:
        """Add many immediate jobs, a few hundred to a statement; all of them or none.

        A generator may make any number of them: some thousand are in memory at the same time, and of the others
        the ids. What comes after the first 5,000 is made in the transaction that adds them.

        Args:
            jobs: Tuples of a function, its positional arguments (a list or tuple) and, if any, its
                keyword arguments (a dict).

        Returns:
            Their ids, in order.

        Raises:
            TypeError: As `add_immediate_job`, naming the position of the job in the list unless it is about an
                option; so do all others.
        """
        refuse_schedule_options(self._options)
        runs = enqueue.new_runs(self._options, jobs)
        return enqueue.insert_many(runs, self.service, using=jobs_database())

    def _add_job(
        self,
        func: Func,
        trigger: BaseTrigger,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        job_id: str | None,
        max_instances: int,
        kind: Kind,
    ) -> JobHandle[Any]:
        is_recurring = kind is Kind.RECURRING
        if is_recurring:
            refuse_call_options(self._options)
        else:
            several = None if max_instances is UNSET else max_instances
            refuse_recurring_options(JobOptions(max_instances=several).over(self._options))
        run_after = None if is_recurring else triggers.first(trigger, datetime.now(UTC))
        run, options = enqueue.new_run(
            self._options, func, args, kwargs, job_id,
            run_after=run_after, is_scheduled=True, is_recurring=is_recurring,
        )  # fmt: skip
        if options.uniqueness is not None:
            refuse_schedule_options(self._options)
            # It holds its key from now on, which a row of the queue does.
            return self._insert(run, options, is_named=False)
        is_new = jobs.add(
            run, options, trigger, kind, max_instances=max_instances, is_named=job_id is not None,
            using=jobs_database(),
        )  # fmt: skip
        return JobHandle(run.job_id, is_new=is_new)

    aadd_immediate_job = async_version(add_immediate_job)
    aadd_scheduled_job = async_version(add_scheduled_job)
    aadd_recurring_job = async_version(add_recurring_job)
    aadd_cron_job = async_version(add_cron_job)
    aadd_job = async_version(add_job)
    aadd_many = async_version(add_many)
