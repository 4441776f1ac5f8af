"""Jobs and runs by status, as commands list them: a page at a time, each page through an index."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypedDict

from django.core.exceptions import ValidationError

from django_jobs import codec
from django_jobs.api import job_info
from django_jobs.api.job_info import JobInfo, RunInfo
from django_jobs.models import (
    DEFAULT_QUEUE_NAME,
    FINISHED,
    Batch,
    InStatus,
    Job,
    Queue,
    Run,
    RunQuerySet,
    Status,
    Worker,
    jobs_database,
)
from django_jobs.operations import kept, run_query
from django_jobs.operations.run_query import Criteria
from django_jobs.registry import decorators
from django_jobs.storage import logs, tags
from django_jobs.storage.queues import obstacle, obstacles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.db.models import QuerySet

    from django_jobs.operations.kept import StepInfo

# Job ids that a mistyped one is compared with.
COMPARED = 5000


class RunDetails(RunInfo):
    """One run with all that is known of its attempts."""

    job_id: str
    func: str
    queue_name: str
    waits: str  # why it does not begin though it is due, or waits for its limit; empty where its turn comes
    args: list[Any]  # in JSON's types; secrets replaced by asterisks
    kwargs: dict[str, Any]
    errors: list[
        dict[str, Any]
    ]  # an entry per attempt that failed: attempt, worker_id, times, error, traceback
    log: str
    kept: list[StepInfo]  # steps, loops and waits


class Entry(JobInfo):
    """A job, or one run of it."""

    run_id: int | None  # None for a job


class Page(TypedDict):
    """Some entries of a list, and where the next ones begin."""

    entries: list[Entry]
    next: str | None  # for `after`; None at the end


@dataclass(frozen=True, slots=True)
class _Part:
    """The jobs, or the runs, of one status, in the order of an index."""

    name: str
    rows: Callable[[str], QuerySet[Any]]
    order: tuple[str, ...]
    # The one status of finished runs.
    status: str = ""
    # Whether no index narrows the history down, so that rows must be read one by one.
    is_searched: bool = False


def _ended(status: Status, *, is_searched: bool = False) -> tuple[_Part]:
    """Return the finished runs of one status."""
    criteria = Criteria(status=status.value)
    part = _Part(
        status.lower(), lambda using: criteria.apply(_runs(using)), _NEWEST_FIRST, status.value, is_searched
    )
    return (part,)


def _runs(using: str) -> RunQuerySet:
    return Run.objects.using(using)


def _jobs(using: str) -> Any:
    return Job.objects.using(using)


_CLAIMS = ("-priority", "run_after", "id")
_NEWEST_FIRST = ("-id",)

_PARTS: dict[str, tuple[_Part, ...]] = {
    "running": (_Part("running", lambda using: _runs(using).running(), ("id",)),),
    "queued": (_Part("queued", lambda using: _runs(using).ready().filter(run_after__isnull=False), _CLAIMS),),
    "blocked": (_Part("blocked", lambda using: _runs(using).blocked(), ("-priority", "id")),),
    "scheduled": (_Part("scheduled", lambda using: _jobs(using).active(), ("next_run_time", "id")),),
    "paused": (
        _Part("paused", lambda using: _jobs(using).paused(), ("id",)),
        _Part("held", lambda using: _runs(using).paused(), ("-priority", "id")),
    ),
    "broken": (
        _Part("broken", lambda using: _jobs(using).broken(), ("id",)),
        _Part("unreadable", lambda using: _runs(using).broken(), ("-priority", "id")),
    ),
    "successful": _ended(Status.SUCCESSFUL, is_searched=True),
    "failed": _ended(Status.FAILED),
    "cancelled": _ended(Status.CANCELLED),
    "skipped": _ended(Status.SKIPPED),
    "finished": (
        _Part(
            "finished",
            lambda using: _runs(using).filter(InStatus(*FINISHED)),
            _NEWEST_FIRST,
            is_searched=True,
        ),
    ),
}

_BLOCKED_WORDS = {
    "limited": "its limit",
    "ordered": "its turn",
    "dependent": "other runs",
    "sleeping": "an event",
}

#: What is still to run.
UNFINISHED = ("running", "queued", "blocked", "scheduled", "paused", "broken")
#: Every status, in the order that pages have them; "finished" is the four before it in one order.
STATUSES = tuple(_PARTS)


def page(
    statuses: Sequence[str] = UNFINISHED,
    *,
    queues: Sequence[str] = (),
    func: str = "",
    job_id: str = "",
    about: str = "",
    batch: str = "",
    tag: str = "",
    limit: int = 50,
    after: str | None = None,
) -> Page:
    """Return some jobs and runs, status by status.

    Jobs that wait for their time, are paused or are broken are entries of their own, and so are runs
    that wait, execute or have ended: a recurring job whose run executes is there twice. What is to run
    comes in the order it will, what has ended newest first.

    Args:
        statuses: Of `STATUSES`.
        queues: Names; empty means all.
        func: What the function's `module:qualname` begins with.
        job_id: Only this job, and its runs.
        about: Only what is about this object, as "app_label.model:pk".
        batch: Only runs of this batch, by its id.
        tag: Only what has this tag.
        limit: Most entries; at least 1.
        after: Another page's `next`, of the same statuses.

    Returns:
        Fewer entries than `limit`, or none, do not mean that it is the last page: at most `run_query.pages.LOOKED_AT`
        rows of the history are read where no index helps. `next` is None for the last.

    Raises:
        ValueError: A status is unknown, the limit is below 1, or `after` is no page's `next`.
    """
    if unknown := [status for status in statuses if status not in _PARTS]:
        raise ValueError(f"no such status as {unknown[0]!r}; they are {', '.join(STATUSES)}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    using = jobs_database()
    parts = [part for status in STATUSES if status in statuses for part in _PARTS[status]]
    start, position = _read_cursor(after, parts) if after else (0, None)
    is_filtered = bool(queues or func or tag or about)
    is_narrow = bool(job_id or batch)
    found: list[tuple[_Part, Any]] = []
    for part in parts[start:]:
        rows = _narrowed(part, about, batch, using) if about or batch else part.rows(using)
        rows = _filtered(rows, queues, func, job_id, tag)
        wanted = limit + 1 - len(found)
        if part.order == _NEWEST_FIRST and not is_narrow and (part.is_searched or is_filtered):
            before = position[0] if position else None
            some, floor = run_query.search(
                rows,
                status=part.status,
                tag=tag,
                about=about,
                before=before,
                size=wanted,
                using=using,
            )
            found.extend((part, row) for row in some)
            if len(some) < wanted and floor is not None:
                return _page(found, _cursor(part, [floor]), using)
        else:
            found.extend((part, row) for row in run_query.behind(rows, part.order, position, wanted))
        position = None
        if len(found) > limit:
            found.pop()
            last_part, last = found[-1]
            return _page(found, _cursor(last_part, _position(last_part, last)), using)
    return _page(found, None, using)


def _narrowed(part: _Part, about: str, batch: str, using: str) -> QuerySet[Any]:
    if part.status:
        return Criteria(status=part.status, about=about, batch=batch).apply(_runs(using))
    rows = part.rows(using)
    if about:
        rows = rows.filter(about=about)
    if batch:
        # A batch has runs, and no jobs with schedules.
        of_batch = Batch.objects.using(using).filter(key=batch).values("pk")[:1]
        rows = rows.filter(batch_id=of_batch) if rows.model is Run else rows.none()
    return rows


def _filtered(rows: Any, queues: Sequence[str], func: str, job_id: str, tag: str) -> Any:
    if queues:
        rows = rows.filter(queue_name__in=queues) if len(queues) > 1 else rows.filter(queue_name=queues[0])
    if func:
        rows = rows.filter(func__startswith=func)
    if tag:
        rows = rows.filter(tags.of_jobs(tag, using=rows.db) if rows.model is Job else tags.of_runs(tag))
    if rows.model is Job:
        return rows.filter(pk=job_id) if job_id else rows
    return (rows.filter(job_id=job_id) if job_id else rows).defer("log", "errors")


def _page(found: list[tuple[_Part, Any]], cursor: str | None, using: str) -> Page:
    rows = [row for _, row in found]
    last = job_info.last_runs([row for row in rows if isinstance(row, Job)], using=using)
    entries = [
        Entry(**job_info.of_job(row, last.get(row.last_run_id or 0)), run_id=None)
        if isinstance(row, Job)
        else Entry(**job_info.of_lone_run(row), run_id=row.pk)
        for row in rows
    ]
    return Page(entries=entries, next=cursor)


def _position(part: _Part, row: Any) -> list[Any]:
    return [getattr(row, name.removeprefix("-")) for name in part.order]


def _cursor(part: _Part, position: list[Any]) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in position]
    return base64.urlsafe_b64encode(json.dumps([part.name, *plain]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, parts: list[_Part]) -> tuple[int, list[Any]]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, *plain = json.loads(base64.urlsafe_b64decode(padded.encode()))
        (index,) = [i for i, part in enumerate(parts) if part.name == name]
        fields = parts[index].rows(jobs_database()).model._meta
        position = [
            fields.get_field(name.removeprefix("-")).to_python(value)
            for name, value in zip(parts[index].order, plain, strict=True)
        ]
    except (binascii.Error, UnicodeError, ValueError, TypeError, ValidationError):
        raise ValueError(
            f"after={cursor!r} is not where a list of these statuses ended: take it from that list's output, "
            "with the same statuses"
        ) from None
    return index, position


def runs_of(job_id: str, *, limit: int) -> list[RunInfo]:
    """Return a job's newest runs, newest first."""
    runs = _runs(jobs_database()).filter(job_id=job_id).order_by("-id").defer("log", "errors")
    return [job_info.of_run(run) for run in runs[:limit]]


