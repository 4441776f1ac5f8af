"""`JobManager`, the facade: add, look at and control jobs; `get_job_manager()` gives one per process."""

from __future__ import annotations

import threading
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack

from asgiref.sync import sync_to_async

from django_jobs import conf
from django_jobs.api import job_info, wait
from django_jobs.api.adding import Adding
from django_jobs.api.async_support import async_version, sync_safe
from django_jobs.api.batches.control import BatchControl, batch_of_run
from django_jobs.api.control import JobControl, RunControl
from django_jobs.api.events import Events
from django_jobs.conf import jobs_settings
from django_jobs.models import jobs_database
from django_jobs.registry.about import reference
from django_jobs.registry.managers import provide_batches, provide_manager
from django_jobs.registry.option_checks import MAX_TAG_LENGTH, check_text
from django_jobs.registry.options import NO_OPTIONS, JobOptions, OptionWords, options_from
from django_jobs.storage import forks
from django_jobs.storage.conflicts import exact_id
from django_jobs.worker.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.db.models import Model

# Every manager that a service may be started on; a child that is forked must forget those.
_roots: weakref.WeakSet[JobManager] = weakref.WeakSet()


class JobManager(Adding, JobControl, RunControl, BatchControl, Events):
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

        Returns immediately. The database is first touched in the background, when Django is ready, and
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
                immediately without waiting, is handed back to the queue without counting an attempt.
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

    def using(self, **options: Unpack[OptionWords]) -> JobManager:
        """Return a view of this manager whose jobs are added with these options.

        They go before the function's own from `@job`; see `JobOptions` for each. Views can be
        chained, kept and shared.

        Raises:
            TypeError: An option does not exist, or is of the wrong type.
            ValueError: An option is out of range; the message says which and what is allowed.
        """
        chosen = options_from(options)
        chosen.validate()
        view = JobManager.__new__(type(self))
        view._options = chosen.over(self._options)
        view._root = self._root
        return view

    # Looking

    @sync_safe
    def get_job(self, job_id: str) -> job_info.JobInfo | None:
        """Return a job that is scheduled, queued, running, or finished while history keeps it.

        Returns:
            A plain dict that `JsonResponse` can send, shaped as `django_jobs.JobInfo`;
            None when there is no such job.
        """
        return job_info.one(exact_id(job_id), using=jobs_database())

    @sync_safe
    def get_jobs(
        self, *, limit: int | None = 1000, about: Model | str | None = None, tag: str | None = None
    ) -> list[job_info.JobInfo]:
        """Return what is still to run: scheduled and recurring jobs, then queued and running ones.

        Args:
            limit: The first of those at most; None for all, which may be very many.
            about: Only jobs about this object, an instance or "app_label.model:pk".
            tag: Only jobs with this tag.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1 or None, not {limit}")
        subject = None if about is None else reference(about)
        if tag is not None:
            check_text("tag", tag, 1, MAX_TAG_LENGTH)
        return job_info.unfinished(limit=limit, about=subject, tag=tag, using=jobs_database())

    @sync_safe
    def wait(self, job_id: str, timeout: float | None = None) -> Any:
        """Wait for a job's newest run to end, and return what its function returned.

        A scheduled job is waited for until it has fired, also where an earlier job had its id. A firing
        that was skipped beside a run that goes on is not the job's end: that run's is.

        A batch is waited for as well: until its last run has ended, and what it returns is a `BatchInfo`.

        Args:
            job_id: Of a job that is queued, scheduled, running or finished; or of a batch.
            timeout: Seconds; None waits forever, 0 only looks.

        Raises:
            JobFailed: It ended FAILED or SKIPPED; the error and traceback are attributes. Of a batch, the error
                says how many of its runs failed, and which was the first.
            JobCancelled: It was cancelled.
            TimeoutError: It has not ended in time; it goes on. The message says what it waits for.
            RuntimeError: It has not ended, a transaction is under way, and there is no `timeout`: what the
                transaction adds begins when it commits. Or a run waits for the batch that it is of.
            JobLookupError: There is no such job.
        """
        return wait.wait(exact_id(job_id), timeout, using=jobs_database())

    async def await_job(self, job_id: str, timeout: float | None = None) -> Any:
        """Await `wait`, without holding a thread meanwhile (`await` is a word of Python's own)."""
        # MariaDB and MySQL are asked for it.
        exact = await sync_to_async(exact_id)(job_id)
        return await wait.await_end(exact, timeout, using=jobs_database())

    astart = async_version(start)
    ashutdown = async_version(shutdown)
    aget_job = async_version(get_job)
    aget_jobs = async_version(get_jobs)


_manager: JobManager | None = None
_manager_lock = threading.Lock()


@forks.on_fork_reset
def _reset_managers() -> None:
    """Make a forked child's managers as those of a fresh process: no thread of the parent's is here.

    What the parent claimed stays the parent's: a child that ends must not hand it back.
    """
    global _manager_lock
    _manager_lock = threading.Lock()
    for manager in _roots:
        manager._lock = threading.RLock()
        manager._service = None


def get_job_manager() -> JobManager:
    """Return this process's job manager, the same to every thread."""
    global _manager
    if _manager is None:
        with _manager_lock:
            if _manager is None:
                _manager = JobManager()
    return _manager


provide_manager(get_job_manager)
provide_batches(batch_of_run)
