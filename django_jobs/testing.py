"""For the tests of projects: what was added, and have it executed here and now.

See docs/testing.md. With pytest the fixture `jobs` is a `CapturedJobs`; `JobsMixin` gives Django's
test cases one.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.db.models import Max, Q

from django_jobs import codec, triggers
from django_jobs.api import batch_info, enqueue
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobCancelled, JobFailed, JobLookupError, ObjectGone
from django_jobs.models import Job, Kind, Run, Status, jobs_database
from django_jobs.operations import batches
from django_jobs.registry import functions
from django_jobs.scheduler.schedule_sync import ScheduleSync
from django_jobs.storage.backends.mariadb import MariaDB
from django_jobs.storage.backends.postgresql import PostgreSQL
from django_jobs.texts import describe
from django_jobs.worker.inline import Executed, inline_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from unittest import TestCase

    from django_jobs.api.batch_info import BatchInfo
    from django_jobs.api.batches.batch import Batch
else:
    TestCase = object

__all__ = ["AddedJob", "CapturedJobs", "Executed", "JobsMixin", "capture_jobs", "drain_jobs"]

#: Attempts after which `drain` takes for granted that it would never end.
MOST_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedJob:
    """A job as it was added."""

    id: str
    #: module:qualname
    func: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str
    #: immediate, scheduled, recurring
    kind: str
    queue_name: str
    priority: int
    #: When it is to run, or runs next; None for an immediate job.
    run_at: datetime | None
    #: In words, as "every 30 minutes"; empty for an immediate job.
    trigger: str
    #: What was said of each run: retry, timeout (seconds), expires, at_most_once, sensitive, tags.
    options: dict[str, Any]

    def __str__(self) -> str:
        shown = [describe.repr_of(value) for value in self.args]
        shown += [f"{name}={describe.repr_of(value)}" for name, value in self.kwargs.items()]
        when = f" {self.trigger}" if self.trigger else ""
        queue = "" if self.queue_name == "default" else f" queue_name={self.queue_name!r}"
        priority = f" priority={self.priority}" if self.priority else ""
        return f"{self.func}({', '.join(shown)}){when}{queue}{priority} id={self.id!r}"


_FIELDS = frozenset(field.name for field in fields(AddedJob)) - {"func"}


class CapturedJobs:
    """The jobs that were added since some moment, and what is due of all; made by `capture_jobs`."""

    def __init__(self) -> None:
        self._using = jobs_database()
        self._last_run_id = Run.objects.using(self._using).aggregate(last=Max("pk"))["last"] or 0
        self._known = set(Job.objects.using(self._using).values_list("pk", flat=True))
        # Jobs with a schedule, as they were when last looked at: one that has fired may be gone.
        self._scheduled: dict[str, Job] = {}

    @property
    def added(self) -> list[AddedJob]:
        """All that was added and not rolled back, by time; also what has been executed since."""
        self._look()
        runs = Run.objects.using(self._using).filter(pk__gt=self._last_run_id, kind=Kind.IMMEDIATE)
        rows: list[Job | Run] = [*runs.order_by("pk"), *self._scheduled.values()]
        rows.sort(key=lambda row: row.enqueued_at if isinstance(row, Run) else row.created_at)
        return [_added(row) for row in rows]

    def _look(self) -> None:
        for row in Job.objects.using(self._using).order_by("created_at"):
            if row.pk not in self._known:
                self._scheduled[row.pk] = row

    def assert_added(
        self, func: Callable[..., Any] | str, *, times: int | None = 1, **expected: Any
    ) -> AddedJob:
        """Check that a job was added.

        Args:
            func: The function, or its "module:qualname".
            times: How many such jobs there must be; None for one or more.
            **expected: Values of fields of `AddedJob`; `args` may be a list, and `unittest.mock.ANY` is
                anything.

        Returns:
            The first such job.

        Raises:
            AssertionError: There are more or fewer; the message lists what was added, and where each
                that comes near differs.
            TypeError: `AddedJob` has no such field.
            ValueError: There is no such function.
        """
        __tracebackhide__ = True
        path, added = functions.path_of(func)[0], self.added
        matching = [job for job in added if job.func == path and not _differences(job, expected)]
        if matching and times in {None, len(matching)}:
            return matching[0]
        wanted = "one or more times" if times is None else f"{times} times" if times != 1 else "once"
        was = f"{len(matching)} times" if matching else "never"
        raise AssertionError(
            f"{_call(path, expected)} was to be added {wanted}, and was {was}.\n{_list(added, path, expected)}"
        )

    def assert_not_added(self, func: Callable[..., Any] | str | None = None, **expected: Any) -> None:
        """Check that no such job was added, or without arguments that none was at all.

        Args:
            func: As for `assert_added`.
            **expected: As for `assert_added`.

        Raises:
            AssertionError: There is one; the message lists what was added.
        """
        __tracebackhide__ = True
        added = self.added
        path = None if func is None else functions.path_of(func)[0]
        for job in added:
            if path in {None, job.func} and not _differences(job, expected):
                what = "nothing" if path is None and not expected else _call(path or "anything", expected)
                raise AssertionError(f"{what} was to be added, but for this: {job}\n{_list(added)}")

    def assert_batch(self, batch: Batch | str, **expected: Any) -> BatchInfo:
        """Check how a batch stands.

        Args:
            batch: The batch, its id, or its name, if it is the newest of that name.
            **expected: Values of keys of `BatchInfo`; status="successful" unless it is among them.

        Returns:
            The batch as a dict.

        Raises:
            AssertionError: It stands otherwise; the message has its runs. Or there is no such batch.
            TypeError: `BatchInfo` has no such key.
        """
        __tracebackhide__ = True
        key = batch if isinstance(batch, str) else batch.id
        row = batches.newest(using=self._using).filter(Q(key=key) | Q(name=key)).first()
        if row is None:
            raise AssertionError(f"there is no batch {key!r}")
        info = batch_info.of_row(row)
        expected.setdefault("status", "successful")
        if unknown := set(expected) - set(info):
            raise TypeError(f"BatchInfo has no {min(unknown)!r}; it has {', '.join(sorted(info))}")
        differences = [
            f"{name} is {info[name]!r}, not {value!r}"  # type: ignore[literal-required]
            for name, value in expected.items()
            if info[name] != value  # type: ignore[literal-required]
        ]
        if differences:
            runs = [
                f"  {node.run}: {node.run.state} {node.run.error}"
                for node in batches.nodes_of(row, using=self._using)
            ]
            lines = [f"batch {row.name!r}: {'; '.join(differences)}.", "Its runs are:", *runs]
            raise AssertionError("\n".join(lines))
        return info

    def declare(self) -> list[AddedJob]:
        """Add, change and remove jobs as `@recurring` and `@cron` say, as a process with a clock does.

        Without it, what the code declares does not fire in tests.

        Returns:
            All declared jobs, by id.

        Raises:
            ValueError: A declaration is wrong.
        """
        schedule_sync = ScheduleSync(self._using)
        schedule_sync.look()
        schedule_sync.leave()
        return [_added(row) for row in Job.objects.using(self._using).declared().order_by("pk")]

    def drain(
        self,
        *,
        queues: Sequence[str] = (),
        deferred: bool = False,
        fire: bool = True,
        raise_errors: bool = False,
    ) -> list[Executed]:
        """Fire what is due and execute it, in this thread and transaction, until nothing is due.

        Due is what is so by `datetime.now()`, frozen or not. Jobs that were added before are executed
        too, and those that jobs add. What `@recurring` and `@cron` declare fires after `declare`.

        Args:
            queues: Of these only; empty means all that are not paused.
            deferred: Also what waits for its time, retries among it, without that time passing; nothing
                fires for it.
            fire: Whether scheduled and recurring jobs fire.
            raise_errors: Raise what a job raised when that ends it as FAILED.

        Returns:
            The attempts, in order.

        Raises:
            AssertionError: More than a thousand attempts: a job adds itself, or is retried, without end.
        """
        self._look()
        return drain_jobs(queues=queues, deferred=deferred, fire=fire, raise_errors=raise_errors)

    async def adrain(self, **options: Any) -> list[Executed]:
        """Await `drain`."""
        return await sync_to_async(self.drain)(**options)

    def run(self, job: AddedJob | str) -> Any:
        """Execute one job now, whatever it waits for; a job with a schedule besides that.

        Args:
            job: The job, or its id.

        Returns:
            What the function returned, as it was stored and read again.

        Raises:
            Exception: What the function raised, whether or not it would be tried again.
            JobFailed: It was not called: its time to begin is over, or it cannot be called as stored.
            JobCancelled: It was cancelled meanwhile.
            JobLookupError: There is no such job, or none of it waits.
        """
        job_id = job if isinstance(job, str) else job.id
        self._look()
        row = Job.objects.using(self._using).filter(pk=job_id).first()
        if row is not None:
            run_id = enqueue.insert_firing(row, using=self._using, begins=False)
        else:
            waiting = Run.objects.using(self._using).ready().filter(job_id=job_id).order_by("-pk")
            run_id = waiting.values_list("pk", flat=True).first()
        with _host_clock(), inline_worker(self._using) as worker:
            claimed = None if run_id is None else worker.take_now(run_id)
            if claimed is None:
                raise JobLookupError(job_id)
            executed = worker.execute(claimed)
        if executed.status == Status.SUCCESSFUL:
            return executed.result
        if executed.status == Status.CANCELLED:
            raise JobCancelled(job_id)
        raise executed.raised or JobFailed(job_id, executed.error)


def drain_jobs(
    *,
    queues: Sequence[str] = (),
    deferred: bool = False,
    fire: bool = True,
    raise_errors: bool = False,
) -> list[Executed]:
    """Do what `CapturedJobs.drain` does, without capturing: for scripts and for tests that only drain."""
    executed: list[Executed] = []
    with _host_clock(), inline_worker(jobs_database()) as worker:
        while True:
            run = worker.next_due(queues)
            if run is None and fire and worker.fire():
                continue
            if run is None and deferred:
                run = worker.next_deferred(queues)
            if run is None:
                return executed
            if len(executed) == MOST_ATTEMPTS:
                worker.give_back(run)
                raise AssertionError(
                    f"{MOST_ATTEMPTS} attempts and no end: does a job add itself, or ask to be tried again, for "
                    f"ever? The last was {executed[-1]}"
                )
            executed.append(worker.execute(run))
            raised = executed[-1].raised
            if raise_errors and raised is not None and executed[-1].status == Status.FAILED:
                raise raised


@contextmanager
def capture_jobs() -> Iterator[CapturedJobs]:
    """Capture the jobs that are added from here on; inside a transaction too, where nothing is committed.

    Within, the time that decides when something is due is `datetime.now()` on every database, so that
    frozen time holds for it.

    Raises:
        RuntimeError: This process executes jobs in the background, which would take them away.
    """
    if get_job_manager().is_running:
        raise RuntimeError(
            "this process executes jobs in the background (the manager was started), and would take away what "
            "the test adds: do not start it in tests, or shut it down first"
        )
    with _host_clock():
        yield CapturedJobs()


class JobsMixin(TestCase):
    """Gives a test case of Django's a `CapturedJobs` as `self.jobs`."""

    jobs: CapturedJobs

    def setUp(self) -> None:
        """Begin to capture."""
        super().setUp()
        self.jobs = self.enterContext(capture_jobs())


