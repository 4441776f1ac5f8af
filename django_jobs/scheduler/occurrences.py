"""One round of a clock: due jobs become runs and move on, in one transaction.

An occurrence is one due time of one job. Any number of clocks may do this on one database. Each locks
the due jobs that it sees (others skip them), inserts their runs and moves their `next_run_time` in one
transaction. So one occurrence makes one run, whichever clock lives or dies meanwhile.

A unique key is the second guard, for a job that was set back to a time that it has fired at (by a
restored backup, or by hand). The key is the job's id and the time. A later job may have the same id and
the same time, and must fire, so a taken key is looked at: the run that holds it counts as this job's only
if it was made since `Job.occurrences_since`. Otherwise this occurrence gets a key that has that time in it,
too. The plain key is always tried first. So clocks of versions that know no other, on the same database
in a rolling deploy, collide with it as ever: they may swallow such an occurrence, as they always did, but
no mixture of versions fires one twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from django.db import IntegrityError, connections, transaction
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from django_jobs import signals, triggers
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import Job, Run, Status
from django_jobs.scheduler import overlaps
from django_jobs.scheduler.broken import read_trigger
from django_jobs.storage import enqueue, notifications, statistics, transactions
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.records import MISSED_SINCE, TOO_MANY, NewRun, occurrence_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django_jobs.models import RunQuerySet

# Due jobs of one transaction: enough to make its commit cheap, few enough that other clocks find some.
BATCH = 200
# Scheduled times of one transaction: a job without `coalesce` may have missed any number of them.
MOST_TIMES = 1000


@dataclass(slots=True)
class DueJob:
    """A locked job and its occurrences.

    Args:
        row: The job's.
        now: By the database's clock. Hosts may disagree, and one whose clock is ahead would fire early.
        times: Those until now.
        next_run_time: The one after them, which may be due, too; None when there is none.
    """

    row: Job
    now: datetime
    times: list[datetime]
    next_run_time: datetime | None
    # The first time that was due, where `times` has only the last of several.
    missed_since: datetime | None = None
    # Whether runs of it wait for their turn.
    has_waiting: bool = False

    @property
    def overlap(self) -> str:
        """What it does while `max_instances` of it are unfinished."""
        return str((self.row.options or {}).get("overlap", "skip"))


@dataclass(slots=True)
class Batch:
    """The due jobs that one transaction has locked.

    Args:
        due: Those that can be read.
        broken: Ids of the others, each with the reason.
    """

    due: list[DueJob]
    broken: list[tuple[str, str]]


def seconds_until_due(using: str) -> float | None:
    """Return how long until the next job is due, negative when it is late; None without one."""
    return backend_of(connections[using]).seconds_until_job()


def fire_all(using: str) -> int:
    """Fire all that is due, on this thread; return how many jobs were fired or set aside."""
    count = 0
    while fired := fire_due(using):
        count += fired
    return count


def fire_due(using: str) -> int:
    """Fire one batch of due jobs, in one transaction.

    Returns:
        How many jobs were fired or set aside, at most `BATCH`.
    """
    with transactions.write_transaction(using):
        batch = _lock_due(using)
        runs, ids = insert_once(batch, _new_runs(batch, using), using)
        _queue_behind(batch, runs, ids, using)
        _move(batch, dict(zip((run.job_id for run in runs), ids, strict=True)), using)
    _tell(batch.broken, runs, ids, using)
    for job in batch.due:
        if job.overlap == "cancel_running" and job.has_waiting:
            overlaps.cancel_before_newest(job.row.id, using=using)
    return len(batch.due) + len(batch.broken)


def database_time(using: str) -> RawSQL:
    """Return the database's time, for use in a query."""
    return RawSQL(backend_of(connections[using]).now, (), output_field=DateTimeField())  # noqa: S611 - words of ours


