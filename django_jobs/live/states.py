"""What pages show, with a few cheap queries: whether anything changed, and the state of single jobs and runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_jobs import codec
from django_jobs.api.batch_info import iso
from django_jobs.models import BATCH_PREFIX, BLOCKED_STATES, FINISHED, Batch, Job, Kind, Run, Status
from django_jobs.operations.run_query import run_number
from django_jobs.storage import tables
from django_jobs.storage.backends.choose import backend_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What can be watched: everything, one run, one job's newest run, or what is about one object.
CHANGES = "changes"
RUN, JOB, ABOUT = "run:", "job:", "about:"

# Topics that one page or socket can watch.
MOST_TOPICS = 50
# Rows that are counted of each kind; where there are more, something else tells that they change.
COUNTED = 1000
# Jobs and runs of an object that are looked at: no fewer than its panel shows.
MOST_OF_OBJECT = 20
# Single jobs and runs of one statement.
BATCH = 200

_COLUMNS = (
    "id", "job_id", "kind", "status", "attempt", "rescues", "cancel_requested", "run_after", "started_at",
    "finished_at", "progress", "held_run_after", "waits_for",
)  # fmt: skip


def _count(table: str, where: str = "TRUE", what: str = "COUNT(id)") -> str:
    few = f"SELECT id FROM {table} WHERE {where} LIMIT {COUNTED}"  # noqa: S608 - names of ours
    return f"(SELECT {what} FROM ({few}) few)"  # noqa: S608


# Each is read from the end of an index, or from a bounded number of rows.
_SIGNS = (
    # A run was added; waits, or was claimed; began, or ended; is asked to stop.
    f"(SELECT MAX(id) FROM {tables.RUN_TABLE})",  # noqa: S608 - names of ours, as below
    _count(tables.RUN_TABLE, "status = 'READY'"),
    _count(tables.RUN_TABLE, "status = 'RUNNING'"),
    _count(tables.RUN_TABLE, "status = 'RUNNING'", "SUM(id)"),
    _count(tables.RUN_TABLE, "status = 'RUNNING' AND cancel_requested"),
    # A run came and went between two looks.
    f"(SELECT SUM(runs) FROM {tables.ROLLUP_TABLE} WHERE size_seconds = 60 AND begins_at >= %s)",  # noqa: S608
    # A job was added, fired, paused or resumed.
    _count(tables.TRIGGER_TABLE),
    _count(tables.TRIGGER_TABLE, "next_run_time IS NULL"),
    f"(SELECT MIN(next_run_time) FROM {tables.TRIGGER_TABLE})",  # noqa: S608
    f"(SELECT MAX(next_run_time) FROM {tables.TRIGGER_TABLE})",  # noqa: S608
    # A worker came or went; a queue was paused or resumed.
    _count(tables.WORKER_TABLE, "stopped_at IS NULL"),
    _count(tables.WORKER_TABLE, "stopped_at IS NULL", "MAX(id)"),
    f"(SELECT COUNT(paused_at) FROM {tables.QUEUE_TABLE})",  # noqa: S608
    f"(SELECT MAX(paused_at) FROM {tables.QUEUE_TABLE})",  # noqa: S608
)


# The last chunk of a run's log.
_LAST_LINES = f"(SELECT MAX(l.id) FROM {tables.LOG_TABLE} l WHERE l.run_id = r.id)"  # noqa: S608 - names of ours


@dataclass(frozen=True, slots=True)
class State:
    """How something that is watched stands.

    Attributes:
        digest: Differs once it has changed.
        run: A job's newest run, or the run; None where there is none, or for everything.
        job: The job's row, where it was needed to tell.
        batch: The batch, where the id is of one.
        has_begun: Whether any run of the batch has begun.
    """

    digest: str
    run: Run | None = None
    job: Job | None = None
    batch: Batch | None = None
    has_begun: bool = False

    @property
    def exists(self) -> bool:
        """Whether there is such a job, run or batch."""
        return self.run is not None or self.job is not None or self.batch is not None

    @property
    def status(self) -> str:
        """One of queued, running, stopping, successful, failed, cancelled, skipped, scheduled, paused, broken."""
        if self.batch is not None:
            state = self.batch.state
            if state in {"open", "running"}:
                return "running" if self.has_begun else "queued"
            return "stopping" if state == "cancelling" else state
        if self.run is None:
            return self.job.status if self.job else ""
        state = self.run.state
        return "queued" if state in {"ready", "deferred", *BLOCKED_STATES} else state

    @property
    def is_finished(self) -> bool:
        """Whether the run or the batch has ended."""
        if self.batch is not None:
            return self.batch.ended_at is not None
        return self.run is not None and self.run.status in FINISHED

    @property
    def is_over(self) -> bool:
        """Whether it has ended and nothing more is to come of the job by itself."""
        return self.is_finished and (self.job is None or self.job.next_run_time is None)


def is_topic(topic: object) -> bool:
    """Return whether something can be watched."""
    if not isinstance(topic, str) or len(topic) > 300:
        return False
    if topic.startswith(RUN):
        return run_number(topic.removeprefix(RUN)) is not None
    # No id has what a database cannot take, and all who watch are asked for together.
    return topic == CHANGES or (
        topic.startswith((JOB, ABOUT))
        and len(topic) > len(topic.partition(":")[0]) + 1
        and "\0" not in topic
        and not any("\ud800" <= character <= "\udfff" for character in topic)
    )


def are_topics(topics: object) -> bool:
    """Return whether a page or socket can watch these: a list of one to MOST_TOPICS."""
    return isinstance(topics, list) and 0 < len(topics) <= MOST_TOPICS and all(map(is_topic, topics))


def read(topics: Iterable[str], *, using: str) -> dict[str, State]:
    """Return how each of some topics stands.

    One query for everything, one for each 200 jobs and runs, and one more where jobs are among them
    that have a row of their own. Two for each object.
    """
    wanted = set(topics)
    states = {CHANGES: State(_digest(_signs(using)))} if CHANGES in wanted else {}
    abouts = {topic for topic in wanted if topic.startswith(ABOUT)}
    states |= {topic: _of_object(topic.removeprefix(ABOUT), using) for topic in abouts}
    singles = sorted(wanted - abouts - {CHANGES})
    for start in range(0, len(singles), BATCH):
        states |= _singles(singles[start : start + BATCH], using)
    return states


def of_job(job_id: str, *, result: bool = False, using: str) -> State:
    """Return how one job stands, with one query where it is an immediate one."""
    topic = JOB + job_id
    return _singles([topic], using, (*_COLUMNS, "result") if result else _COLUMNS)[topic]


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=9).hexdigest()


def _signs(using: str) -> Sequence[Any]:
    connection = connections[using]
    since = backend_of(connection).time(
        datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(_SIGNS)}", [since])
        row: Sequence[Any] = cursor.fetchone()
    return row


def _singles(topics: Sequence[str], using: str, columns: Sequence[str] = _COLUMNS) -> dict[str, State]:
    batches = _batches([topic for topic in topics if topic.startswith(JOB + BATCH_PREFIX)], using)
    topics = [topic for topic in topics if topic not in batches]
    if not topics:
        return batches
    job_ids = [topic.removeprefix(JOB) for topic in topics if topic.startswith(JOB)]
    run_ids = [int(topic.removeprefix(RUN)) for topic in topics if topic.startswith(RUN)]
    # From an index's end each; together they would be read from all runs of all those jobs.
    newest = f"SELECT MAX(id) AS id FROM {tables.RUN_TABLE} WHERE job_id = %s"  # noqa: S608 - names of ours
    sources = [newest] * len(job_ids) + [f"SELECT {run_id} AS id" for run_id in run_ids]
    statement = (
        # Of the error, only whether there is one: it may be long.
        f"SELECT {', '.join(f'r.{column}' for column in columns)}, SUBSTR(r.error, 1, 1) AS error, "  # noqa: S608 - names of ours, and numbers
        f"CASE WHEN r.status = 'RUNNING' THEN {_LAST_LINES} END AS last_lines "
        f"FROM ({' UNION ALL '.join(sources)}) w JOIN {tables.RUN_TABLE} r ON r.id = w.id"
    )
    found = list(Run.objects.using(using).raw(statement, job_ids))
    by_id = {run.pk: run for run in found}
    by_job: dict[str, Run] = {}
    for run in found:
        if run.job_id not in by_job or by_job[run.job_id].pk < run.pk:
            by_job[run.job_id] = run
    with_rows = [i for i in job_ids if i not in by_job or by_job[i].kind != Kind.IMMEDIATE]
    jobs = _jobs(with_rows, using) if with_rows else {}
    states = batches
    for topic in topics:
        if topic.startswith(JOB):
            job_id = topic.removeprefix(JOB)
            states[topic] = _state(by_job.get(job_id), jobs.get(job_id))
        else:
            one = by_id.get(int(topic.removeprefix(RUN)))
            # A job's page does not show them.
            states[topic] = _state(one, None, getattr(one, "last_lines", None))
    return states


def _of_object(about: str, using: str) -> State:
    """Return how the newest runs about an object stand, and its jobs."""
    runs = (
        Run.objects.using(using).filter(about=about).order_by("-pk").values_list(*_COLUMNS)[:MOST_OF_OBJECT]
    )
    jobs = Job.objects.using(using).filter(about=about).order_by("pk")
    jobs_as = jobs.values_list("pk", "next_run_time", "paused_at", "broken_reason")[:MOST_OF_OBJECT]
    return State(_digest((list(runs), list(jobs_as))))


def _batches(topics: Sequence[str], using: str) -> dict[str, State]:
    """Return the states of those topics that are batches: a job may have an id like one."""
    if not topics:
        return {}
    keys = [topic.removeprefix(JOB) for topic in topics]
    rows = list(Batch.objects.using(using).filter(key__in=keys))
    untouched = [row.pk for row in rows if not row.ended_runs and row.ended_at is None]
    running = Run.objects.using(using).running().filter(batch_id__in=untouched).order_by()
    begun = set(running.values_list("batch_id", flat=True).distinct()) if untouched else set()
    states = {}
    for row in rows:
        has_begun = bool(row.ended_runs) or row.pk in begun
        digest = _digest([row.state, row.total, row.ended_runs, has_begun])
        states[f"{JOB}{row.key}"] = State(digest, batch=row, has_begun=has_begun)
    return states


def _jobs(job_ids: Sequence[str], using: str) -> dict[str, Job]:
    rows = Job.objects.using(using).filter(pk__in=job_ids)
    return {row.id: row for row in rows.only("id", "next_run_time", "paused_at", "broken_reason")}


def _state(run: Run | None, job: Job | None, lines: int | None = None) -> State:
    shown = (
        lines,
        run and [getattr(run, column) for column in _COLUMNS],
        job and [job.next_run_time, job.paused_at, job.broken_reason],
    )
    return State(_digest(shown), run, job)


def public_state(state: State, *, result: bool) -> dict[str, Any]:
    """Return what whoever has a token of a job may know, as JSON's types.

    Args:
        state: Of a job, read with its result where that is wanted.
        result: Whether the token shows the result.
    """
    if state.batch is not None:
        return _public_batch(state, state.batch, result=result)
    run = state.run
    progress = run.progress if run is not None and isinstance(run.progress, dict) else {}
    done, total = progress.get("done"), progress.get("total")
    percent = 100.0 if run is not None and run.status == Status.SUCCESSFUL else _percent(done, total)
    left = run.seconds_left if run is not None else None
    due_at = run.run_after if run is not None else state.job.next_run_time if state.job else None
    shown = {
        "status": state.status,
        "finished": state.is_finished,
        "succeeded": run is not None and run.status == Status.SUCCESSFUL if state.is_finished else None,
        "over": state.is_over,
        "done": done,
        "total": total,
        "percent": percent,
        "message": progress.get("message") or "",
        "eta_seconds": None if left is None else round(left, 1),
        "due_at": iso(due_at) if state.status in {"queued", "scheduled"} else None,
        "started_at": iso(run.started_at) if run else None,
        "finished_at": iso(run.finished_at) if run else None,
    }
    if result:
        is_there = run is not None and run.status == Status.SUCCESSFUL
        shown["result"] = codec.plain(run.result) if is_there and run is not None else None
    return shown


def _public_batch(state: State, batch: Batch, *, result: bool) -> dict[str, Any]:
    is_good = batch.status == Status.SUCCESSFUL
    percent = 100.0 if is_good else _percent(batch.ended_runs, batch.total)
    left = None
    if not state.is_finished and percent:
        elapsed = (datetime.now(UTC) - batch.created_at).total_seconds()
        left = round(max(0.0, elapsed * (100 - percent) / percent), 1)
    shown = {
        "status": state.status,
        "finished": state.is_finished,
        "succeeded": is_good if state.is_finished else None,
        "over": state.is_over,
        "done": batch.ended_runs,
        "total": batch.total,
        "percent": percent,
        "message": "",
        "eta_seconds": left,
        "due_at": None,
        "started_at": iso(batch.created_at),
        "finished_at": iso(batch.ended_at),
    }
    return {**shown, "result": None} if result else shown


def _percent(done: object, total: object) -> float | None:
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return round(min(100.0, max(0.0, 100 * done / total)), 1)