@contextmanager
def _host_clock() -> Iterator[None]:
    """Go by this host's clock, which tests freeze, where the database's own would decide. SQLite does."""
    words = {PostgreSQL: "'{}+00'::timestamptz", MariaDB: "TIMESTAMP'{}'"}
    with ExitStack() as stack:
        for backend, word in words.items():
            stack.enter_context(mock.patch.object(backend, "now", _now(word)))
        yield


def _now(word: str) -> property:
    return property(lambda backend: word.format(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"))


def _added(row: Job | Run) -> AddedJob:
    try:
        args, kwargs = codec.load_arguments(row.payload)
    except ObjectGone:
        # It was deleted since: shown as pages do.
        shown, kwargs = codec.display_arguments(row.payload)
        args = tuple(shown)
    options = {name: value for name, value in (row.options or {}).items() if name != "expires_at"}
    job_id, run_at, trigger = row.pk, None, ""
    if isinstance(row, Run):
        job_id = row.job_id
    else:
        run_at, trigger = row.next_run_time, triggers.describe(triggers.loads(row.job_state))
    return AddedJob(
        id=str(job_id),
        func=row.func,
        args=args,
        kwargs=kwargs,
        name=row.name,
        kind=str(row.kind),
        queue_name=row.queue_name,
        priority=row.priority,
        run_at=run_at,
        trigger=trigger,
        options=options,
    )


def _differences(job: AddedJob, expected: Mapping[str, Any]) -> list[str]:
    """Say where a job is not as expected."""
    if unknown := set(expected) - _FIELDS:
        raise TypeError(f"AddedJob has no {min(unknown)!r}; it has {', '.join(sorted(_FIELDS))}")
    differences = []
    for name, wanted in expected.items():
        value = getattr(job, name)
        if (tuple(wanted) if isinstance(wanted, list) else wanted) != value:
            differences.append(f"{name} is {value!r}, not {wanted!r}")
    return differences


def _call(path: str, expected: Mapping[str, Any]) -> str:
    words = ", ".join(f"{name}={value!r}" for name, value in expected.items())
    return f"{path} with {words}" if words else path


def _list(added: list[AddedJob], path: str = "", expected: Mapping[str, Any] | None = None) -> str:
    if not added:
        return "Nothing was added."
    lines = ["Added were:"]
    for job in added:
        differences = _differences(job, expected) if job.func == path and expected else []
        lines += [f"  {job}", *(f"    {difference}" for difference in differences)]
    return "\n".join(lines)
