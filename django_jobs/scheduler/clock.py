"""The clock: APScheduler's scheduler, store and executor, which fire due jobs into runs.

Any number of clocks may tick on one database. Each locks the due jobs it sees (others skip
them), inserts their runs and moves their `next_run_time` in one transaction, so one scheduled
time of one job makes one run, whichever clock lives or dies meanwhile.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job as APJob
from apscheduler.jobstores.base import ConflictingIdError, JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import STATE_RUNNING, STATE_STOPPED
from django.db import DatabaseError, IntegrityError, InterfaceError, connections, transaction
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL
from django_apscheduler.jobstores import DjangoJobStore

from django_jobs import codec, signals, triggers
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import Job, Run, Status
from django_jobs.storage import enqueue, notifications, statistics, transactions
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.connections import ConnectionBackoff, give_back, leave_pools
from django_jobs.storage.records import TOO_MANY, NewRun, firing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apscheduler.triggers.base import BaseTrigger
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

# Due jobs that one transaction fires: enough to make its commit cheap, few enough that other
# clocks find some left.
BATCH = 200
ENTRY = "django_jobs.scheduler.clock:fired_elsewhere"


def fired_elsewhere() -> None:
    """Stand in, in APScheduler's eyes, for the user's function, which it never imports."""
    raise RuntimeError("a django_jobs job is executed by a worker, never by APScheduler")


class _DueJob(APJob):  # type: ignore[misc]
    """A due job as APScheduler sees it, with its firings worked out by the database's time.

    APScheduler would go by the host's; hosts may disagree, and one whose clock is ahead would fire
    early. Its `trigger` is one that knows only the firing after these.
    """

    __slots__ = ("run_times",)
    run_times: list[datetime]

    def _get_run_times(self, now: datetime) -> list[datetime]:
        return self.run_times


class _Then:
    """Stands in for a trigger whose next firing is known."""

    def __init__(self, next_run_time: datetime | None) -> None:
        self._next_run_time = next_run_time

    def get_next_fire_time(self, previous_fire_time: datetime, now: datetime) -> datetime | None:
        return self._next_run_time


class JobStore(DjangoJobStore):  # type: ignore[misc]
    """APScheduler's view of our `Job` rows: the trigger and policy of each, no function.

    Rows that cannot be read are kept and marked as broken; django-apscheduler would delete them.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        super().__init__()
        self._using = using
        self.rows: dict[str, Job] = {}
        self.unfinished: dict[str, int] = {}
        self.moved: list[tuple[str, datetime]] = []
        self.ended: list[str] = []
        self.broken: list[tuple[str, str]] = []
        # By the database's clock.
        self.now = datetime.now(UTC)
        # APScheduler logs what `get_due_jobs` raises and goes on; the transaction must not.
        self.error: Exception | None = None

    def start(self, scheduler: Any, alias: str) -> None:
        """Begin without django-apscheduler's listeners: our history is the runs."""
        self._scheduler = scheduler
        self._alias = alias

    def shutdown(self) -> None:
        """Leave connections to the thread that opened them."""

    def forget(self) -> None:
        """Forget what the last batch collected."""
        self.rows, self.unfinished = {}, {}
        self.moved, self.ended, self.broken, self.error = [], [], [], None

    # Reading

    def lookup_job(self, job_id: str) -> APJob | None:
        """Return a job; None when there is none, or it cannot be read."""
        row = Job.objects.using(self._using).filter(pk=job_id).first()
        return self._read(row) if row else None

    def get_due_jobs(self, now: datetime) -> list[APJob]:
        """Lock and return a batch of the due jobs that no other clock holds."""
        try:
            return self._due_jobs(now)
        except Exception as error:  # APScheduler would only log it
            self.error = error
            raise

    def _due_jobs(self, now: datetime) -> list[APJob]:
        connection = connections[self._using]
        db_now = _now(connection)
        due = (
            Job.objects.using(self._using)
            .active()
            .filter(next_run_time__lte=db_now)
            .annotate(db_now=db_now)
            .order_by("next_run_time")
            .select_for_update(skip_locked=bool(connection.features.has_select_for_update_skip_locked))
        )
        jobs = []
        for row in due[:BATCH]:
            self.now = row.db_now
            job = self._read(row)
            if job is not None and self._work_out(job):
                jobs.append(job)
                self.rows[row.id] = row
        if jobs:
            self.unfinished = backend_of(connection).count_unfinished(list(self.rows))
        return jobs

    def _work_out(self, job: APJob) -> bool:
        """Note which firings of a job are due, and the one after; return whether that can be known."""
        try:
            job.run_times, next_run_time = triggers.due(
                job.trigger, job.next_run_time, self.now, coalesce=job.coalesce
            )
        except Exception as error:  # noqa: BLE001 - one job's trigger must not keep all others from firing
            self.broken.append((job.id, f"its trigger raised {type(error).__name__}: {error}"))
            return False
        job.trigger = _Then(next_run_time)
        return True

    def get_next_run_time(self) -> datetime | None:
        """Return when the next job is due, past or future; None when none is."""
        waiting = self.next_due()
        return None if waiting is None else waiting[0]

    def next_due(self) -> tuple[datetime, datetime] | None:
        """Return when the next job is due, and the time now, both by the database's clock."""
        due: tuple[datetime, datetime] | None = (
            Job.objects.using(self._using)
            .active()
            .order_by("next_run_time")
            .values_list("next_run_time", _now(connections[self._using]))
            .first()
        )
        return due

    def get_all_jobs(self) -> list[APJob]:
        """Return all readable jobs, paused ones last."""
        rows = Job.objects.using(self._using).order_by("next_run_time")
        jobs = [job for job in map(self._read, rows) if job is not None]
        self._fix_paused_jobs_sorting(jobs)
        return jobs

    def _read(self, row: Job) -> APJob | None:
        try:
            trigger = read_trigger(row)
        except (UnknownTrigger, BadPayload) as error:
            self.broken.append((row.id, str(error)))
            return None
        job = _DueJob.__new__(_DueJob)
        job._scheduler = self._scheduler
        job._jobstore_alias = self._alias
        job.id = row.id
        job.name = row.name
        job.func, job.func_ref = fired_elsewhere, ENTRY
        job.args, job.kwargs = (), {}
        job.trigger = trigger
        job.executor = "default"
        job.coalesce = row.coalesce
        job.misfire_grace_time = row.misfire_grace_time
        job.max_instances = row.max_instances
        # The database returns UTC; calendar intervals count from the day it is in their own zone.
        job.next_run_time = triggers.local(trigger, row.next_run_time) if row.next_run_time else None
        return job

    # Writing

    def insert(self, row: Job) -> None:
        """Insert a row.

        Raises:
            ConflictingIdError: There is a job of this id.
        """
        try:
            with transaction.atomic(using=self._using):
                row.save(using=self._using, force_insert=True)
        except IntegrityError:
            raise ConflictingIdError(row.id) from None

    def add_job(self, job: APJob) -> None:
        """Refuse: a job of ours needs more than APScheduler knows of it."""
        raise NotImplementedError("add jobs through django_jobs.get_job_manager()")

    def update_job(self, job: APJob) -> None:
        """Note a job's next firing; written with the batch."""
        self.moved.append((job.id, job.next_run_time))

    def remove_job(self, job_id: str) -> None:
        """Note that a job has fired for the last time; deleted with the batch."""
        if job_id not in self.rows:
            raise JobLookupError(job_id)
        self.ended.append(job_id)

    def remove_all_jobs(self) -> None:
        """Delete all jobs of ours; their history stays."""
        Job.objects.using(self._using).all().delete()


