"""Delete old history, a little at a time, so that nobody waits for it.

A run's id says when it was enqueued, so the oldest are found along the primary key, and those of one
job along the index of jobs: no search reads what it does not delete, but for runs that took long.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError, InterfaceError
from django.db.models import Count, OuterRef, Subquery

from django_jobs.conf import jobs_settings
from django_jobs.models import FINISHED, Chore, Job, Run, Status, Tally, Worker, jobs_database
from django_jobs.storage import connections, queue, statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django.db.models import QuerySet

logger = logging.getLogger(__name__)

# Rows of one statement, which is a transaction of its own: some milliseconds.
BATCH = 300
# After each, rest as many times as long as it took: SQLite has one writer at a time.
REST = 4
# How often a round begins, over all processes, and how long it may take: less, so that two never meet.
EVERY = timedelta(minutes=5)
# The same after a round that deleted nothing, and before which nothing was added.
IDLE_EVERY = timedelta(hours=1)
ROUND_SECONDS = 200.0
# Seconds after its start that a process first looks; not all that were deployed together at once.
FIRST_LOOK = (10.0, 60.0)
# Runs that finished long after they were enqueued are looked for this often.
WALK_EVERY = timedelta(days=1)
# Most runs finish within this time, and are met once.
MARGIN = timedelta(hours=1)
# Runs of a round whose jobs are looked at: of those added since the last round, and of all. A job that
# adds many is found soon, and what it has too many of by then is about a thousandth of what was added.
NEW_SAMPLE, SAMPLE = 1000, 500
# Rows of workers that ended are kept no longer than this.
WORKER_DAYS = 30.0

PRUNE = "prune"


@dataclass(slots=True)
class Pruned:
    """How many rows were deleted, or would be."""

    runs: int = 0
    workers: int = 0
    tallies: int = 0
    # Whether all was looked at; False when the time was over before, or somebody said stop.
    is_complete: bool = True


class _Row(NamedTuple):
    pk: int
    job_id: str
    status: str
    enqueued_at: datetime
    finished_at: datetime | None

    def has_ended(self, before: datetime) -> bool:
        return self.status in FINISHED and self.finished_at is not None and self.finished_at < before


def prune(
    *,
    keep_days: float | None,
    keep_runs_per_job: int | None,
    dry_run: bool = False,
    on_progress: Callable[[Pruned], None] | None = None,
    stopped: threading.Event | None = None,
    using: str | None = None,
) -> Pruned:
    """Delete all history beyond some limits, looking at all of it once.

    Only finished runs, and rows of workers that have ended. The newest run of a scheduled or recurring
    job is kept whatever its age, so that the job can show it. May run beside anything else, also
    beside itself.

    Args:
        keep_days: Days since a run finished, or a worker ended; None for no limit.
        keep_runs_per_job: Runs of each job, the newest; None for no limit. To find jobs that have more,
            the index of jobs is read as a whole, without a lock.
        dry_run: Only count.
        on_progress: Called after each batch, with what was deleted so far.
        stopped: Ends it early when set.
        using: Alias of the database; None for that of the jobs.

    Raises:
        ValueError: A limit is negative, or no run of a job would be kept.
    """
    if keep_days is not None and keep_days < 0:
        raise ValueError(f"keep_days must be at least 0, not {keep_days}")
    if keep_runs_per_job is not None and keep_runs_per_job < 1:
        raise ValueError(f"keep_runs_per_job must be at least 1, not {keep_runs_per_job}")
    using = using or jobs_database()
    broom = _Broom(using, stopped or threading.Event(), dry_run=dry_run, on_progress=on_progress)
    now = queue.database_now(using)
    cutoff = None if keep_days is None else _ago(now, keep_days)
    if cutoff is not None:
        broom.sweep_workers(cutoff)
        for rows, _ in broom.each(_by_age(using, cutoff)):
            broom.sweep_runs(rows, cutoff)
    if keep_runs_per_job is not None:
        for job_id, edge in _all_beyond(using, keep_runs_per_job):
            broom.sweep_job(job_id, edge, keep_runs_per_job, cutoff)
            if broom.must_end:
                break
    return broom.pruned


class _Broom:
    """Deletes rows in small transactions, rests after each, and counts.

    Args:
        using: Alias of the database.
        stopped: Ends it when set.
        dry_run: Only count.
        on_progress: Called after each batch.
    """

    def __init__(
        self,
        using: str,
        stopped: threading.Event,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Pruned], None] | None = None,
    ) -> None:
        self._using = using
        self._stopped = stopped
        self._is_dry = dry_run
        self._on_progress = on_progress
        self._ends_at: float | None = None
        self.pruned = Pruned()

    def limit(self, seconds: float) -> None:
        """Give what comes next this much time."""
        self._ends_at = time.monotonic() + seconds

    @property
    def must_end(self) -> bool:
        """Whether somebody said stop, or the time is over."""
        return self._stopped.is_set() or (self._ends_at is not None and time.monotonic() > self._ends_at)

    def each(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches while there is time, with a rest after each in which others write."""
        began = time.monotonic()
        for batch in batches:
            yield batch
            if self._on_progress is not None:
                self._on_progress(self.pruned)
            self._stopped.wait(min(1.0, REST * (time.monotonic() - began)))
            if self.must_end:
                self.pruned.is_complete = False
                return
            began = time.monotonic()

    def sweep_runs(self, rows: Sequence[_Row], ended_before: datetime) -> None:
        """Delete those that ended before some time, but for the newest of scheduled jobs."""
        old = [row for row in rows if row.has_ended(ended_before)]
        kept = self._last_runs(old)
        ids = [row.pk for row in old if row.pk not in kept]
        # Said again: somebody may have retried one since it was looked at.
        runs = self._runs().filter(pk__in=ids, status__in=FINISHED, finished_at__lt=ended_before)
        self.pruned.runs += self._delete(runs, ids)

    def sweep_job(self, job_id: str, edge: int, keep: int, cutoff: datetime | None) -> None:
        """Delete the runs of a job up to one; those that ended before the cutoff are counted already.

        As many of those that are not SKIPPED are kept by themselves: others do not push them out.
        """
        others = self._runs().filter(job_id=job_id).exclude(status=Status.SKIPPED).order_by("-pk")
        last = next(iter(others.values_list("pk", flat=True)[keep : keep + 1]), 0)
        for rows in self.each(_of_job(self._using, job_id, edge)):
            ended = [row for row in rows if row.status in FINISHED and not (cutoff and row.has_ended(cutoff))]
            ids = [row.pk for row in ended if row.status == Status.SKIPPED or row.pk <= last]
            self.pruned.runs += self._delete(self._runs().filter(pk__in=ids, status__in=FINISHED), ids)

    def sweep_workers(self, cutoff: datetime) -> None:
        """Delete the rows of workers that ended before some time."""
        ended = Worker.objects.using(self._using).filter(stopped_at__lt=cutoff)
        if self._is_dry:
            self.pruned.workers += ended.count()
            return
        for ids in self.each(_in_batches(ended.order_by("stopped_at"))):
            self.pruned.workers += self._delete(ended.filter(pk__in=ids), ids)

    def sweep_tallies(self, now: datetime) -> None:
        """Delete tallies that are older than they are kept."""
        for outdated in statistics.outdated(now, using=self._using):
            for ids in self.each(_in_batches(outdated)):
                self.pruned.tallies += self._delete(Tally.objects.using(self._using).filter(pk__in=ids), ids)

    def _runs(self) -> QuerySet[Run]:
        return Run.objects.using(self._using).all()

    def _last_runs(self, rows: Sequence[_Row]) -> set[int | None]:
        jobs = Job.objects.using(self._using).filter(pk__in={row.job_id for row in rows})
        return set(jobs.values_list("last_run_id", flat=True)) if rows else set()

    def _delete(self, rows: QuerySet[Any], ids: Sequence[Any]) -> int:
        if not ids:
            return 0
        # One statement: nothing refers to these rows that would have to be looked for.
        return len(ids) if self._is_dry else int(rows._raw_delete(self._using))


