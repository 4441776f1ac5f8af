"""The durable queue, for those who add and work: enqueue, claim, heartbeat, finish, hand back, rescue.

Only this module and `transitions` write `Run.status`.

Every change of state is one statement, or one transaction that locks first, and names the state
it starts from. A worker's late word about a run that it lost therefore changes nothing.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from django_jobs import signals
from django_jobs.models import Run, Status, Worker, jobs_database
from django_jobs.storage import notifications, sql, statistics
from django_jobs.storage.records import CLAIMED_COLUMNS, ClaimedRun, Outcome, error_entry, with_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_jobs.storage.records import NewRun

T = TypeVar("T")

# Rows of one INSERT or UPDATE: enough that the statement's own cost no longer shows.
BATCH = 300
# And their text in characters: MariaDB's default refuses statements of more than 16 MiB.
BATCH_SIZE = 3_000_000
# How far ahead of the database's clock a heartbeat by that same clock cannot be.
FUTURE = timedelta(seconds=60)
# Its job was paused while it ran.
PAUSE_ASKED = Q(held_run_after__isnull=False)
# Why a run ended that would have begun again.
ASKED = "cancelled while it ran, and not begun again"
# No message is under way.
NOT_DISPATCHED = {"dispatched_at": None, "redispatch_at": None}


@dataclass(slots=True)
class Heartbeat:
    """What a worker learns when it extends its lease; times by the database's clock."""

    now: datetime
    # The earliest `run_after` of all READY runs of all queues, past or future.
    next_ready: datetime | None
    # The earliest `next_run_time` of all jobs that can fire; None where it was not asked for.
    next_due: datetime | None
    # How many runs are RUNNING by this worker.
    held: int
    # Whether a run is RUNNING by somebody who is not alive.
    has_orphans: bool
    # Id and `process_key` of the other workers of its host that did not say goodbye.
    peers: list[tuple[str, str]]
    paused: tuple[str, ...]


@dataclass(slots=True)
class Rescued:
    """What became of a run whose worker died."""

    run_id: int
    job_id: str
    worker_id: str
    status: str
    reason: str
    func: str
    queue_name: str