class RunExecutor(BaseExecutor):  # type: ignore[misc]
    """Collects the firings of a batch as runs to insert."""

    def __init__(self, store: JobStore) -> None:
        super().__init__()
        self._store = store
        self.runs: list[NewRun] = []

    def submit_job(self, job: APJob, run_times: Sequence[datetime]) -> None:
        """Make a run of each firing, or a SKIPPED one that says why not."""
        row = self._store.rows[job.id]
        now = self._store.now
        unfinished = self._store.unfinished.get(job.id, 0)
        for scheduled_at in run_times:
            late = now - scheduled_at
            skipped = ""
            if job.misfire_grace_time is not None and late > timedelta(seconds=job.misfire_grace_time):
                skipped = (
                    f"Misfire: {late.total_seconds():.1f} s late, and misfire_grace_time "
                    f"is {job.misfire_grace_time} s"
                )
            elif unfinished >= job.max_instances:
                skipped = f"{TOO_MANY}: {unfinished} unfinished, and max_instances is {job.max_instances}"
            else:
                unfinished += 1
            self.runs.append(firing(row, scheduled_at, skipped))
        self._store.unfinished[job.id] = unfinished

    def _do_submit_job(self, job: APJob, run_times: Sequence[datetime]) -> None:
        raise NotImplementedError  # submit_job does it all


