"""Whether jobs are executed as they should be: what an operator or a monitor asks first."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models import Count, Max, Min, Q

from django_jobs.conf import jobs_settings, queues_of
from django_jobs.models import PAUSED, Job, Run, Worker, jobs_database
from django_jobs.scheduler.broken import strays
from django_jobs.storage import transactions
from django_jobs.storage.queues import is_served, paused_queues

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Workers that a report names.
MOST_WORKERS = 200
# Next runs that are nearer are not held against their schedules.
FAR = timedelta(days=1)
#: Every `Problem.code`.
CODES = (
    "no_worker", "no_clock", "overdue_runs", "overdue_jobs", "broken_jobs", "broken_runs", "lost_runs",
    "stray_jobs",
)  # fmt: skip


class Problem(TypedDict):
    """Something that a person should look at."""

    code: str  # one of CODES
    text: str
    count: int  # of the workers, runs or jobs that it is about
    queue_name: str  # of overdue runs; else empty
    reason: str  # of overdue runs: "unserved" (no live worker serves their queue) or "busy"; else empty


class WorkerReport(TypedDict):
    """One process that executes runs."""

    id: str
    state: str  # alive, late, gone
    host: str
    pid: int
    version: str  # of this package
    queues: list[str]  # empty: all
    threads: int
    has_clock: bool
    running: int  # runs that it holds
    heartbeat_at: str  # ISO 8601 in UTC


class WorkerTotals(TypedDict):
    """All workers, also those beyond the ones that a report names."""

    alive: int
    late: int
    gone: int
    threads: int  # of those that are not gone
    clocks: int  # of those that are not gone


class QueueReport(TypedDict):
    """One queue that something waits in, or that is paused."""

    name: str
    is_paused: bool
    is_served: bool  # a live worker would take its runs
    due: int  # runs that could be executed now
    later: int  # runs that wait for their time
    held: int  # runs that wait for a person
    oldest_seconds: float | None  # how long the oldest due run has waited


class Report(TypedDict):
    """What is there, and what is wrong with it."""

    at: str  # ISO 8601 in UTC, by the database's clock
    problems: list[Problem]
    workers: list[WorkerReport]  # at most MOST_WORKERS, by host
    worker_totals: WorkerTotals
    queues: list[QueueReport]
    jobs: dict[str, int]  # scheduled, paused, broken
    running: int


def report(
    *,
    overdue: timedelta = timedelta(minutes=5),
    needs_clock: bool = True,
    lost_within: timedelta | None = None,
) -> Report:
    """Look at workers, queues and jobs; what it costs grows with what is unfinished, not with history.

    Args:
        overdue: How long a run may be due and not begun, and a job be due and not fired, before that
            is a problem.
        needs_clock: Whether it is one that no worker has a clock. A process with a clock and without a
            worker has no row: where that is how jobs fire, this says False.
        lost_within: Report workers too that were found dead this short a while ago.
    """
    using = jobs_database()
    now = transactions.database_now(using)
    running = busy(using)
    workers = _workers(now, running, lost_within, using)
    queues, unreadable = waiting(now, [worker["queues"] for worker in _living(workers)], using)
    active, paused, broken = Q(broken_reason="", next_run_time__isnull=False), Q(broken_reason="", next_run_time=None), ~Q(broken_reason="")  # fmt: skip
    jobs: dict[str, Any] = Job.objects.using(using).aggregate(
        scheduled=Count("pk", filter=active),
        paused=Count("pk", filter=paused),
        broken=Count("pk", filter=broken),
        late=Count("pk", filter=active & Q(next_run_time__lt=now - overdue)),
        latest=Max("next_run_time", filter=active),
    )
    late, latest = jobs.pop("late"), jobs.pop("latest")
    problems = [
        *_of_workers(workers, jobs["scheduled"], needs_clock=needs_clock),
        *_of_queues(queues, overdue),
        *_of_rows(late, jobs["broken"], unreadable, overdue),
        *_of_lost(running, workers),
        *_of_strays(len(strays(using, now)) if latest and latest > now + FAR else 0),
    ]
    return Report(
        at=now.isoformat(),
        problems=problems,
        workers=workers[:MOST_WORKERS],
        worker_totals=_totals(workers),
        queues=queues,
        jobs=jobs,
        running=sum(running.values()),
    )


def worker_state(worker: Worker, now: datetime) -> str:
    """Return whether a worker is alive, late, gone or stopped, at a time by the database's clock."""
    if worker.stopped_at is not None:
        return "gone" if worker.was_lost else "stopped"
    if worker.lease_expires_at < now:
        return "gone"
    # Three heartbeats are missing: one may come late without anything being wrong.
    is_late = worker.heartbeat_at < now - timedelta(seconds=3 * jobs_settings().HEARTBEAT_SECONDS)
    return "late" if is_late else "alive"