def run(run_id: int) -> RunDetails | None:
    """Return one run with its log and the errors of all its attempts, or None."""
    row = _runs(jobs_database()).filter(pk=run_id).first()
    if row is None:
        return None
    shown = job_info.of_lone_run(row)
    return RunDetails(
        **job_info.of_run(row),
        job_id=row.job_id,
        func=row.func,
        queue_name=row.queue_name,
        waits=_obstacle(row),
        args=shown["args"],
        kwargs=shown["kwargs"],
        errors=row.errors or [],
        log=codec.storable(logs.read(row, using=jobs_database())),
        kept=kept.of_run(row),
    )


def _obstacle(run: Run) -> str:
    if run.state in {"limited", "ordered"}:
        return job_info.behind(run, using=jobs_database())
    if run.state != "ready":
        return ""
    return _words_of(obstacle(run.queue_name, run.func, using=jobs_database()), run.func)


def _words_of(obstacle: str, func: str) -> str:
    words = {
        "paused": "its queue is paused",
        "unserved": "no live worker serves its queue",
        "unknown": f"for a process that knows {func}",
    }
    return words.get(obstacle, "")


def why_due(entries: Iterable[Entry]) -> dict[int | None, str]:
    """Return what keeps runs of a list from beginning besides busy workers, by run, with two or three queries."""
    entries = list(entries)
    blocked = {
        entry["run_id"]: f"waits for {_BLOCKED_WORDS[entry['status']]}"
        for entry in entries
        if entry["status"] in _BLOCKED_WORDS
    }
    now = datetime.now(UTC).isoformat()
    due = {
        entry["run_id"]: (entry["queue_name"], entry["func"])
        for entry in entries
        if entry["status"] == "queued" and entry["run_id"] and (entry["next_run_time"] or now) <= now
    }
    found = obstacles(due.values(), using=jobs_database())
    return blocked | {run_id: _words_of(found[call], call[1]) for run_id, call in due.items()}


def similar_ids(job_id: str) -> list[str]:
    """Return ids of jobs that somebody may have meant; immediate jobs are not among them."""
    ids = _jobs(jobs_database()).order_by("pk").values_list("pk", flat=True)[:COMPARED]
    return get_close_matches(job_id, list(ids), n=3, cutoff=0.7)


def queue_names() -> set[str]:
    """Return the queues that jobs, unfinished runs, live workers, operators or functions name."""
    using = jobs_database()
    live = Worker.objects.using(using).filter(stopped_at__isnull=True)
    options = map(decorators.options_of, decorators.decorated().values())
    return {
        DEFAULT_QUEUE_NAME,
        *Queue.objects.using(using).values_list("name", flat=True),
        *_jobs(using).order_by().values_list("queue_name", flat=True).distinct(),
        *_runs(using).unfinished().order_by().values_list("queue_name", flat=True).distinct(),
        *(str(name) for queues in live.values_list("queues", flat=True) for name in queues or ()),
        *(one.queue_name for one in options if one.queue_name),
    }