def _now(connection: BaseDatabaseWrapper) -> RawSQL:
    return RawSQL(backend_of(connection).now, (), output_field=DateTimeField())  # noqa: S611 - words of ours


def firing(
    row: Job, scheduled_at: datetime | None, skipped: str = "", *, since: datetime | None = None
) -> NewRun:
    """Return the run of a job's firing, or one besides its schedule for None."""
    return NewRun.of(
        row,
        row.id,
        since=scheduled_at or since,
        kind=row.kind,
        scheduled_at=scheduled_at,
        unique_key=None if scheduled_at is None else firing_key(row.id, scheduled_at),
        status=(Status.SKIPPED if skipped else Status.READY).value,
        error=skipped,
    )


class Clock(BackgroundScheduler):  # type: ignore[misc]
    """One process's APScheduler scheduler, whose rounds are database transactions.

    Args:
        using: Alias of the database.
        before_round: Called before each round, on the clock's thread; returns the seconds after which
            there must be another.
    """

    def __init__(self, using: str, *, before_round: Callable[[], float] | None = None) -> None:
        self._using = using
        self._before_round = before_round
        self._poll_seconds = jobs_settings().POLL_SECONDS
        self._store = JobStore(using)
        self._collector = RunExecutor(self._store)
        self._outage = ConnectionBackoff("clock", using)
        # Whether maintenance says when the next job is due, so that nothing has to be looked for at
        # intervals; the monotonic time at which the clock will look by itself; and whether it must sooner.
        self.has_maintainer = False
        self._next_look = 0.0
        self._must_look = True
        super().__init__(
            timezone=UTC,
            jobstores={"default": self._store},
            executors={"default": self._collector},
        )

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Start the thread; broken jobs are looked at anew, for the code may have changed."""
        notifications.subscribe(self._heard)
        try:
            super().start(*args, **kwargs)
        except RuntimeError:
            # No thread can be started.
            notifications.unsubscribe(self._heard)
            raise

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """End the thread after the round under way."""
        notifications.unsubscribe(self._heard)
        super().shutdown(*args, **kwargs)

    def _heard(self, topic: str) -> None:
        if topic in {notifications.JOBS, notifications.ANYTHING}:
            self.wakeup()

    def _main_loop(self) -> None:
        leave_pools()
        try:
            self._recheck_broken()
            super()._main_loop()
        finally:
            self._outage.close()
            give_back()

    def _recheck_broken(self) -> None:
        try:
            mend_broken(self._using)
        except (DatabaseError, InterfaceError) as error:
            self._outage.failed(error)

    def expect_due(self, seconds: float | None) -> None:
        """Look in time for a job that is due in some seconds; None for none."""
        if seconds is not None and time.monotonic() + seconds < self._next_look - 0.05:
            self.wakeup()

    def wakeup(self) -> None:
        """Have the thread look at once."""
        self._must_look = True
        super().wakeup()

    def _process_jobs(self) -> float:
        try:
            again_in = TIMEOUT_MAX if self._before_round is None else self._before_round()
            # Awake for `before_round` alone, it need not ask: maintenance would have said so.
            if self._must_look or time.monotonic() >= self._next_look:
                self._must_look = False
                self._next_look = time.monotonic() + self._tick()
        except (DatabaseError, InterfaceError) as error:
            self._must_look = True
            return self._outage.failed(error)
        except Exception:  # a mistake of ours must not end the thread that every schedule hangs on
            self._must_look = True
            logger.exception("the clock's round failed")
            return self._poll_seconds
        self._outage.worked()
        return max(0.0, min(self._next_look - time.monotonic(), again_in))

    def _tick(self) -> float:
        """Fire what is due; return the seconds until something may be."""
        while True:
            # Outside a transaction and without a lock: this is all that an idle clock does.
            wait = self.seconds_until_due()
            longest = TIMEOUT_MAX if self.has_maintainer else self._poll_seconds
            if wait is None:
                return longest
            if wait > 0:
                return min(wait, longest)
            if self.state == STATE_STOPPED:
                return 0.0
            if not self.fire_due():
                # Due, but all in another clock's hands.
                return min(0.05, self._poll_seconds)

    def seconds_until_due(self) -> float | None:
        """Return how long until the next job is due, negative when it is late; None without one."""
        waiting = self._store.next_due()
        if waiting is None:
            return None
        due, now = waiting
        return (due - now).total_seconds()

    def fire_due(self) -> int:
        """Fire one batch of due jobs, in one transaction.

        Returns:
            How many jobs were fired or set aside.
        """
        store, collector = self._store, self._collector
        store.forget()
        collector.runs = []
        with transactions.write_transaction(self._using) as connection:
            super()._process_jobs()
            if store.error is not None:
                raise store.error
            runs, ids = self._insert(collector.runs)
            self._write(connection, dict(zip((run.job_id for run in runs), ids, strict=True)))
        self._tell(runs, ids)
        return len(store.moved) + len(store.ended) + len(store.broken)

    def fire_here(self) -> int:
        """Fire all that is due, on this thread and in its transaction; for a clock that was not started.

        Returns:
            How many jobs were fired or set aside.
        """
        self._store.start(self, "default")
        self.state, before = STATE_RUNNING, self.state
        count = 0
        try:
            while fired := self.fire_due():
                count += fired
        finally:
            self.state = before
        return count

    def _insert(self, runs: list[NewRun]) -> tuple[list[NewRun], list[int]]:
        """Insert firings, without those that were made before; return what was inserted, and the ids."""
        if not runs:
            return [], []
        try:
            with transaction.atomic(using=self._using):
                ids = enqueue.insert(runs, using=self._using)
        except IntegrityError:
            # A job was set back to a time that it has fired at: restored from a backup, or by hand.
            made = self._ids_by_key(runs)
            runs = [run for run in runs if run.unique_key not in made]
            ids = enqueue.insert(runs, using=self._using)
        if len(ids) < len(runs):
            by_key = self._ids_by_key(runs)
            ids = [by_key[run.unique_key] for run in runs]
        return runs, ids

    def _ids_by_key(self, runs: list[NewRun]) -> dict[str | None, int]:
        made = Run.objects.using(self._using).filter(unique_key__in=[run.unique_key for run in runs])
        return dict(made.values_list("unique_key", "id"))

    def _write(self, connection: Any, last_runs: dict[str, int]) -> None:
        store = self._store
        if store.moved:
            backend = backend_of(connection)
            backend.move_jobs(store.moved)
            noted = [(pk, last_runs[pk]) for pk, _ in store.moved if pk in last_runs]
            if noted:
                backend.note_last_runs(noted)
        if store.ended:
            Job.objects.using(self._using).filter(pk__in=store.ended).delete()
        for pk, reason in store.broken:
            Job.objects.using(self._using).filter(pk=pk).update(broken_reason=reason)

    def _tell(self, runs: list[NewRun], ids: list[int]) -> None:
        for pk, reason in self._store.broken:
            signals.emit(signals.job_broken, job_id=pk, reason=reason)
        for run, run_id in zip(runs, ids, strict=True):
            signals.emit(
                signals.job_fired,
                job_id=run.job_id,
                run_id=run_id,
                scheduled_at=run.scheduled_at,
                skipped=run.error,
            )
        if runs:
            notifications.notify(notifications.RUNS, using=self._using)
        skipped = [(run.func, run.queue_name, run.status) for run in runs if run.status == Status.SKIPPED]
        if skipped:
            statistics.note_ended(skipped, using=self._using)


def read_trigger(row: Job) -> BaseTrigger:
    """Return a job's trigger, if the row can be read and is ours.

    Raises:
        UnknownTrigger: The trigger cannot be read.
        BadPayload: The row is signed with another key, or was tampered with.
    """
    codec.verify(row.func, row.payload, row.signature)
    return triggers.loads(row.job_state)


def mend_broken(using: str) -> list[str]:
    """Let broken jobs fire again that this process can read; return their ids."""
    mended = []
    for row in Job.objects.using(using).broken():
        try:
            read_trigger(row)
        except (UnknownTrigger, BadPayload):
            continue
        Job.objects.using(using).filter(pk=row.pk).update(broken_reason="")
        mended.append(row.id)
    return mended
