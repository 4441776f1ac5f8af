"""Whether jobs are executed as they should be: what an operator or a monitor asks first."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Max, Min, Q

from django_jobs.conf import jobs_settings, queues_of
from django_jobs.models import BLOCKED, BROKEN, HELD, Job, Run, Worker, jobs_database
from django_jobs.operations.process_problems import of_processes, read
from django_jobs.operations.reports import Problem, QueueReport, Report, WorkerReport, WorkerTotals
from django_jobs.scheduler.broken import strays
from django_jobs.storage import table_health, transactions
from django_jobs.storage.queues import is_served, pauses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_jobs.operations.process_problems import Details

# Workers that a report names.
MOST_WORKERS = 200
# Next runs that are nearer are not held against their schedules.
FAR = timedelta(days=1)
#: Every `Problem.code`.
CODES = (
    "no_worker", "no_clock", "overdue_runs", "overdue_jobs", "broken_jobs", "broken_runs", "lost_runs",
    "stray_jobs", "unknown_functions", "failing_process", "unimported_jobs", "clock_off", "other_project",
    "old_transaction", "bloated_table",
)  # fmt: skip


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
    by_queue = busy(using)
    running = {worker_id: sum(counts.values()) for worker_id, counts in by_queue.items()}
    workers, details = _workers(now, by_queue, lost_within, using)
    queues, unreadable = waiting(now, [worker["queues"] for worker in _taking(workers)], using)
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
        *(_problem(*found) for found in of_processes(details)),
        *_of_unknown(_living(workers), now, using),
        *_of_strays(len(strays(using, now)) if latest and latest > now + FAR else 0),
        *(_problem(*found) for found in table_health.recent_problems(using=using)),
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
    if not _has_times(worker) or worker.lease_expires_at < now:
        return "gone"
    # Three heartbeats are missing: one may come late without anything being wrong.
    is_late = worker.heartbeat_at < now - timedelta(seconds=3 * jobs_settings().HEARTBEAT_SECONDS)
    return "late" if is_late else "alive"


def _has_times(worker: Worker) -> bool:
    """Return whether a row's times can be read: SQLite takes any text for one."""
    return None not in {worker.lease_expires_at, worker.heartbeat_at}


def busy(using: str) -> dict[str, dict[str, int]]:
    """Count the runs that each worker holds, by queue."""
    rows = Run.objects.using(using).running().order_by().values_list("worker_id", "queue_name")
    found: dict[str, dict[str, int]] = {}
    for worker_id, queue_name, count in rows.annotate(count=Count("pk")):
        found.setdefault(worker_id, {})[queue_name] = count
    return found


def _workers(
    now: datetime, running: dict[str, dict[str, int]], lost_within: timedelta | None, using: str
) -> tuple[list[WorkerReport], list[Details]]:
    """Return the workers, and what those that live say of their processes."""
    is_named = Q(stopped_at__isnull=True)
    if lost_within is not None:
        is_named |= Q(was_lost=True, stopped_at__gt=now - lost_within)
    rows = Worker.objects.using(using).filter(is_named).order_by("host", "pid", "id")
    reports, said = [], []
    for row in rows:
        state, details = worker_state(row, now), read(row.id, row.host, row.details)
        if state != "gone":
            said.append(details)
        reports.append(
            WorkerReport(
                id=row.id,
                state=state,
                host=row.host,
                pid=row.pid,
                version=row.version,
                queues=row.queue_names,
                queue_threads=row.queue_threads,
                threads=row.threads,
                is_quiet=row.is_quiet,
                has_clock=row.has_clock,
                unknown=sorted(row.unknown or ()),
                running=sum(running.get(row.id, {}).values()),
                running_by_queue=running.get(row.id, {}),
                heartbeat_at=row.heartbeat_at.isoformat() if _has_times(row) else "",
                problems=details.problems,
                clock_ahead_seconds=details.clock_ahead,
            )
        )
    return reports, said


def _living(workers: list[WorkerReport]) -> list[WorkerReport]:
    return [worker for worker in workers if worker["state"] != "gone"]


def _taking(workers: list[WorkerReport]) -> list[WorkerReport]:
    return [worker for worker in _living(workers) if not worker["is_quiet"]]


def shown_state(worker: WorkerReport) -> str:
    """Return the state of a worker as people read it: whether it is quiet, where it lives."""
    return "quiet" if worker["is_quiet"] and worker["state"] == "alive" else worker["state"]


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
    """Return the queues of each live worker that takes runs, by the database's clock; an empty list means all."""
    live = Worker.objects.using(using).filter(stopped_at__isnull=True, lease_expires_at__gte=now)
    return [worker.queue_names for worker in live.only("queues", "details") if not worker.is_quiet]


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
            held=Count("pk", filter=HELD),
            blocked=Count("pk", filter=BLOCKED),
            unreadable=Count("pk", filter=BROKEN),
            oldest=Min("run_after", filter=is_due),
        )
    )
    found = {row["queue_name"]: row for row in rows}
    paused = pauses(using=using)
    nothing: dict[str, Any] = {"due": 0, "later": 0, "held": 0, "blocked": 0, "oldest": None}
    reports = []
    for name in sorted({*found, *paused}):
        pause = paused.get(name)
        row = found.get(name, nothing)
        oldest = None if row["oldest"] is None else (now - row["oldest"]).total_seconds()
        reports.append(
            QueueReport(
                name=name,
                is_paused=name in paused,
                paused_until=pause.until.isoformat() if pause and pause.until else None,
                paused_by=pause.by if pause else "",
                paused_reason=pause.reason if pause else "",
                is_served=is_served(name, served),
                due=row["due"],
                later=row["later"],
                held=row["held"],
                blocked=row["blocked"],
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


def _of_unknown(live: list[WorkerReport], now: datetime, using: str) -> Iterable[Problem]:
    """Yield what runs need that are due, and no live worker of their queue knows."""
    met = {what for worker in live for what in worker["unknown"]}
    if not met:
        return
    due = Run.objects.using(using).ready().filter(func__in=met, run_after__lte=now).order_by()
    counts = due.values_list("queue_name", "func").annotate(count=Count("pk"))
    for queue_name, func, count in sorted(counts):
        serving = [worker for worker in live if is_served(queue_name, [worker["queues"]])]
        if serving and all(func in worker["unknown"] for worker in serving):
            yield _problem(
                "unknown_functions",
                f"queue {queue_name}: {_many(count, 'run waits', 'runs wait')} for a process that knows {func}, "
                "and no live worker does: start one of the version that has it, or cancel them",
                count,
                queue_name,
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