def _ago(now: datetime, days: float) -> datetime:
    # No further than datetimes go.
    return now - timedelta(days=min(days, (now - datetime(1970, 1, 1, tzinfo=UTC)).days))


def _by_age(using: str, horizon: datetime, after: int = 0) -> Iterator[tuple[list[_Row], int]]:
    """Walk from the oldest run to those enqueued at the horizon; yield batches, and how far each goes."""
    while True:
        rows = _rows(Run.objects.using(using).filter(pk__gt=after))
        met = [row for row in rows if row.enqueued_at < horizon]
        if met:
            yield met, met[-1].pk
        if not met or len(rows) < BATCH:
            return
        after = rows[-1].pk


def _of_job(using: str, job_id: str, edge: int) -> Iterator[list[_Row]]:
    after = 0
    while rows := _rows(Run.objects.using(using).filter(job_id=job_id, pk__gt=after, pk__lte=edge)):
        yield rows
        after = rows[-1].pk


def _rows(runs: QuerySet[Run]) -> list[_Row]:
    columns = runs.order_by("pk").values_list("pk", "job_id", "status", "enqueued_at", "finished_at")
    return [_Row(*row) for row in columns[:BATCH]]


def _in_batches(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """Yield primary keys to delete until there are none."""
    while ids := list(rows.values_list("pk", flat=True)[:BATCH]):
        yield ids


# Jobs that have too many runs


def _edges(using: str, run_ids: Sequence[int], keep: int) -> dict[str, int]:
    """Return the jobs of some runs that have more than they may, and the newest run of each beyond."""
    runs = Run.objects.using(using)
    one_each = {job_id: pk for pk, job_id in runs.filter(pk__in=run_ids).values_list("pk", "job_id")}
    beyond = runs.filter(job_id=OuterRef("job_id")).order_by("-pk").values("pk")[keep : keep + 1]
    jobs = runs.filter(pk__in=list(one_each.values())).annotate(edge=Subquery(beyond))
    return {job_id: edge for job_id, edge in jobs.values_list("job_id", "edge") if edge is not None}


def _sampled_beyond(using: str, ranges: Sequence[tuple[range, int]], keep: int) -> Iterator[tuple[str, int]]:
    """Yield jobs that have too many runs, from samples of ids: ranges, and how many of each."""
    for ids, count in ranges:
        sample = random.sample(ids, count) if len(ids) > count else list(ids)
        for start in range(0, len(sample), BATCH):
            yield from _edges(using, sample[start : start + BATCH], keep).items()


def _all_beyond(using: str, keep: int) -> Iterator[tuple[str, int]]:
    """Yield all jobs that have too many runs."""
    runs = Run.objects.using(using)
    counted = runs.values("job_id").annotate(count=Count("pk")).filter(count__gt=keep).order_by("job_id")
    for job_id in list(counted.values_list("job_id", flat=True)):
        beyond = runs.filter(job_id=job_id).order_by("-pk").values_list("pk", flat=True)
        for edge in beyond[keep : keep + 1]:
            yield job_id, edge


# Rounds, which all processes share


def prune_in_turn(using: str, stopped: threading.Event) -> Pruned | None:
    """Prune by the settings for a while, if no process has within the last minutes.

    Returns:
        None when it is not time yet.
    """
    settings = jobs_settings()
    turn = _take_turn(PRUNE, using)
    if turn is None:
        return None
    now, state = turn
    seen = state.get("seen")
    broom = _Broom(using, stopped)
    broom.limit(ROUND_SECONDS / 2)
    _prune_by_age(broom, settings.KEEP_DAYS, now, state, using)
    if settings.KEEP_RUNS_PER_JOB is not None:
        # A long history must not keep this from its turn, nor this that.
        broom.limit(ROUND_SECONDS / 2)
        _prune_by_count(broom, settings.KEEP_RUNS_PER_JOB, state, using)
    if not broom.pruned.is_complete:
        # What is left is the next turn's, at once.
        due_at = queue.database_now(using)
    elif broom.pruned == Pruned() and state.get("seen") == seen:
        due_at = now + IDLE_EVERY
    else:
        due_at = now + EVERY
    Chore.objects.using(using).filter(pk=PRUNE).update(state=state, due_at=due_at)
    return broom.pruned


def _prune_by_age(
    broom: _Broom, keep_days: float | None, now: datetime, state: dict[str, Any], using: str
) -> None:
    broom.sweep_tallies(now)
    broom.sweep_workers(_ago(now, WORKER_DAYS if keep_days is None else min(WORKER_DAYS, keep_days)))
    if keep_days is None:
        return
    cutoff = _ago(now, keep_days)
    if not 0 <= now.timestamp() - state.get("walk_began", 0) < WALK_EVERY.total_seconds():
        state.update(walk_began=now.timestamp(), walked_to=0)
    horizon = cutoff - min(MARGIN, timedelta(days=keep_days) / 10)
    for rows, last in broom.each(_by_age(using, horizon, state["walked_to"])):
        broom.sweep_runs(rows, cutoff)
        state["walked_to"] = last


def _prune_by_count(broom: _Broom, keep: int, state: dict[str, Any], using: str) -> None:
    ids = Run.objects.using(using).filter(pk__gt=0).values_list("pk", flat=True)
    first, last = ids.order_by("pk").first(), ids.order_by("-pk").first()
    if first is None or last is None:
        return
    seen = max(first - 1, state.get("seen", 0))
    ranges = [(range(seen + 1, last + 1), NEW_SAMPLE), (range(first, last + 1), SAMPLE)]
    for job_id, edge in _sampled_beyond(using, ranges, keep):
        broom.sweep_job(job_id, edge, keep, None)
        if broom.must_end:
            return
    state["seen"] = last


def _take_turn(name: str, using: str) -> tuple[datetime, dict[str, Any]] | None:
    """Take the turn of a chore if it is due, by the database's clock; return the time and the state."""
    now = queue.database_now(using)
    chores = Chore.objects.using(using)
    chore, _ = chores.get_or_create(name=name, defaults={"due_at": now})
    # Far later than anybody could have set it to: the clock was set back.
    if now < chore.due_at <= now + 2 * IDLE_EVERY:
        return None
    # Of those that saw the same time, the first to change it has the turn.
    taken = chores.filter(pk=name, due_at=chore.due_at).update(due_at=now + EVERY)
    return (now, chore.state) if taken else None


class Pruner:
    """Has its process take part in the rounds, on threads that live as long as one look or round.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = time.monotonic() + random.uniform(*FIRST_LOOK)  # noqa: S311 - not a secret

    def look(self) -> None:
        """Begin to look whether a round is due, if it is time for that; return at once."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + EVERY.total_seconds()
        thread = threading.Thread(target=self._serve, name="django_jobs-pruner", daemon=True)
        thread.start()
        # Only now: `stop` waits for it.
        self._thread = thread

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        try:
            while (pruned := prune_in_turn(self._using, self._stopping)) and not pruned.is_complete:
                if self._stopping.is_set():
                    break
        except (DatabaseError, InterfaceError) as error:
            logger.warning("history was not pruned, some process will in its next round: %s", error)
        except Exception:  # a mistake of ours must be seen, and there is nobody else to see it
            logger.exception("pruning failed")
        finally:
            connections.give_back()