def busy(using: str) -> dict[str, int]:
    """Count the runs that each worker holds."""
    rows = Run.objects.using(using).running().order_by()
    return dict(rows.values_list("worker_id").annotate(count=Count("pk")))


def _workers(
    now: datetime, running: dict[str, int], lost_within: timedelta | None, using: str
) -> list[WorkerReport]:
    is_named = Q(stopped_at__isnull=True)
    if lost_within is not None:
        is_named |= Q(was_lost=True, stopped_at__gt=now - lost_within)
    rows = Worker.objects.using(using).filter(is_named).order_by("host", "pid", "id")
    return [
        WorkerReport(
            id=row.id,
            state=worker_state(row, now),
            host=row.host,
            pid=row.pid,
            version=row.version,
            queues=list(row.queues or ()),
            threads=row.threads,
            has_clock=row.has_clock,
            running=running.get(row.id, 0),
            heartbeat_at=row.heartbeat_at.isoformat(),
        )
        for row in rows
    ]


def _living(workers: list[WorkerReport]) -> list[WorkerReport]:
    return [worker for worker in workers if worker["state"] != "gone"]


def _totals(workers: list[WorkerReport]) -> WorkerTotals:
    states = Counter(worker["state"] for worker in workers)
    living = _living(workers)
    return WorkerTotals(
        alive=states["alive"],
        late=states["late"],
        gone=states["gone"],
        threads=sum(worker["threads"] for worker in living),
        clocks=sum(worker["has_clock"] for worker in living),
    )


def queue_state(queue: QueueReport) -> str:
    """Return whether a queue is paused, serving or unserved."""
    if queue["is_paused"]:
        return "paused"
    return "serving" if queue["is_served"] else "unserved"


def served(now: datetime, using: str) -> list[list[str]]:
    """Return the queues of each live worker, at a time by the database's clock; an empty list means all."""
    live = Worker.objects.using(using).filter(stopped_at__isnull=True, lease_expires_at__gte=now)
    return [list(queues or ()) for queues in live.values_list("queues", flat=True)]


def waiting(now: datetime, served: Sequence[Sequence[str]], using: str) -> tuple[list[QueueReport], int]:
    """Return what waits in each queue, and how many of those runs cannot be read.

    Args:
        now: The time by the database's clock.
        served: The queues of each live worker.
        using: Alias of the database.
    """
    is_due = Q(run_after__lte=now)
    rows = (
        Run.objects.using(using)
        .ready()
        .order_by()
        .values("queue_name")
        .annotate(
            due=Count("pk", filter=is_due),
            later=Count("pk", filter=Q(run_after__gt=now)),
            held=Count("pk", filter=Q(run_after__isnull=True)),
            unreadable=Count("pk", filter=Q(run_after__isnull=True) & ~PAUSED),
            oldest=Min("run_after", filter=is_due),
        )
    )
    found = {row["queue_name"]: row for row in rows}
    paused = set(paused_queues(using=using))
    nothing: dict[str, Any] = {"due": 0, "later": 0, "held": 0, "oldest": None}
    reports = []
    for name in sorted({*found, *paused}):
        row = found.get(name, nothing)
        oldest = None if row["oldest"] is None else (now - row["oldest"]).total_seconds()
        reports.append(
            QueueReport(
                name=name,
                is_paused=name in paused,
                is_served=is_served(name, served),
                due=row["due"],
                later=row["later"],
                held=row["held"],
                oldest_seconds=oldest,
            )
        )
    return reports, sum(row["unreadable"] for row in found.values())


