"""The parts of the dashboard that show the present: counts, running runs, queues, workers, what fires next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import formats
from django.utils.translation import gettext as _

from django_jobs.admin.dashboard.labels import axis, number
from django_jobs.admin.shared import charts, display, times
from django_jobs.models import Job, Run, Status, Worker
from django_jobs.operations import health

if TYPE_CHECKING:
    from django_jobs.admin.dashboard.viewer import Page

WORKERS = 25
QUEUES = 50


def counts(page: Page) -> dict[str, Any]:
    """Show how many there are of everything."""
    report, total = page.overview.report, page.overview.total.outcomes
    queues = report["queues"]
    link = page.viewer.list_url
    waiting = [one["oldest_seconds"] for one in queues if one["oldest_seconds"] is not None]
    now = [
        _tile("running", _("Running"), report["running"], link(Run, status="RUNNING")),
        _tile("ready", _("Waiting"), sum(one["due"] for one in queues), link(Run, status="due"),
              _("oldest %s") % display.duration(max(waiting)) if waiting else ""),
        _tile("deferred", _("Deferred"), sum(one["later"] for one in queues), link(Run, status="deferred")),
        _tile("paused", _("Held"), sum(one["held"] for one in queues), link(Run, status="held")),
    ]  # fmt: skip
    ended = [
        _tile(status.lower(), display.STATES[status], total.get(status, 0), link(Run, status=status))
        for status in (Status.SUCCESSFUL, Status.FAILED, Status.CANCELLED, Status.SKIPPED)
    ]
    if retried := total.get(Status.READY, 0):
        ended.append(_tile("retried", _("Tried again"), retried, ""))
    jobs = [
        _tile(state, display.STATES[state], report["jobs"][state], link(Job, status=state))
        for state in ("scheduled", "paused", "broken")
    ]
    return {
        "groups": [
            {"name": _("Runs now"), "tiles": now},
            {"name": page.range.label, "tiles": ended},
            {"name": _("Jobs"), "tiles": jobs},
        ]
    }


def _tile(name: str, label: Any, count: int, url: str, more: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "count": number(count),
        "is_zero": not count,
        "url": url,
        "more": more,
    }


def running(page: Page) -> dict[str, Any]:
    """Name what has been running the longest."""
    runs = page.overview.running
    return {
        "rows": [_running(page, run) for run in runs],
        "more": max(0, page.overview.report["running"] - len(runs)),
        "url": page.viewer.list_url(Run, status="RUNNING"),
    }


def _running(page: Page, run: Run) -> dict[str, Any]:
    progress = run.progress if isinstance(run.progress, dict) else {}
    done, whole = progress.get("done"), progress.get("total")
    has_share = all(isinstance(value, (int, float)) for value in (done, whole)) and whole
    message = str(progress.get("message") or "")
    return {
        "run": page.viewer.link(Run, run.pk, run.job_id),
        "func": run.func,
        "state": display.label(display.run_state(run)),
        "took": display.run_duration(run),
        "since": times.moment(run.started_at),
        "worker": page.viewer.link(Worker, run.worker_id, run.worker_id),
        "share": charts.share(done, whole) if has_share else None,  # type: ignore[arg-type] # numbers, as was seen
        "progress": display.cut(f"{done}/{whole} {message}".strip() if has_share else message, 80),
    }


def queues(page: Page) -> dict[str, Any]:
    """Show what waits where, how fast it goes, and let it be paused."""
    overview = page.overview
    reports = {one["name"]: one for one in overview.report["queues"]}
    # What was too various to be told apart was counted under no name.
    names = sorted({*reports, *(name for name in overview.by_queue if name)})
    deepest = max((one["due"] for one in reports.values()), default=0)
    rows = []
    for name in names[:QUEUES]:
        one = reports.get(name)
        ended = overview.by_queue[name].ended if name in overview.by_queue else 0
        due = one["due"] if one else 0
        state = health.queue_state(one) if one else "serving"
        rows.append(
            {
                "name": name,
                "url": page.viewer.list_url(Run, queue=name),
                "state": display.label(state) if state != "serving" else "",
                "is_paused": bool(one and one["is_paused"]),
                "due": number(due),
                "share": charts.share(due, deepest),
                "later": number(one["later"] if one else 0),
                "held": number(one["held"] if one else 0),
                "oldest": display.duration(one["oldest_seconds"]) if one else times.EMPTY,
                "rate": formats.number_format(round(ended / overview.minutes, 1), 1),
            }
        )
    return {"rows": rows, "more": max(0, len(names) - QUEUES), "may_pause": page.viewer.may_pause}


def workers(page: Page) -> dict[str, Any]:
    """Show which processes work, and which are gone."""
    report = page.overview.report
    now = datetime.fromisoformat(report["at"])
    order = {"gone": 0, "late": 1, "alive": 2}
    found = sorted(report["workers"], key=lambda one: (order[one["state"]], one["host"], one["pid"]))
    rows = [
        {
            **one,
            "link": page.viewer.link(Worker, one["id"], one["id"]),
            "state": display.label(one["state"]),
            "served": ", ".join(map(str, one["queues"])) or _("all"),
            "share": charts.share(one["running"], one["threads"]),
            "process": str(one["pid"]),
            "heartbeat": times.relative(datetime.fromisoformat(one["heartbeat_at"]), now),
        }
        for one in found[:WORKERS]
    ]
    states = [one["state"] for one in found]
    alive = [one for one in found if one["state"] != "gone"]
    busy, threads = (sum(one[name] for one in alive) for name in ("running", "threads"))
    return {
        "rows": rows,
        "more": max(0, len(found) - WORKERS),
        "url": page.viewer.list_url(Worker),
        "alive": number(len(alive)),
        "gone": states.count("gone"),
        "busy": number(busy),
        "threads": number(threads),
        "share": charts.share(busy, threads),
    }


def firings(page: Page) -> dict[str, Any]:
    """Draw what fires next."""
    if not page.viewer.may_view(Job):
        return {"hidden": True}
    timeline = page.overview.timeline
    length = timeline.ends_at - timeline.begins_at
    return {
        "rows": [
            {
                "job": page.viewer.link(Job, line.job.pk, line.job.pk),
                "schedule": line.schedule,
                "next": times.relative(line.next_at, timeline.begins_at),
                "is_late": line.is_late,
                "late": display.label("late"),
                "marks": line.marks,
            }
            for line in timeline.lines
        ],
        "labels": axis(timeline.begins_at, timeline.ends_at, with_day=length > timedelta(days=1)),
        "url": page.viewer.list_url(Job, status="scheduled"),
        "width": charts.WIDTH,
    }
