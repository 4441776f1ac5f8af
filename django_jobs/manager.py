"""`JobManager`, the facade: add, look at and steer jobs; `get_job_manager()` gives one per process."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import os
import threading
import time
import uuid
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta, tzinfo
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from django_jobs import (
    arguments,
    codec,
    conf,
    decorators,
    functions,
    inline,
    observers,
    queue,
    signals,
    snapshots,
    triggers,
    wakeup,
)
from django_jobs.clock import JobStore, firing, read_trigger
from django_jobs.conf import jobs_settings
from django_jobs.engines.threads import ThreadEngine
from django_jobs.exceptions import (
    BadPayload,
    ConflictingIdError,
    JobCancelled,
    JobFailed,
    JobLookupError,
    UnknownTrigger,
)
from django_jobs.models import (
    DEFAULT_QUEUE_NAME,
    FINISHED,
    Job,
    Kind,
    Run,
    Status,
    jobs_database,
)
from django_jobs.options import NO_OPTIONS, JobOptions, checked_id
from django_jobs.queue import NewRun
from django_jobs.service import Service

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

    from django_jobs.retry import Retry

    Func = Callable[..., Any] | str

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_WAIT_FIRST, _WAIT_LONGEST = 0.01, 0.25


def _from_anywhere(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], R]:
    """Let a method that uses the database be called from a thread that runs an event loop.

    Django forbids queries there. The call is made on a helper thread and waited for: one short
    statement, as against the whole view having to change.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not _is_in_a_loop():
            return method(self, *args, **kwargs)
        # With the caller's context: what traces its request finds the request there.
        called = contextvars.copy_context()
        result: R = _helper().submit(called.run, method, self, *args, **kwargs).result()
        return result

    return call