def _of_workers(workers: list[WorkerReport], scheduled: int, *, needs_clock: bool) -> Iterable[Problem]:
    live = _living(workers)
    if not live:
        yield _problem(
            "no_worker",
            "no worker is alive, so no runs start. Start `manage.py jobs work`, or the web server",
        )
    if needs_clock and not any(worker["has_clock"] for worker in live):
        waits = f", and {_many(scheduled, 'job waits', 'jobs wait')} for one" if scheduled else ""
        yield _problem(
            "no_clock",
            f"no live worker has a clock, so no jobs fire{waits}. Start one without --no-clock, and with CLOCK on",
            scheduled,
        )


# Why what is due waits: where somebody serves its queue, and where nobody does.
_WHY = ("all threads may be busy", "no live worker serves it")
_WHY_OF_CELERY = (
    "all of Celery's workers may be busy",
    "no worker of Celery's is there, or has executed a run yet",
)


def _of_queues(queues: list[QueueReport], overdue: timedelta) -> Iterable[Problem]:
    for one in queues:
        oldest = one["oldest_seconds"]
        # What waits in a paused queue does so because somebody wanted it to.
        if one["is_paused"] or oldest is None or oldest <= overdue.total_seconds():
            continue
        busy, unserved = _WHY_OF_CELERY if one["name"] in queues_of("celery") else _WHY
        why = busy if one["is_served"] else unserved
        yield _problem(
            "overdue_runs",
            f"queue {one['name']}: {_many(one['due'], 'run is', 'runs are')} due, the oldest for "
            f"{timedelta(seconds=int(oldest))}: {why}",
            one["due"],
            one["name"],
            "busy" if one["is_served"] else "unserved",
        )


def _of_rows(late: int, broken: int, unreadable: int, overdue: timedelta) -> Iterable[Problem]:
    if late:
        yield _problem(
            "overdue_jobs",
            f"{_many(late, 'job has', 'jobs have')} been due for more than {overdue} and did not fire: no "
            "clock lives, or none can keep up",
            late,
        )
    if broken:
        yield _problem(
            "broken_jobs",
            f"{_many(broken, 'job is', 'jobs are')} broken: `manage.py jobs list --status broken` says why",
            broken,
        )
    if unreadable:
        yield _problem(
            "broken_runs",
            f"{_many(unreadable, 'run waits', 'runs wait')} as broken: `manage.py jobs list --status broken` "
            "says why",
            unreadable,
        )


def _of_lost(running: dict[str, int], workers: list[WorkerReport]) -> Iterable[Problem]:
    strangers = set(running) - {worker["id"] for worker in _living(workers)}
    lost = sum(running[worker_id] for worker_id in strangers)
    if lost:
        yield _problem(
            "lost_runs",
            f"{_many(lost, 'run belongs to a worker that is', 'runs belong to workers that are')} gone: a "
            "live worker rescues them at its next heartbeat",
            lost,
        )


def _of_strays(count: int) -> Iterable[Problem]:
    if count:
        yield _problem(
            "stray_jobs",
            f"{_many(count, 'job has', 'jobs have')} a next run later than the schedule gives it, as after a "
            "clock that ran ahead: `manage.py jobs pause` and `jobs resume`, or a restart of the processes "
            "that declare it, put it right",
            count,
        )


def _problem(code: str, text: str, count: int = 0, queue_name: str = "", reason: str = "") -> Problem:
    return Problem(code=code, text=text, count=count, queue_name=queue_name, reason=reason)


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