@contextmanager
def write_transaction(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """Open a transaction that holds SQLite's write lock from its first statement on.

    A SQLite transaction that reads first and writes later fails at once when another process wrote
    in between, whatever its timeout; one that begins with a write waits its turn.
    """
    connection = connections[alias]
    with transaction.atomic(using=alias):
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(f"UPDATE {sql.WORKER_TABLE} SET id = id WHERE 0")  # noqa: S608
        yield connection


def database_now(alias: str) -> datetime:
    """Return the time by the database's clock, which decides leases and due times."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql.dialect(connection).now}", [])
        (value,) = cursor.fetchone()
    return _moment(value)


def _moment(value: Any) -> datetime:
    """Return a time as a raw cursor has it: text on SQLite, without a zone on SQLite and MariaDB."""
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=UTC)


def enqueue(runs: Sequence[NewRun], *, using: str | None = None) -> list[int]:
    """Insert runs in the caller's transaction, a few hundred to a statement.

    Returns:
        Their ids in order; empty where the database cannot return them (MySQL).

    Raises:
        IntegrityError: A `unique_key` is taken.
    """
    connection = connections[using or jobs_database()]
    dialect = sql.dialect(connection)
    ids: list[int] = []
    for batch in _batches(runs, [len(run.payload) for run in runs]):
        rows = [run.row(dialect.time) for run in batch]
        with connection.cursor() as cursor:
            cursor.execute(*dialect.insert(rows, [run.run_after for run in batch]))
            if connection.features.can_return_rows_from_bulk_insert:
                ids.extend(row[0] for row in cursor.fetchall())
            elif len(runs) == 1:
                ids.append(cursor.lastrowid)
    return ids


def claim(
    worker_id: str, *, limit: int, queues: Sequence[str] = (), paused: Sequence[str] = (), using: str
) -> list[ClaimedRun]:
    """Claim up to `limit` ready runs for one worker.

    Args:
        worker_id: At most 64 characters, of a live `Worker` row; one that was declared dead gets nothing.
        limit: At least 1; a worker passes its number of idle slots.
        queues: Names to claim from; empty means every queue.
        paused: Names not to claim from.
        using: Alias of the database.

    Returns:
        Runs by priority (high first), then `run_after`, then id; each now RUNNING, attempt + 1.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    connection = connections[using]
    dialect = sql.dialect(connection)
    if isinstance(dialect, sql.MariaDB):
        with transaction.atomic(using=using), connection.cursor() as cursor:
            cursor.execute(*dialect.claim(worker_id, queues, paused, limit))
            runs = [_claimed(row) for row in cursor.fetchall()]
            if runs:
                cursor.execute(*dialect.take(worker_id, [run.id for run in runs]))
        for run in runs:
            run.attempt += 1
            run.worker_id = worker_id
        return runs
    with connection.cursor() as cursor:
        cursor.execute(*dialect.claim(worker_id, queues, paused, limit))
        if isinstance(dialect, sql.PostgreSQL) and dialect.is_hinted:
            # The claim's own rows come last.
            while cursor.nextset():
                continue
        runs = [_claimed(row) for row in cursor.fetchall()]
    # RETURNING keeps no order. Due times are not returned: ids grow with them but for retries.
    runs.sort(key=lambda run: (-run.priority, run.id))
    return runs


def claim_one(run_id: int, worker_id: str, *, using: str) -> ClaimedRun | None:
    """Claim one run that waits, whatever it waits for: its time, its turn or a person.

    Args:
        run_id: Of the run.
        worker_id: As for `claim`; nobody asks whether it lives.
        using: Alias of the database.

    Returns:
        The run, now RUNNING with attempt + 1; None when it does not wait.
    """
    waiting = Run.objects.using(using).ready().filter(pk=run_id)
    is_ours = waiting.update(
        status=Status.RUNNING,
        attempt=F("attempt") + 1,
        worker_id=worker_id,
        started_at=database_now(using),
        cancel_requested=False,
        held_run_after=None,
        progress=None,
        **NOT_DISPATCHED,
    )
    if not is_ours:
        return None
    return _claimed(Run.objects.using(using).values_list(*CLAIMED_COLUMNS).get(pk=run_id))


def claim_dispatched(run_id: int, attempt: int, worker_id: str, *, using: str) -> ClaimedRun | None:
    """Claim the run that a message is about.

    Args:
        run_id: Of the run.
        attempt: Which one the message is for: a late or a second message is about one that is over.
        worker_id: As for `claim`.
        using: Alias of the database.

    Returns:
        The run, now RUNNING in that attempt; None when it is not due in it, or its queue is paused.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(*sql.dialect(connection).claim_dispatched(worker_id, run_id, attempt))
        is_ours = cursor.rowcount == 1
    if is_ours:
        return _claimed(Run.objects.using(using).values_list(*CLAIMED_COLUMNS).get(pk=run_id))
    # If it still waits, no message is under way any more.
    waiting = Run.objects.using(using).ready().filter(pk=run_id, attempt=attempt - 1)
    waiting.update(**NOT_DISPATCHED)
    return None


def _claimed(row: Sequence[Any]) -> ClaimedRun:
    run = ClaimedRun(*row)
    run.options = _from_json(run.options) or {}
    run.errors = _from_json(run.errors) or []
    return run


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def seconds_until_ready(
    *, queues: Sequence[str] = (), paused: Sequence[str] = (), within: float, using: str
) -> float | None:
    """Return how long until the next deferred run is due; None when none is in that time.

    Args:
        queues: As for `claim`.
        paused: As for `claim`.
        within: Seconds; what is due later is not looked for.
        using: Alias of the database.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(*sql.dialect(connection).next_ready(queues, paused, within))
        due, now = cursor.fetchone()
    return None if due is None else max(0.0, (_moment(due) - _moment(now)).total_seconds())


def is_any_due(worker_id: str, *, queues: Sequence[str] = (), paused: Sequence[str] = (), using: str) -> bool:
    """Return whether `claim` with these arguments would find a run, or one that somebody else locks."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(*sql.dialect(connection).pick(worker_id, queues, paused, 1))
        return cursor.fetchone() is not None


def finish(outcomes: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[tuple[int, int]]:
    """Write what attempts came to, a few hundred to a statement.

    Fenced: only a run that is RUNNING by the same worker in the same attempt is written, so a
    worker that lost a run cannot end it a second time. One that was asked to stop is not tried again:
    it is CANCELLED, and its outcome says so from then on.

    Returns:
        Id and attempt of those that were written; the others belong to somebody else by now.
    """
    written = _finish(outcomes, using=using)
    left = [
        (run, outcome)
        for run, outcome in outcomes
        if outcome.status == Status.READY and (run.id, run.attempt) not in written
    ]
    if left:
        # Asked to stop, or lost.
        status = Status.CANCELLED.value
        ends = [(run, replace(outcome, status=status, retry_in=None)) for run, outcome in left]
        cancelled = _finish(ends, using=using)
        for run, outcome in left:
            if (run.id, run.attempt) in cancelled:
                outcome.status, outcome.retry_in = status, None
        written |= cancelled
    return written


def _finish(outcomes: Sequence[tuple[ClaimedRun, Outcome]], *, using: str) -> set[tuple[int, int]]:
    """Write outcomes, but those to be tried again only where nobody asked for the end."""
    connection = connections[using]
    dialect = sql.dialect(connection)
    written: set[tuple[int, int]] = set()
    all_rows = [_finished(dialect, run, outcome) for run, outcome in outcomes]
    sizes = [sum(len(value) for value in row[7:] if value) for row in all_rows]
    has_keys = any(run.unique_key is not None for run, _ in outcomes)
    by_key = None if dialect.returns_finished else {(run.id, run.attempt): (run, o) for run, o in outcomes}
    for rows in _batches(all_rows, sizes):
        if isinstance(dialect, sql.MariaDB):
            with transaction.atomic(using=using), connection.cursor() as cursor:
                cursor.execute(*dialect.fence([row[0] for row in rows]))
                # And whether somebody asked for their end.
                ours = {row[:3]: row[3] for row in cursor.fetchall()}
                rows = [
                    row for row in rows if row[:3] in ours and not (ours[row[:3]] and row[3] == Status.READY)
                ]
                if rows:
                    cursor.execute(*dialect.finish(rows, has_keys=has_keys))
            written.update(row[:2] for row in rows)
        else:
            with connection.cursor() as cursor:
                cursor.execute(*dialect.finish(rows, has_keys=has_keys))
                if by_key is None:
                    written.update(cursor.fetchall())
                    continue
                is_all = cursor.rowcount == len(rows)
            keys = [row[:2] for row in rows]
            written.update(key for key in keys if is_all or is_written(*by_key[key], using=using))
    return written


def _batches(rows: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    """Cut rows into the parts of one statement each, by their number and their characters."""
    start = size = 0
    for index, more in enumerate(sizes):
        if index > start and (index - start >= BATCH or size + more > BATCH_SIZE):
            yield rows[start:index]
            start, size = index, 0
        size += more
    if start < len(rows):
        yield rows[start:]


def _finished(dialect: sql.Dialect, run: ClaimedRun, outcome: Outcome) -> tuple[Any, ...]:
    errors = run.errors
    if outcome.error:
        errors = with_error(errors, error_entry(run.attempt, run.worker_id, outcome))
    return (
        run.id,
        run.attempt,
        run.worker_id,
        str(outcome.status),
        dialect.delay(outcome.retry_in),
        dialect.time(outcome.started_at),
        None if outcome.status == Status.READY else dialect.time(outcome.finished_at),
        outcome.result,
        outcome.error,
        json.dumps(errors) if errors else None,
        outcome.log,
        json.dumps(outcome.progress) if outcome.progress else None,
    )


def held(worker_id: str, *, using: str) -> set[tuple[int, int]]:
    """Return id and attempt of the runs that are RUNNING by a worker, as the database has it."""
    rows = Run.objects.using(using).running().filter(worker_id=worker_id)
    return set(rows.values_list("id", "attempt"))


def is_written(run: ClaimedRun, outcome: Outcome, *, using: str) -> bool:
    """Return whether a run's row has the outcome of this attempt, whose answer was lost."""
    row = Run.objects.using(using).filter(pk=run.id, attempt=run.attempt, worker_id=run.worker_id)
    return row.filter(status=outcome.status, started_at=outcome.started_at).exists()


def release_claims(worker_id: str, runs: Collection[tuple[int, int]], *, using: str) -> int:
    """Return claimed runs that were not begun, as if they had never been claimed.

    Args:
        worker_id: Who claimed them.
        runs: Id and attempt of each.
        using: Alias of the database.

    Returns:
        How many were still that worker's, in that attempt: those that were asked to stop are CANCELLED.
    """
    count = 0
    for attempt in {attempt for _, attempt in runs}:
        ids = [pk for pk, of in runs if of == attempt]
        held = Run.objects.using(using).running().filter(id__in=ids, worker_id=worker_id, attempt=attempt)
        count += _return(held, len(ids), attempt, using=using)
    return count


def release_interrupted(run: ClaimedRun, outcome: Outcome, *, using: str) -> bool:
    """Return a run to the queue whose function has been called, without counting the attempt.

    Args:
        run: As claimed.
        outcome: How far it came; its error is kept with those of attempts.
        using: Alias of the database.

    Returns:
        Whether it was still that worker's, in that attempt: if it was asked to stop, it is CANCELLED.
    """
    held = Run.objects.using(using).running().filter(id=run.id, worker_id=run.worker_id, attempt=run.attempt)
    errors = with_error(run.errors, error_entry(run.attempt, run.worker_id, outcome))
    return bool(_return(held, 1, run.attempt, errors=errors, using=using))


def _return(held: QuerySet[Run], most: int, attempt: int, *, using: str, **changes: Any) -> int:
    """Have up to `most` running runs wait as before this attempt, but for those that shall not go on."""
    count = held.filter(cancel_requested=False).update(
        status=Status.READY,
        attempt=attempt - 1,
        worker_id="",
        started_at=None,
        # In this order: MariaDB computes the second from what the first has set.
        held_run_after=Case(When(PAUSE_ASKED, then=Coalesce("run_after", "held_run_after"))),
        run_after=Case(When(PAUSE_ASKED, then=None), default=F("run_after")),
        **changes,
    )
    if count < most:
        # Whoever asks from now on finds them READY.
        count += end_cancelled(held.filter(cancel_requested=True), ASKED, using=using)
    return count


def end_cancelled(runs: QuerySet[Run], reason: str, *, using: str) -> int:
    """End runs that wait, or would wait again, as CANCELLED; return how many."""
    with write_transaction(using):
        columns = ("pk", "options", "func", "queue_name")
        rows = list(runs.select_for_update().values_list(*columns))
        for start in range(0, len(rows), BATCH):
            runs.filter(pk__in=[row[0] for row in rows[start : start + BATCH]]).update(
                status=Status.CANCELLED, finished_at=timezone.now(), unique_key=_freed_key(), error=reason
            )
        if rows:
            cancelled = [(pk, options) for pk, options, _, _ in rows]
            ended = [(func, queue_name, Status.CANCELLED.value) for _, _, func, queue_name in rows]
            transaction.on_commit(lambda: statistics.note_ended(ended, using=using), using=using)
            transaction.on_commit(
                lambda: signals.emit(signals.runs_cancelled, runs=cancelled, reason=reason), using=using
            )
    return len(rows)


def _freed_key() -> Any:
    # A firing keeps its key for ever; an immediate job frees its id when it has ended.
    return Case(When(scheduled_at__isnull=True, then=Value(None)), default=F("unique_key"))


def set_progress(run: ClaimedRun, progress: dict[str, Any], *, using: str) -> None:
    """Store how far a run has come, if it is still this worker's."""
    Run.objects.using(using).running().filter(id=run.id, worker_id=run.worker_id, attempt=run.attempt).update(
        progress=progress
    )


def cancel_requests(worker_id: str, *, using: str) -> list[int]:
    """Return the runs of one worker that somebody wants stopped."""
    return list(
        Run.objects.using(using)
        .running()
        .filter(worker_id=worker_id, cancel_requested=True)
        .values_list("id", flat=True)
    )


def heartbeat(
    worker_id: str, *, lease_seconds: float, host: str = "", has_clock: bool = False, using: str
) -> Heartbeat | None:
    """Extend the lease of all that a worker holds, by the database's clock, and look around.

    One statement, where an UPDATE can return values; two on MariaDB and MySQL. It is all that an idle
    process asks of its database.

    Returns:
        None when the worker was declared dead: its runs are others' now.
    """
    connection = connections[using]
    dialect = sql.dialect(connection)
    state, more = dialect.state(worker_id, host, has_clock=has_clock, future=FUTURE.total_seconds())
    beat, params = dialect.heartbeat(worker_id, lease_seconds)
    with connection.cursor() as cursor:
        if isinstance(dialect, sql.MariaDB):
            cursor.execute(beat, params)
            if not cursor.rowcount:
                return None
            cursor.execute(f"SELECT {state}", more)
        else:
            cursor.execute(f"{beat} RETURNING {state}", [*params, *more])
        row = cursor.fetchone()
    if row is None:
        return None
    now, next_ready, next_due, held, has_orphans, peers, paused = row
    return Heartbeat(
        now=_moment(now),
        next_ready=None if next_ready is None else _moment(next_ready),
        next_due=None if next_due is None else _moment(next_due),
        held=held,
        has_orphans=bool(has_orphans),
        peers=[(peer, key) for peer, key in _from_json(peers) or []],
        paused=tuple(_from_json(paused) or ()),
    )


def rescue(
    now: datetime | None = None,
    *,
    max_rescues: int,
    gone: Collection[str] = (),
    leases: bool = True,
    using: str,
) -> list[Rescued]:
    """Take their runs from workers that died, and decide what becomes of each.

    A worker is dead when its lease ended by the database's clock, or when the caller knows it
    (`gone`, ids). Its row is closed in the same transaction, so that a worker that only slept
    learns at its next heartbeat that it lost them.

    Args:
        now: The time by the database's clock, where the caller has it already.
        max_rescues: A run whose workers died more often than this is FAILED.
        gone: Ids of workers whose process provably ended.
        leases: Whether an ended lease is a death; False where the clock cannot be trusted. So is a
            heartbeat from the future: the clock was set back, and who lives has said so since.
        using: Alias of the database.
    """
    now = now or database_now(using)
    live = Worker.objects.using(using).filter(pk=OuterRef("worker_id"), stopped_at__isnull=True)
    ended = Q(lease_expires_at__lt=now) | Q(heartbeat_at__gt=now + FUTURE) if leases else Q(pk__in=[])
    held = Run.objects.using(using).running()
    if not gone and not held.filter(~Exists(live.exclude(ended))).exists():
        return []
    with write_transaction(using):
        Worker.objects.using(using).filter(ended | Q(pk__in=list(gone)), stopped_at__isnull=True).update(
            stopped_at=now, was_lost=True
        )
        lost = list(held.filter(~Exists(live)).select_for_update(skip_locked=_skips_locked(using)))
        return [_rescue(run, now, max_rescues, using) for run in lost]


def rescue_one(run: ClaimedRun, reason: str, *, max_rescues: int, using: str) -> Rescued | None:
    """Take a run from the process of its worker that died while executing it.

    Args:
        run: As claimed.
        reason: How the process ended.
        max_rescues: As for `rescue`.
        using: Alias of the database.

    Returns:
        What became of it; None when it is another worker's by now.
    """
    with write_transaction(using):
        held = (
            Run.objects.using(using).running().filter(pk=run.id, worker_id=run.worker_id, attempt=run.attempt)
        )
        row = held.select_for_update().first()
        return None if row is None else _rescue(row, database_now(using), max_rescues, using, reason)


def tell_of_outcome(run: ClaimedRun, outcome: Outcome, *, is_written: bool) -> None:
    """Say what became of an attempt: it ended, waits for a person, or came too late to be written."""
    if not is_written:
        signals.emit(signals.run_refused, run=run)
    elif outcome.status == Status.READY and outcome.retry_in is None:
        signals.emit(signals.run_held, run=run, reason=outcome.error)
    else:
        signals.emit(signals.run_finished, run=run, outcome=outcome)


def tell_of_rescues(rescued: Sequence[Rescued], *, using: str) -> None:
    """Say what became of runs whose worker died."""
    for one in rescued:
        signals.emit(
            signals.run_rescued,
            job_id=one.job_id,
            run_id=one.run_id,
            worker_id=one.worker_id,
            status=one.status,
            reason=one.reason,
        )
    if rescued:
        notifications.notify(notifications.RUNS, using=using)
    ended = [(one.func, one.queue_name, one.status) for one in rescued if one.status != Status.READY]
    if ended:
        statistics.note_ended(ended, using=using)


def _skips_locked(using: str) -> bool:
    return bool(connections[using].features.has_select_for_update_skip_locked)


def _rescue(
    run: Run, now: datetime, max_rescues: int, using: str, reason: str = "its worker died"
) -> Rescued:
    rescues = run.rescues + 1
    status = Status.READY
    if run.cancel_requested:
        status, reason = Status.CANCELLED, f"cancelled; {reason} before it could stop"
    elif (run.options or {}).get("at_most_once"):
        status, reason = Status.FAILED, f"{reason}, and at_most_once forbids another attempt"
    elif rescues > max_rescues:
        more = "" if reason == "its worker died" else f": {reason}"
        status, reason = Status.FAILED, f"its worker died {rescues} times{more}"
    outcome = Outcome(status, run.started_at or now, now, error=f"WorkerDied: {reason}")
    is_over = status != Status.READY
    run.errors = with_error(run.errors or [], error_entry(run.attempt, run.worker_id, outcome))
    run.status, run.error, run.rescues = status, outcome.error, rescues
    run.finished_at = now if is_over else None
    if not is_over:
        is_paused = run.held_run_after is not None
        run.run_after, run.held_run_after = (None, now) if is_paused else (now, None)
    if is_over and run.scheduled_at is None:
        run.unique_key = None
    fields = [
        "errors", "status", "error", "rescues", "finished_at", "run_after", "held_run_after", "unique_key"
    ]  # fmt: skip
    run.save(using=using, update_fields=fields)
    return Rescued(run.pk, run.job_id, run.worker_id, str(status), reason, run.func, run.queue_name)