def _lock_due(using: str) -> Batch:
    """Lock the due jobs that no other clock holds, the earliest first."""
    db_now = database_time(using)
    can_skip = connections[using].features.has_select_for_update_skip_locked
    rows = list(
        Job.objects.using(using)
        .active()
        .filter(next_run_time__lte=db_now)
        .annotate(db_now=db_now)
        .order_by("next_run_time")
        .select_for_update(skip_locked=bool(can_skip))[:BATCH]
    )
    batch = Batch([], [])
    # All of them get on, however much one has missed.
    limit = max(1, MOST_TIMES // max(1, len(rows)))
    for row in rows:
        try:
            batch.due.append(_due_job(row, row.db_now, limit))
        except (UnknownTrigger, BadPayload) as error:
            batch.broken.append((row.id, str(error)))
        except Exception as error:  # noqa: BLE001 - one job's trigger must not keep all others from firing
            batch.broken.append((row.id, f"its trigger raised {type(error).__name__}: {error}"))
    return batch


def _due_job(row: Job, now: datetime, limit: int = MOST_TIMES) -> DueJob:
    trigger = read_trigger(row)
    # The database returns UTC; calendar intervals count from the day it is in their own zone.
    first = triggers.local(trigger, row.next_run_time)
    # The rules of its zone may have changed since it was stored.
    if not row.has_chosen_next_run and (later := triggers.moved_to(trigger, first)) is not None:
        first = later
    times, next_run_time = triggers.due(trigger, first, now, coalesce=row.coalesce, limit=limit)
    is_several = bool(times) and times[0] > first
    return DueJob(row, now, times, next_run_time, first if is_several else None)


def _new_runs(batch: Batch, using: str) -> list[NewRun]:
    """Make a run of each occurrence, and SKIPPED ones that say why the others are not executed."""
    if not batch.due:
        return []
    unfinished = backend_of(connections[using]).count_unfinished([job.row.id for job in batch.due])
    runs = []
    for job in batch.due:
        count, waiting = unfinished.get(job.row.id, (0, 0))
        if waiting:
            # Whoever ended the run before them did so while they were paused, or is of a version that knows no turns.
            waiting -= overlaps.let_through(job.row.id, job.row.max_instances, using=using)
        runs.extend(_runs_of(job, count, waiting))
    return runs


def _runs_of(job: DueJob, unfinished: int, waiting: int) -> list[NewRun]:
    """Make the runs of one job.

    Args:
        job: The job.
        unfinished: How many of its runs have not ended.
        waiting: How many of those wait for their turn.
    """
    row = job.row
    runs: list[NewRun] = []
    late: list[datetime] = []
    too_many: list[datetime] = []
    for scheduled_at in job.times:
        if _is_misfire(row, job.now - scheduled_at):
            late.append(scheduled_at)
            continue
        run = occurrence_run(row, scheduled_at)
        if job.missed_since is not None:
            run.options = {**(run.options or {}), MISSED_SINCE: job.missed_since.isoformat()}
        if unfinished + len(runs) < row.max_instances:
            runs.append(run)
        elif overlaps.may_wait(job.overlap, waiting, coalesce=row.coalesce):
            overlaps.have_wait(run)
            job.has_waiting = True
            waiting += 1
            runs.append(run)
        else:
            too_many.append(scheduled_at)
    if late:
        seconds = (job.now - late[-1]).total_seconds()
        reason = f"Misfire: {seconds:.1f} s late, and misfire_grace_time is {row.misfire_grace_time} s"
        runs.append(occurrence_run(row, late[-1], reason + _several(late)))
    if too_many:
        count = unfinished + len(runs) - bool(late)
        reason = f"{TOO_MANY}: {count} unfinished, and max_instances is {row.max_instances}"
        runs.append(occurrence_run(row, too_many[-1], reason + _several(too_many)))
    return runs


def _is_misfire(row: Job, late: timedelta) -> bool:
    return row.misfire_grace_time is not None and late > timedelta(seconds=row.misfire_grace_time)


def _several(skipped: list[datetime]) -> str:
    """Say of which times a skipped run is, where it stands for more than its own."""
    # One row and one line of the log: a job without `coalesce` may have missed thousands.
    if len(skipped) == 1:
        return ""
    return f"; this is for {len(skipped):,} scheduled times since {_in_utc(skipped[0])}"


def _in_utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def occurrence_run(
    row: Job, scheduled_at: datetime | None, skipped: str = "", *, since: datetime | None = None
) -> NewRun:
    """Return the run of one occurrence of a job; None makes one besides its schedule.

    Args:
        row: The job.
        scheduled_at: Its scheduled time.
        skipped: Why it is not executed.
        since: From when a run besides the schedule may expire; None for now.
    """
    return NewRun.of(
        row,
        row.id,
        since=scheduled_at or since,
        kind=row.kind,
        scheduled_at=scheduled_at,
        unique_key=None if scheduled_at is None else occurrence_key(row.id, scheduled_at),
        status=(Status.SKIPPED if skipped else Status.READY).value,
        error=skipped,
    )


def insert_once(batch: Batch, runs: list[NewRun], using: str) -> tuple[list[NewRun], list[int]]:
    """Insert runs, without those that were made before; return what was inserted, and the ids."""
    if not runs:
        return [], []
    try:
        with transaction.atomic(using=using):
            ids = enqueue.insert(runs, using=using)
    except IntegrityError:
        runs = _without_made(batch, runs, using)
        ids = enqueue.insert(runs, using=using) if runs else []
    if len(ids) < len(runs):
        by_key = dict(_made(runs, using).values_list("unique_key", "id"))
        ids = [by_key[run.unique_key] for run in runs]
    return runs, ids


def _queue_behind(batch: Batch, runs: list[NewRun], ids: list[int], using: str) -> None:
    """Have runs wait for their turn that are to, and let those through whose turn it is."""
    waiting = [run_id for run, run_id in zip(runs, ids, strict=True) if run.run_after == "held"]
    if waiting:
        overlaps.wait_for_turn(waiting, using=using)
    for job in batch.due:
        if job.has_waiting:
            overlaps.let_through(job.row.id, job.row.max_instances, using=using)


def _without_made(batch: Batch, runs: list[NewRun], using: str) -> list[NewRun]:
    """Return the runs that their jobs have not made yet, with the keys that are free for them."""
    since = {job.row.id: job.row.occurrences_since or job.row.created_at for job in batch.due}
    holders = dict(_made(runs, using).values_list("unique_key", "enqueued_at"))
    # Keys that MariaDB's collation takes for equal to ours are of other ids (Report, report).
    strangers = holders.keys() - {run.unique_key for run in runs}
    times = {str(key).rpartition("@")[2] for key in strangers}
    left, later = [], []
    for run in runs:
        enqueued_at = holders.get(run.unique_key)
        if enqueued_at is None and str(run.unique_key).rpartition("@")[2] not in times:
            left.append(run)
        elif run.scheduled_at is not None and (enqueued_at is None or enqueued_at < since[run.job_id]):
            run.unique_key = occurrence_key(run.job_id, run.scheduled_at, since[run.job_id])
            later.append(run)
    made = set(_made(later, using).values_list("unique_key", flat=True))
    return [*left, *(run for run in later if run.unique_key not in made)]


def _made(runs: Iterable[NewRun], using: str) -> RunQuerySet:
    return Run.objects.using(using).filter(unique_key__in=[run.unique_key for run in runs])


def _move(batch: Batch, last_runs: dict[str, int], using: str) -> None:
    """Move jobs to their next time, delete those without one, and set aside those that are broken."""
    backend = backend_of(connections[using])
    jobs = Job.objects.using(using)
    moved = [(job.row.id, job.next_run_time) for job in batch.due if job.next_run_time]
    if moved:
        backend.move_jobs(moved)
        noted = [(pk, last_runs[pk]) for pk, _ in moved if pk in last_runs]
        if noted:
            backend.note_last_runs(noted)
    ended = [job.row.id for job in batch.due if job.next_run_time is None]
    if ended:
        jobs.filter(pk__in=ended).delete()
    for pk, reason in batch.broken:
        jobs.filter(pk=pk).update(broken_reason=reason)


def _tell(broken: list[tuple[str, str]], runs: Sequence[NewRun], ids: Sequence[int], using: str) -> None:
    for pk, reason in broken:
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
        notifications.notify(notifications.RUNS, using=using)
    skipped = [(run.func, run.queue_name, run.status) for run in runs if run.status == Status.SKIPPED]
    if skipped:
        statistics.note_ended(skipped, using=using)
