"""The live workers by host, with what each runs; it costs six queries, whatever ended before."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext, ngettext

from django_jobs.admin.dashboard.labels import number
from django_jobs.admin.shared import charts, display, times
from django_jobs.conf import queues_of
from django_jobs.models import Run, Worker, jobs_database
from django_jobs.operations import health, process_problems
from django_jobs.storage import transactions
from django_jobs.storage.queues import is_served

if TYPE_CHECKING:
    from datetime import datetime

    from django_jobs.admin.dashboard.viewer import Viewer
    from django_jobs.operations.reports import QueueReport

# Workers that are shown, runs of all of them, runs of one, and workers that ended.
WORKERS, RUNS, RUNS_OF_ONE, ENDED = 500, 2000, 8, 20
# After this time a run that is due counts as left waiting; and queues with such runs that are named.
LEFT, NAMED = timedelta(minutes=1), 3


def cluster(viewer: Viewer) -> dict[str, Any]:
    """Return the hosts with their processes, what these run, and the workers that ended last."""
    using = jobs_database()
    now = transactions.database_now(using)
    rows = Worker.objects.using(using)
    working = list(rows.filter(stopped_at__isnull=True).order_by("host", "pid", "id")[:WORKERS])
    ended = list(rows.filter(stopped_at__isnull=False).order_by("-stopped_at")[:ENDED])
    runs: dict[str, list[Run]] = {}
    shown = ("pk", "func", "started_at", "worker_id", "status", "cancel_requested")
    running = Run.objects.using(using).running().order_by("started_at", "pk").only(*shown)
    for run in running[:RUNS]:
        runs.setdefault(run.worker_id, []).append(run)
    states = {worker.pk: state_of(worker, now) for worker in working}
    living = [worker for worker in working if states[worker.pk] != "gone"]
    taking = [worker for worker in living if states[worker.pk] != "quiet"]
    queues, _ = health.waiting(now, [worker.queue_names for worker in taking], using)
    left = [queue for queue in queues if _is_left(queue)]
    versions = Counter(worker.version for worker in living)
    usual = versions.most_common(1)[0][0] if versions else ""
    return {
        "hosts": [
            {
                "name": host,
                "processes": [
                    {
                        **_process(viewer, worker, states[worker.pk], runs.get(worker.pk, []), now, usual),
                        "notes": _notes(worker, states[worker.pk], len(runs.get(worker.pk, ())), left),
                    }
                    for worker in processes
                ],
            }
            for host, processes in groupby(working, key=lambda worker: worker.host)
        ],
        "alive": number(len(living)),
        "busy": number(sum(len(runs.get(worker.pk, ())) for worker in living)),
        "threads": number(sum(worker.threads for worker in living)),
        "versions": sorted(versions) if len(versions) > 1 else [],
        "ended": [_ended(viewer, worker, now) for worker in ended],
        "ended_url": viewer.list_url(Worker, state="ended"),
    }


def state_of(worker: Worker, now: datetime) -> str:
    """Return the state of a worker as people read it."""
    state = health.worker_state(worker, now)
    return "quiet" if state == "alive" and worker.is_quiet else state


def _is_left(queue: QueueReport) -> bool:
    """Return whether what waits in a queue should have begun, if a thread were free."""
    is_late = (queue["oldest_seconds"] or 0) > LEFT.total_seconds()
    return is_late and not queue["is_paused"] and queue["name"] not in queues_of("celery")


def _notes(worker: Worker, state: str, running: int, left: list[QueueReport]) -> list[str]:
    """Return why a worker that lives begins nothing."""
    if state == "quiet":
        return [gettext("Takes no more runs, and ends once these have.")]
    if state == "gone" or worker.unknown:
        return []
    # Those that take some of its threads only may have all of these.
    waits = [queue for queue in left if is_served(queue["name"], [worker.queue_names])]
    waits = [queue for queue in waits if queue["name"] not in worker.queue_threads]
    if not waits:
        return []
    count, names = sum(queue["due"] for queue in waits), ", ".join(queue["name"] for queue in waits[:NAMED])
    if running >= worker.threads:
        words = ngettext(
            "No thread is free; %(count)s run waits in %(queues)s.",
            "No thread is free; %(count)s runs wait in %(queues)s.",
            count,
        )
    else:
        words = ngettext(
            "Has free threads, and %(count)s run has waited in %(queues)s for more than a minute.",
            "Has free threads, and %(count)s runs wait in %(queues)s, some for more than a minute.",
            count,
        )
    return [words % {"count": number(count), "queues": names}]


def _process(
    viewer: Viewer, worker: Worker, state: str, runs: list[Run], now: datetime, usual: str
) -> dict[str, Any]:
    said = process_problems.read(worker.pk, worker.host, worker.details)
    return {
        "id": worker.pk,
        "link": viewer.link(Worker, worker.pk, worker.pid),
        "state": display.label(state),
        "running": number(len(runs)),
        "threads": number(worker.threads),
        "share": charts.share(len(runs), worker.threads),
        "runs": [
            {
                "link": viewer.link(Run, run.pk, run.func.rpartition(":")[2]),
                "func": run.func,
                "took": display.run_duration(run),
                "state": display.label("stopping") if run.cancel_requested else "",
            }
            for run in runs[:RUNS_OF_ONE]
        ],
        "more": max(0, len(runs) - RUNS_OF_ONE),
        "runs_url": viewer.list_url(Run, status="RUNNING", worker_id=worker.pk),
        "memory": memory(worker),
        "version": worker.version,
        "is_other_version": worker.version != usual and state != "gone",
        "heartbeat": times.relative(worker.heartbeat_at, now),
        "started": times.relative(worker.started_at, now),
        "has_clock": worker.has_clock,
        "queues": worker.queue_names,
        "problems": said.problems,
    }


def memory(worker: Worker) -> str:
    """Show the memory that its process holds, within a tenth; `-` where it does not say."""
    details = worker.details if isinstance(worker.details, dict) else {}
    size = details.get("memory")
    return str(filesizeformat(size)) if isinstance(size, int) else times.EMPTY


def _ended(viewer: Viewer, worker: Worker, now: datetime) -> dict[str, Any]:
    return {
        "link": viewer.link(Worker, worker.pk, f"{worker.host}:{worker.pid}"),
        "state": display.label(state_of(worker, now)),
        "at": times.relative(worker.stopped_at, now),
        "version": worker.version,
        "queues": worker.queue_names,
    }