def _is_in_a_loop() -> bool:
    # The call itself is not made where this is caught: its errors would have it as their context.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _twin(
    method: Callable[Concatenate[JobManager, P], R],
) -> Callable[Concatenate[JobManager, P], Coroutine[Any, Any, R]]:
    """Return the async form of a method: the same call on Django's thread for synchronous code."""

    @wraps(method)
    async def call(self: JobManager, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(method)(self, *args, **kwargs)

    call.__doc__ = f"Await `{method.__name__}`."
    return call


_helper_lock = threading.Lock()
_helper_engine: ThreadEngine | None = None


def _helper() -> ThreadEngine:
    global _helper_engine
    with _helper_lock:
        if _helper_engine is None:
            _helper_engine = ThreadEngine(1, name="django_jobs-helper")
        return _helper_engine


# Every manager that a service may be started on; a child that is forked must forget those.
_roots: weakref.WeakSet[JobManager] = weakref.WeakSet()


class JobManager:
    """Adds jobs, looks at them and steers them; starts and stops the process's own worker.

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

    @_from_anywhere
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
            TypeError: The arguments do not fit the function, or one cannot be stored.
            ValueError: The function cannot be found by name, or the id is too long.
        """
        using = jobs_database()
        run, options = self._new_run(func, args, kwargs, job_id)
        if job_id is None:
            self._insert(run, using)()
        else:
            self._enqueue_as(run, options, using)
        return run.job_id

    @_from_anywhere
    def add_scheduled_job(
        self, func: Func, run_at: datetime, /, *args: Any, job_id: str | None = None, **kwargs: Any
    ) -> str:
        """Have a function called once, at a time; a time in the past means now.

        Args:
            func: As for `add_immediate_job`.
            run_at: An aware datetime.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            **kwargs: For the function.

        Raises:
            ValueError: `run_at` is naive; otherwise as `add_immediate_job`.
        """
        return self._add_job(func, triggers.at(run_at), args, kwargs, job_id, None, Kind.SCHEDULED)

    @_from_anywhere
    def add_recurring_job(
        self,
        func: Func,
        interval_seconds: float | timedelta,
        /,
        *args: Any,
        job_id: str | None = None,
        max_instances: int = 1,
        **kwargs: Any,
    ) -> str:
        """Have a function called again and again; the first time after one interval.

        A recurring job is declared, not added: the same id updates it, and keeps its next run while
        the interval is the same, and its pause.

        Args:
            func: As for `add_immediate_job`.
            interval_seconds: More than 0.
            *args: For the function.
            job_id: As for `add_immediate_job`.
            max_instances: Unfinished runs at the same time, over all processes; firings beyond are
                recorded as SKIPPED.
            **kwargs: For the function.

        Raises:
            ValueError: The interval is not positive; otherwise as `add_immediate_job`.
        """
        trigger = triggers.interval(interval_seconds)
        return self._add_job(func, trigger, args, kwargs, job_id, max_instances, Kind.RECURRING)

    @_from_anywhere
    def add_cron_job(
        self,
        func: Func,
        expression: str,
        /,
        *args: Any,
        job_id: str | None = None,
        max_instances: int = 1,
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
            timezone: Whose wall clock the expression speaks of; UTC by default.
            **kwargs: For the function.

        Raises:
            ValueError: The expression or the time zone is wrong, with the field and its range.
        """
        trigger = triggers.crontab(expression, timezone)
        return self._add_job(func, trigger, args, kwargs, job_id, max_instances, Kind.RECURRING)

    @_from_anywhere
    def add_job(
        self,
        func: Func,
        trigger: BaseTrigger,
        /,
        *args: Any,
        job_id: str | None = None,
        max_instances: int = 1,
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

    @_from_anywhere
    def add_many(self, jobs: Iterable[tuple[Any, ...]]) -> list[str]:
        """Add many immediate jobs, a few hundred to a statement; all of them or none.

        Args:
            jobs: Tuples of a function, its positional arguments (a list or tuple) and, if any, its
                keyword arguments (a dict).

        Returns:
            Their ids, in order.

        Raises:
            TypeError: As `add_immediate_job`, naming the position of the job in the list.
        """
        runs = []
        for index, entry in enumerate(jobs):
            try:
                func, args, kwargs = _entry(entry)
                runs.append(self._new_run(func, args, kwargs, None)[0])
            except (TypeError, ValueError) as error:
                raise type(error)(f"job {index} of add_many: {error}") from error
        if runs:
            using = jobs_database()
            at_once = conf.queues_of("inline")
            with observers.adding(runs), transaction.atomic(using=using):
                queue.enqueue([run for run in runs if run.queue_name not in at_once], using=using)
                wakeup.tell(wakeup.RUNS, using=using)
                for run in runs:
                    if run.queue_name in at_once:
                        self._insert_one(run, using)()
        return [run.job_id for run in runs]

    def _new_run(
        self, func: Func, args: tuple[Any, ...], kwargs: dict[str, Any], job_id: str | None
    ) -> tuple[NewRun, JobOptions]:
        path, function = functions.path_of(func)
        arguments.check_arguments(path, function, args, kwargs)
        options = self._options.over(decorators.options_of(function))
        payload = arguments.stored_arguments(args, kwargs)
        stored = queue.renewed(arguments.stored_options(options, function, args))
        run = NewRun(
            job_id=uuid.uuid4().hex if job_id is None else checked_id(job_id),
            name=options.name or path.rpartition(":")[2],
            func=path,
            payload=payload,
            signature=codec.sign(path, payload),
            queue_name=options.queue_name or DEFAULT_QUEUE_NAME,
            priority=options.priority or 0,
            options=stored,
        )
        return run, options

    def _insert(self, run: NewRun, using: str) -> Callable[[], None]:
        """Insert a run, as this process's own worker's if it can begin at once.

        Args:
            run: As it would be claimed.
            using: Alias of the database.

        Returns:
            What has it begin when the transaction under way commits, to be called before that ends.
        """
        if observers.installed:
            with observers.adding([run]):
                return self._insert_one(run, using)
        return self._insert_one(run, using)

    def _insert_one(self, run: NewRun, using: str) -> Callable[[], None]:
        service = self._root._service
        worker = None if service is None else service.worker
        is_inline = inline.is_inline(run.queue_name)
        if (
            worker is not None
            and not is_inline
            and worker.using == using
            and run.run_after == "now"
            and worker.would_begin(run.queue_name)
        ):
            run.status, run.worker_id = Status.RUNNING.value, worker.id
            (run_id,) = queue.enqueue([run], using=using)
            return worker.promise(queue.claimed(run, run_id))
        run.status, run.worker_id = Status.READY.value, ""
        ids = queue.enqueue([run], using=using)
        if is_inline and run.run_after == "now":
            return lambda: inline.execute_on_commit(ids[0], run.queue_name, using=using)
        return lambda: wakeup.tell(wakeup.RUNS, using=using)

    def _enqueue_as(self, run: NewRun, options: JobOptions, using: str) -> None:
        """Insert a run under an id of the caller's choice, if `on_conflict` lets it."""
        run.unique_key = queue.immediate_key(run.job_id)
        for _attempt in range(3):
            if not self._make_room(run.job_id, options, using):
                return
            try:
                # A savepoint: where the id is taken the caller's transaction must live on.
                with transaction.atomic(using=using):
                    self._insert(run, using)()
            except IntegrityError:
                # Somebody took the id between our look and our insert.
                continue
            return
        raise ConflictingIdError(run.job_id)

    def _make_room(self, job_id: str, options: JobOptions, using: str) -> bool:
        """Apply `on_conflict` where an id is unfinished; return whether to go on."""
        is_scheduled = Job.objects.using(using).filter(pk=job_id).exists()
        is_queued = Run.objects.using(using).unfinished().filter(job_id=job_id).exists()
        if not is_scheduled and not is_queued:
            return True
        match options.on_conflict:
            case "skip":
                return False
            case "replace":
                Job.objects.using(using).filter(pk=job_id).delete()
                queue.cancel_waiting(Q(job_id=job_id), "replaced by a newer job of this id", using=using)
                # A running one goes on; only its id is taken over.
                queue.free_key(job_id, using=using)
                return True
            case _:
                raise ConflictingIdError(job_id)

    def _add_job(
        self,
        func: Func,
        trigger: BaseTrigger,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        job_id: str | None,
        max_instances: int | None,
        kind: Kind,
    ) -> str:
        run, options = self._new_run(func, args, kwargs, job_id)
        # The firings of others have nothing to do with who added them.
        with observers.adding([run]) if kind is Kind.SCHEDULED and observers.installed else nullcontext():
            return self._write_job(run, options, trigger, job_id, max_instances, kind)

    def _write_job(
        self,
        run: NewRun,
        options: JobOptions,
        trigger: BaseTrigger,
        job_id: str | None,
        max_instances: int | None,
        kind: Kind,
    ) -> str:
        using = jobs_database()
        # An argument of the call is nearer than `using()`, but 1 is also what nobody chose.
        instances = options.max_instances if max_instances in {None, 1} else max_instances
        if instances is not None:
            dataclasses.replace(NO_OPTIONS, max_instances=instances).validate()
        row = Job(
            id=run.job_id,
            name=run.name,
            func=run.func,
            payload=run.payload,
            signature=run.signature,
            queue_name=run.queue_name,
            priority=run.priority,
            options=run.options and {key: value for key, value in run.options.items() if key != "expires_at"},
            kind=kind.value,
            job_state=triggers.dumps(trigger),
            next_run_time=triggers.first(trigger, datetime.now(UTC)),
            max_instances=instances or 1,
            coalesce=options.coalesce is not False,
            misfire_grace_time=options.misfire_grace_time,
        )
        with transaction.atomic(using=using):
            if job_id is None:
                row.save(using=using, force_insert=True)
                is_new = True
            elif kind is Kind.RECURRING:
                is_new = _declare(row, using)
            elif self._make_room(row.id, options, using):
                JobStore(using).insert(row)
                is_new = True
            else:
                return run.job_id
            wakeup.tell(wakeup.JOBS, using=using)
            signal = signals.job_added if is_new else signals.job_changed
            transaction.on_commit(lambda: signals.emit(signal, job_id=run.job_id), using=using)
        return run.job_id

    # Looking

    @_from_anywhere
    def get_job(self, job_id: str) -> snapshots.JobSnapshot | None:
        """Return a job that is scheduled, queued, running, or finished while history keeps it.

        Returns:
            A plain dict that `JsonResponse` can send, shaped as `django_jobs.snapshots.JobSnapshot`;
            None when there is no such job.
        """
        return snapshots.one(str(job_id), using=jobs_database())

    @_from_anywhere
    def get_jobs(self) -> list[snapshots.JobSnapshot]:
        """Return what is still to run: scheduled and recurring jobs, then queued and running ones."""
        return snapshots.unfinished(using=jobs_database())

    @_from_anywhere
    def wait(self, job_id: str, timeout: float | None = None) -> Any:
        """Wait for a job's newest run to end, and return what its function returned.

        Args:
            job_id: Of a job that is queued, running or finished; a scheduled one is waited for too.
            timeout: Seconds; None waits for ever.

        Raises:
            JobFailed: It ended FAILED or SKIPPED; the error and traceback are attributes.
            JobCancelled: It was cancelled.
            TimeoutError: It has not ended in time; it goes on.
            JobLookupError: There is no such job.
        """
        return _wait(job_id, timeout, jobs_database())

    # Steering

    @_from_anywhere
    def remove_job(self, job_id: str) -> bool:
        """Remove a job: its schedule ends and waiting runs are cancelled; a running one finishes.

        Its history stays.

        Returns:
            False when nothing of this id was still to run.
        """
        using = jobs_database()
        with queue.write_transaction(using):
            deleted, _ = Job.objects.using(using).filter(pk=job_id).delete()
            cancelled = queue.cancel_waiting(Q(job_id=job_id), "removed", using=using)
            if deleted:
                wakeup.tell(wakeup.JOBS, using=using)
                transaction.on_commit(lambda: signals.emit(signals.job_removed, job_id=job_id), using=using)
        wakeup.tell_here(wakeup.FINISHED)
        return bool(deleted or cancelled)

    @_from_anywhere
    def pause_job(self, job_id: str, *, by: str = "") -> bool:
        """Keep a job from firing, and its waiting runs from starting, until `resume_job`.

        Args:
            job_id: Of the job.
            by: Who pauses it, for pages to show; at most 255 characters are kept.

        Returns:
            False when there is no such job, or nothing of it waits.
        """
        using = jobs_database()
        with queue.write_transaction(using):
            jobs = Job.objects.using(using).filter(pk=job_id)
            paused = jobs.filter(next_run_time__isnull=False).update(
                next_run_time=None, paused_at=timezone.now(), paused_by=by[:255]
            )
            is_there = bool(paused) or jobs.exists()
            held = queue.hold(Q(job_id=job_id), using=using)
            self._changed(job_id, using)
        return is_there or bool(held) or Run.objects.using(using).held().filter(job_id=job_id).exists()

    @_from_anywhere
    def resume_job(self, job_id: str) -> bool:
        """Undo `pause_job`: a recurring job goes on with its next time from now, what waited runs now.

        A broken job or run is looked at anew.

        Returns:
            False when there is no such job, or nothing of it waits.
        """
        using = jobs_database()
        with queue.write_transaction(using):
            row = Job.objects.using(using).filter(pk=job_id).first()
            if row is not None:
                _resume(row, using)
                wakeup.tell(wakeup.JOBS, using=using)
            released = queue.release(Q(job_id=job_id), using=using)
            if released:
                wakeup.tell(wakeup.RUNS, using=using)
            self._changed(job_id, using)
        return row is not None or bool(released)

    @_from_anywhere
    def run_job(self, job_id: str) -> str:
        """Run a job now, besides its schedule; a finished job runs once more.

        Returns:
            The job's id, to `wait` for.

        Raises:
            JobLookupError: There is no such job.
        """
        using = jobs_database()
        row = Job.objects.using(using).filter(pk=job_id).first()
        if row is not None:
            run = firing(row, None)
            with observers.adding([run]), queue.write_transaction(using):
                ids = queue.enqueue([run], using=using)
                if ids:
                    Job.objects.using(using).filter(pk=job_id).update(last_run_id=ids[0])
                if ids and inline.is_inline(row.queue_name):
                    inline.execute_on_commit(ids[0], row.queue_name, using=using)
                else:
                    wakeup.tell(wakeup.RUNS, using=using)
            return job_id
        last = _last_run(job_id, using)
        if last is None:
            raise JobLookupError(job_id)
        again = NewRun(
            job_id=job_id, name=last.name, func=last.func, payload=last.payload, signature=last.signature,
            queue_name=last.queue_name, priority=last.priority, kind=last.kind,
            options=queue.renewed(last.options),
        )  # fmt: skip
        with observers.adding([again]):
            ids = queue.enqueue([again], using=using)
        if inline.is_inline(again.queue_name):
            inline.execute_on_commit(ids[0], again.queue_name, using=using)
        else:
            wakeup.tell(wakeup.RUNS, using=using)
        return job_id

    @_from_anywhere
    def cancel_job(self, job_id: str) -> bool:
        """Cancel a job's unfinished runs; one that runs is asked to end, and decides when.

        A scheduled job that has not fired is cancelled with a run that says so. A recurring job
        goes on with its next firing.

        Returns:
            False when nothing of this id was unfinished.
        """
        using = jobs_database()
        with queue.write_transaction(using):
            cancelled, asked = queue.cancel(Q(job_id=job_id), using=using)
            row = Job.objects.using(using).filter(pk=job_id, kind=Kind.SCHEDULED).first()
            if row is not None:
                run = firing(row, None)
                run.status = Status.CANCELLED.value
                queue.enqueue([run], using=using)
                row.delete(using=using)
                cancelled += 1
            if asked:
                wakeup.tell(wakeup.CANCELS, using=using)
        wakeup.tell_here(wakeup.FINISHED)
        return bool(cancelled or asked)

    @_from_anywhere
    def retry_job(self, job_id: str) -> bool:
        """Make a job's newest run, if it ended without success, READY again; its history goes on.

        Returns:
            False when there is no such run.
        """
        last = _last_run(job_id, jobs_database())
        return last is not None and self.retry_run(last.pk)

    @_from_anywhere
    def retry_run(self, run_id: int) -> bool:
        """Make one run that ended without success READY again.

        Returns:
            False when there is no such run, or its job was added anew meanwhile and is unfinished.
        """
        using = jobs_database()
        try:
            with transaction.atomic(using=using):
                is_retried = queue.retry(run_id, using=using)
        except IntegrityError:
            return False
        if is_retried:
            wakeup.tell(wakeup.RUNS, using=using)
        return is_retried

    @_from_anywhere
    def cancel_run(self, run_id: int) -> bool:
        """Cancel one run, as `cancel_job` does; its job goes on.

        Returns:
            False when there is no such run, or it has ended.
        """
        using = jobs_database()
        cancelled, asked = queue.cancel(Q(pk=run_id), using=using)
        if asked:
            wakeup.tell(wakeup.CANCELS, using=using)
        wakeup.tell_here(wakeup.FINISHED)
        return bool(cancelled or asked)

    @_from_anywhere
    def pause_queue(self, name: str) -> bool:
        """Have workers claim nothing more from a queue, until `resume_queue`; what runs goes on.

        Returns:
            False when the queue was paused already.
        """
        return queue.set_paused(name, is_paused=True, using=jobs_database())

    @_from_anywhere
    def resume_queue(self, name: str) -> bool:
        """Undo `pause_queue`; what waits in a queue of Celery's is told to it again.

        Returns:
            False when the queue was not paused.
        """
        return queue.set_paused(name, is_paused=False, using=jobs_database())

    def _changed(self, job_id: str, using: str) -> None:
        transaction.on_commit(lambda: signals.emit(signals.job_changed, job_id=job_id), using=using)

    astart = _twin(start)
    ashutdown = _twin(shutdown)
    aadd_immediate_job = _twin(add_immediate_job)
    aadd_scheduled_job = _twin(add_scheduled_job)
    aadd_recurring_job = _twin(add_recurring_job)
    aadd_cron_job = _twin(add_cron_job)
    aadd_job = _twin(add_job)
    aadd_many = _twin(add_many)
    aget_job = _twin(get_job)
    aget_jobs = _twin(get_jobs)
    aremove_job = _twin(remove_job)
    apause_job = _twin(pause_job)
    aresume_job = _twin(resume_job)
    arun_job = _twin(run_job)
    acancel_job = _twin(cancel_job)
    aretry_job = _twin(retry_job)
    aretry_run = _twin(retry_run)
    acancel_run = _twin(cancel_run)
    apause_queue = _twin(pause_queue)
    aresume_queue = _twin(resume_queue)

    async def await_job(self, job_id: str, timeout: float | None = None) -> Any:
        """Await `wait`, without holding a thread meanwhile (`await` is a word of Python's own)."""
        using = jobs_database()
        for pause in _pauses(timeout):
            run = await sync_to_async(_newest_run)(job_id, using)
            if run is not None and run.status in FINISHED:
                return _outcome(run)
            await asyncio.sleep(pause)
        raise _too_late(job_id, timeout)


def _entry(entry: Any) -> tuple[Func, tuple[Any, ...], dict[str, Any]]:
    if callable(entry) or isinstance(entry, str):
        return entry, (), {}
    if not isinstance(entry, tuple | list) or not 1 <= len(entry) <= 3:
        raise TypeError(f"expected (func, args) or (func, args, kwargs), not {entry!r:.100}")
    func, args, kwargs = (*entry, (), {})[:3] if len(entry) == 1 else (*entry, {})[:3]
    if not isinstance(args, tuple | list) or not isinstance(kwargs, Mapping):
        raise TypeError("expected (func, args) or (func, args, kwargs) with a list or tuple and a dict")
    return func, tuple(args), dict(kwargs)


def _declare(row: Job, using: str) -> bool:
    """Insert or update a recurring job; return whether it is new."""
    columns = (
        "name", "func", "payload", "signature", "queue_name", "priority", "options", "kind", "job_state",
        "max_instances", "coalesce", "misfire_grace_time",
    )  # fmt: skip
    for _attempt in range(3):
        old = Job.objects.using(using).select_for_update().filter(pk=row.pk).first()
        if old is None:
            if Run.objects.using(using).unfinished().filter(unique_key=queue.immediate_key(row.id)).exists():
                raise ConflictingIdError(row.id)
            try:
                JobStore(using).insert(row)
            except ConflictingIdError:
                # Another process declares it at the same time: update what it wrote.
                continue
            return True
        if triggers.same(old.job_state, row.job_state):
            # The old one goes on as it was, with its start and its next run.
            row.job_state = old.job_state
            row.next_run_time = old.next_run_time
        elif old.paused_at is not None:
            row.next_run_time = None
        for column in columns:
            setattr(old, column, getattr(row, column))
        old.next_run_time = row.next_run_time
        old.broken_reason = ""
        # Added from now on, not declared: the nearer word.
        old.declared, old.overrides = None, {}
        old.save(using=using)
        return False
    raise ConflictingIdError(row.id)


def _resume(row: Job, using: str) -> None:
    jobs = Job.objects.using(using).filter(pk=row.pk)
    try:
        trigger = read_trigger(row)
    except (UnknownTrigger, BadPayload) as error:
        jobs.update(broken_reason=str(error))
        return
    next_run_time = row.next_run_time or triggers.first(trigger, datetime.now(UTC))
    if next_run_time is None:
        # As for APScheduler: a job that will never fire again has ended.
        jobs.delete()
    else:
        jobs.update(paused_at=None, paused_by="", broken_reason="", next_run_time=next_run_time)


def _last_run(job_id: str, using: str) -> Run | None:
    return Run.objects.using(using).filter(job_id=job_id).order_by("-id").first()


def _newest_run(job_id: str, using: str) -> Run | None:
    """Return a job's newest run; None when the job has not run yet.

    Raises:
        JobLookupError: There is no such job.
    """
    last = _last_run(job_id, using)
    if last is None and not Job.objects.using(using).filter(pk=job_id).exists():
        raise JobLookupError(job_id)
    return last


def _outcome(run: Run) -> Any:
    match run.status:
        case Status.SUCCESSFUL:
            return None if run.result is None else codec.loads(run.result)
        case Status.CANCELLED:
            raise JobCancelled(run.job_id)
        case _:
            trace = (run.errors or [{}])[-1].get("traceback", "")
            raise JobFailed(run.job_id, run.error, trace)


def _pauses(timeout: float | None) -> Iterable[float]:
    """Yield the pauses between looks, growing, until the time is over; the last look comes at its end."""
    end = None if timeout is None else time.monotonic() + timeout
    pause = _WAIT_FIRST
    while True:
        left = pause if end is None else end - time.monotonic()
        yield max(0.0, min(pause, left))
        if end is not None and left <= 0:
            return
        pause = min(_WAIT_LONGEST, pause * 1.5)


def _too_late(job_id: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"job {job_id!r} has not ended after {timeout:g} s; it goes on")


def _wait(job_id: str, timeout: float | None, using: str) -> Any:
    heard = threading.Event()

    def hear(topic: str) -> None:
        if topic in {wakeup.FINISHED, wakeup.ANYTHING}:
            heard.set()

    # Runs of this process are heard of at once, those of others at the next look.
    wakeup.subscribe(hear)
    try:
        for pause in _pauses(timeout):
            heard.clear()
            run = _newest_run(job_id, using)
            if run is not None and run.status in FINISHED:
                return _outcome(run)
            heard.wait(pause)
    finally:
        wakeup.unsubscribe(hear)
    raise _too_late(job_id, timeout)


_manager: JobManager | None = None
_manager_lock = threading.Lock()


def _forget_parent() -> None:
    """Make a forked child's managers as those of a fresh process: no thread of the parent's is here.

    What the parent claimed stays the parent's: a child that ends must not hand it back.
    """
    global _manager_lock, _helper_lock, _helper_engine
    _manager_lock, _helper_lock, _helper_engine = threading.Lock(), threading.Lock(), None
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
