"""What `get_job` and `get_jobs` return: plain dicts, the same for every kind of job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.db import connections
from django.db.models import Exists, F, OuterRef
from django.utils import translation

from django_jobs import codec, triggers
from django_jobs.api.batch_info import iso
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import BLOCKED_STATES, Job, Run, Status
from django_jobs.storage import tags
from django_jobs.storage.limits import line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django_jobs.models import JobQuerySet, RunQuerySet


class RunInfo(TypedDict):
    """One run. Times are ISO 8601 in UTC, or None where they have not come."""

    id: int
    status: str  # READY, RUNNING, SUCCESSFUL, FAILED, CANCELLED, SKIPPED
    attempt: int  # how often it was claimed
    enqueued_at: str | None
    scheduled_at: str | None  # the firing it stands for
    started_at: str | None
    finished_at: str | None
    seconds: float | None  # from start to finish
    result: Any  # what the function returned, in JSON's types
    error: str  # one line; empty without
    progress: dict[str, Any] | None  # done, total, message
    worker_id: str
    limit: str | None  # the key of its limit
    fair_key: str | None  # the key whose turns it takes
    tags: list[str]
    about: str | None  # "app_label.model:pk"
    unique: str  # the key of `unique` or `debounce`; empty without


class JobInfo(TypedDict):
    """One job, as `JsonResponse` can send it."""

    id: str
    name: str
    func: str  # module:qualname
    kind: str  # immediate, scheduled, recurring
    # scheduled, paused, broken; without a schedule the newest run's: queued, limited, ordered, dependent, sleeping, running, ...
    status: str
    reason: str  # why it is broken; empty otherwise
    trigger: str  # in words
    next_run_time: str | None  # ISO 8601 in UTC; None while paused and when nothing is to come
    queue_name: str
    priority: int
    max_instances: int
    limit: str | None  # the key of its limit
    fair_key: str | None  # the key whose turns it takes
    waits: str  # for its limit or its turn: how many run and wait before it; only in get_job
    tags: list[str]
    about: str | None  # "app_label.model:pk"
    args: list[Any]  # in JSON's types; secrets replaced by asterisks
    kwargs: dict[str, Any]
    attempt: int  # of the newest run; 0 before the first
    result: Any  # of the newest run
    error: str
    progress: dict[str, Any] | None
    last_run: RunInfo | None


_STATUS_WORDS = {Status.READY: "queued"}
# Columns of runs that no dict has, and that may be long.
_NOT_SHOWN = ("log", "errors")
# Of runs that are read by their ids.
MOST_IDS = 1000


def one(job_id: str, *, using: str) -> JobInfo | None:
    """Return one job, or None."""
    runs = Run.objects.using(using)
    job = Job.objects.using(using).filter(pk=job_id).first()
    last = runs.filter(job_id=job_id).order_by("-id").defer(*_NOT_SHOWN).first()
    if job is not None:
        info = of_job(job, last)
    elif last is not None:
        info = of_lone_run(last)
    else:
        return None
    if last is not None:
        info["waits"] = behind(last, using=using)
    return info


def behind(run: Run, *, using: str) -> str:
    """Say what a run waits for that waits for its limit, or for its turn; empty for others."""
    place = line.place_of(run, using=using)
    return "" if place is None else str(place)


def unfinished(
    *, limit: int | None = None, about: str | None = None, tag: str | None = None, using: str
) -> list[JobInfo]:
    """Return what is still to run, with few queries.

    Jobs come by next run time (paused ones last), then the runs of others by when they were added.

    Args:
        limit: The first of those at most; None for all.
        about: Only those about this, as "app_label.model:pk".
        tag: Only those with this tag.
        using: Alias of the database.
    """
    rows = Job.objects.using(using)
    rows = rows if about is None else rows.filter(about=about)
    rows = rows if tag is None else rows.filter(tags.of_jobs(tag, using=using))
    jobs = _first(rows, limit, is_all=about is None and tag is None)
    last = last_runs(jobs, using=using)
    words = _in_words(jobs)
    infos = [_of_job(job, last.get(job.last_run_id or 0), words) for job in jobs]
    room = None if limit is None else limit - len(jobs)
    # Looked up run by run: of a list PostgreSQL would read all jobs first.
    is_scheduled = Exists(Job.objects.using(using).filter(pk=OuterRef("job_id")))
    runs = Run.objects.using(using).unfinished().filter(~is_scheduled)
    runs = runs if about is None else runs.filter(about=about)
    runs = runs if tag is None else runs.filter(tags.of_runs(tag))
    # The newest unfinished run of each job that has no row, or none any more.
    newest = {run.job_id: run for run in _oldest(runs, room, has_index=about is not None)}
    return infos + [of_lone_run(run) for run in newest.values()]


def _first(rows: JobQuerySet, limit: int | None, *, is_all: bool) -> list[Job]:
    """Return the first jobs by next run time, those without one last.

    Args:
        rows: The jobs.
        limit: How many at most; None for all.
        is_all: Whether the rows are all jobs that there are.
    """
    if limit is not None and is_all:
        # The index of times finds how far to look; without that all jobs are sorted.
        timed = rows.filter(next_run_time__isnull=False).order_by("next_run_time")
        for until in timed.values_list("next_run_time", flat=True)[limit - 1 : limit]:
            jobs = list(rows.filter(next_run_time__lte=until).order_by("next_run_time", "id")[:limit])
            if len(jobs) == limit:
                return jobs
    return list(rows.order_by(F("next_run_time").asc(nulls_last=True), "id")[:limit])


def _oldest(runs: RunQuerySet, limit: int | None, *, has_index: bool) -> Iterable[Run]:
    """Return the unfinished runs that were added first.

    Args:
        runs: The runs.
        limit: How many at most; None for all.
        has_index: Whether an index has few other runs than these.
    """
    shown = runs.defer(*_NOT_SHOWN)
    if has_index:
        # Not in the order of an index: SQLite would take the one of all runs about it, of which few are unfinished.
        return shown.order_by(F("id") + 0)[:limit]
    if limit is None or limit > MOST_IDS or connections[runs.db].vendor == "sqlite":
        return shown.order_by("id")[:limit]
    # To find a few of many, PostgreSQL and MariaDB would walk the primary key, past all that have ended.
    ids = runs.order_by(F("id") + 0).values_list("pk", flat=True)[:limit]
    return shown.filter(pk__in=list(ids)).order_by("id")


def last_runs(jobs: Iterable[Job], *, using: str) -> dict[int, Run]:
    """Return the newest runs of jobs by their ids, without the columns that no dict has; those pruned are not there."""
    ids = [job.last_run_id for job in jobs if job.last_run_id is not None]
    runs: dict[int, Run] = {}
    for start in range(0, len(ids), 500):
        batch = Run.objects.using(using).filter(pk__in=ids[start : start + 500]).defer(*_NOT_SHOWN)
        runs.update((run.pk, run) for run in batch)
    return runs


def of_run(run: Run) -> RunInfo:
    """Return one run as a plain dict."""
    seconds = None
    if run.started_at and run.finished_at:
        seconds = (run.finished_at - run.started_at).total_seconds()
    return RunInfo(
        id=run.pk,
        status=str(run.status),
        attempt=run.attempt,
        enqueued_at=iso(run.enqueued_at),
        scheduled_at=iso(run.scheduled_at),
        started_at=iso(run.started_at),
        finished_at=iso(run.finished_at),
        seconds=seconds,
        result=codec.plain(run.result),
        error=run.error,
        progress=run.progress,
        worker_id=run.worker_id,
        limit=run.limit_name,
        fair_key=run.fair_name,
        tags=run.tags,
        about=run.about,
        unique=run.unique,
    )


def _arguments(call: Job | Run) -> tuple[list[Any], dict[str, Any]]:
    try:
        return codec.display_arguments(call.payload, sensitive=call.sensitive)
    except BadPayload:
        # Damaged: the page still shows the rest of the row.
        return [], {}


def of_job(job: Job, last: Run | None) -> JobInfo:
    """Return a job that has a row, with its newest run."""
    return _of_job(job, last, _in_words([job]))


def _in_words(jobs: Iterable[Job]) -> dict[bytes, str]:
    """Return the triggers of jobs in words, by what is stored of them; many jobs may have the same."""
    words: dict[bytes, str] = {}
    # Not in the language of whoever asks: programs read it.
    with translation.override(None):
        for state in {bytes(job.job_state) for job in jobs}:
            try:
                words[state] = triggers.describe(triggers.loads(state))
            except UnknownTrigger:
                words[state] = "unknown"
    return words


def _of_job(job: Job, last: Run | None, words: Mapping[bytes, str]) -> JobInfo:
    last_run = of_run(last) if last else None
    args, kwargs = _arguments(job)
    return JobInfo(
        id=job.id,
        name=job.name,
        func=job.func,
        kind=str(job.kind),
        status=job.status,
        reason=job.broken_reason,
        trigger=words[bytes(job.job_state)],
        next_run_time=iso(job.next_run_time),
        queue_name=job.queue_name,
        priority=job.priority,
        max_instances=job.max_instances,
        limit=job.limit_name,
        fair_key=job.fair_name,
        waits="",
        tags=job.tags,
        about=job.about,
        args=args,
        kwargs=kwargs,
        attempt=last_run["attempt"] if last_run else 0,
        result=last_run["result"] if last_run else None,
        error=last_run["error"] if last_run else "",
        progress=last_run["progress"] if last_run else None,
        last_run=last_run,
    )


def of_lone_run(run: Run) -> JobInfo:
    """Return a run as the job that it is of, whatever row that has."""
    state = run.state
    status = (
        state
        if run.is_held or state in BLOCKED_STATES
        else _STATUS_WORDS.get(Status(run.status), str(run.status).lower())
    )
    args, kwargs = _arguments(run)
    last_run = of_run(run)
    is_waiting = run.status == Status.READY
    return JobInfo(
        id=run.job_id,
        name=run.name,
        func=run.func,
        kind=str(run.kind),
        status=status,
        reason=run.error if state == "broken" else "",
        trigger="once, as soon as a worker is free",
        next_run_time=iso(run.run_after) if is_waiting else None,
        queue_name=run.queue_name,
        priority=run.priority,
        max_instances=1,
        limit=last_run["limit"],
        fair_key=last_run["fair_key"],
        waits="",
        tags=list(last_run["tags"]),
        about=run.about,
        args=args,
        kwargs=kwargs,
        attempt=run.attempt,
        result=last_run["result"],
        error=run.error,
        progress=run.progress,
        last_run=last_run,
    )
