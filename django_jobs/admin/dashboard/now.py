"""The parts of the dashboard that show the present: counts, running runs, queues, workers, what fires next."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_jobs.admin.dashboard.labels import axis, number, percent, rate
from django_jobs.admin.shared import charts, display, times
from django_jobs.admin.shared.actions import FROM_DASHBOARD
from django_jobs.models import Job, Queue, Run, Status, Worker
from django_jobs.operations import health

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.admin.dashboard.viewer import Page
    from django_jobs.operations.reports import QueueReport

WORKERS = 12
QUEUES = 50


def counts(page: Page) -> dict[str, Any]:
    """Show six numbers with what they were before, and on a line what else there is."""
    overview = page.overview
    report, total, points = overview.report, overview.total, overview.points
    link, ended = page.viewer.list_url, overview.within
    seconds = page.range.step.total_seconds()
    failed = total.outcomes.get(Status.FAILED, 0)
    tried = total.outcomes.get(Status.SUCCESSFUL, 0) + failed
    totals = report["worker_totals"]
    tiles = [
        _tile("running", _("Running"), number(report["running"]), link(Run, status="RUNNING"),
              spark=[point.summary.ran.seconds / seconds for point in points]),
        _tile("ready", _("Waiting"), number(sum(one["due"] for one in report["queues"])), link(Run, status="due"),
              " · ".join(_why_waiting(report["queues"])),
              spark=[point.summary.waited.seconds / seconds for point in points]),
        _tile("failed", _("Failed"), number(failed), link(Run, status=Status.FAILED, **ended),
              _("%s%% of those that ran") % percent(failed, tried),
              spark=[point.summary.outcomes.get(Status.FAILED, 0) for point in points], is_bad=bool(failed)),
        _tile("rate", _("Ended per minute"), rate(total.ended / overview.minutes), link(Run, **ended),
              spark=[point.summary.ended for point in points]),
        _tile("wait", _("95th percentile wait"), display.duration(total.waited.percentile(95)),
              page.viewer.url_with(chart="wait-95"),
              spark=[point.summary.waited.percentile(95) or 0 for point in points]),
        _tile("threads", _("Threads busy"), f"{number(report['running'])}/{number(totals['threads'])}", link(Worker),
              ngettext("%d gone", "%d gone", totals["gone"]) % totals["gone"] if totals["gone"] else "",
              is_bad=bool(totals["gone"])),
    ]  # fmt: skip
    return {
        "tiles": tiles,
        "groups": [group for group in _others(page, ended) if group["facts"]],
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
    }


def _others(page: Page, ended: dict[str, str]) -> list[dict[str, Any]]:
    """Return what else there is, as groups of numbers that lead somewhere."""
    report, outcomes, link = page.overview.report, page.overview.total.outcomes, page.viewer.list_url
    over = (Status.SUCCESSFUL, Status.CANCELLED, Status.SKIPPED)
    jobs = ("scheduled", "paused", "broken")
    later, held = (sum(one[key] for one in report["queues"]) for key in ("later", "held"))
    runs = [
        (display.STATES[state], count, link(Run, status=state))
        for state, count in (("deferred", later), ("held", held))
    ]
    done = [
        (display.STATES[state], outcomes.get(state, 0), link(Run, status=state, **ended)) for state in over
    ]
    done.append((_("Tried again"), outcomes.get(Status.READY, 0), ""))
    of_jobs = [(display.STATES[state], report["jobs"][state], link(Job, status=state)) for state in jobs]
    groups = ((_("Runs"), runs), (page.range.label, done), (_("Jobs"), of_jobs))
    return [
        {
            "name": name,
            "facts": [
                {"label": label, "count": number(count), "url": url} for label, count, url in facts if count
            ],
        }
        for name, facts in groups
    ]


def _why_waiting(queues: list[QueueReport]) -> list[str]:
    """Say of what is due how much waits for what."""
    words = {
        "queue_paused": _("%s paused"),
        "unserved": _("%s without a worker"),
        "serving": _("%s for a thread"),
    }
    counts = dict.fromkeys(words, 0)
    for one in queues:
        state = health.queue_state(one)
        counts["queue_paused" if state == "paused" else state] += one["due"]
    return [words[state] % number(count) for state, count in counts.items() if count]


def _tile(
    name: str,
    label: Any,
    value: str,
    url: str,
    more: str = "",
    *,
    spark: Sequence[float] = (),
    is_bad: bool = False,
) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "count": value,
        "is_bad": is_bad,
        "url": url,
        "more": more,
        "spark": charts.sparkline(spark),
    }


def running(page: Page) -> dict[str, Any]:
    """Name what has been running the longest."""
    runs = page.overview.running
    return {
        "rows": [_running(page, run) for run in runs],
        "more": max(0, page.overview.report["running"] - len(runs)),
        "url": page.viewer.list_url(Run, status="RUNNING"),
        "back": FROM_DASHBOARD,
    }


def _running(page: Page, run: Run) -> dict[str, Any]:
    progress = run.progress if isinstance(run.progress, dict) else {}
    done, whole = progress.get("done"), progress.get("total")
    share, left = run.share, run.seconds_left
    message = str(progress.get("message") or "")
    module, _colon, name = run.func.rpartition(":")
    return {
        "run": page.viewer.link(Run, run.pk, name),
        "number": run.pk,
        "module": module,
        "state": display.label(display.run_state(run)) if run.cancel_requested else "",
        "took": _brief(run),
        "share": None if share is None else charts.share(share, 1),
        "percent": "" if share is None else _("%d%%") % (100 * share),
        "left": display.left(left) if left else "",
        "progress": display.cut(f"{done}/{whole} {message}".strip() if share is not None else message, 60),
        "cancel_url": "" if run.cancel_requested else page.viewer.action_url(Run, run.pk, "cancel"),
    }


def _brief(run: Run) -> str:
    """Show how long a run has taken."""
    return display.brief((timezone.now() - run.started_at).total_seconds()) if run.started_at else times.EMPTY


def queues(page: Page) -> dict[str, Any]:
    """Show what waits where, how fast it goes, and let it be paused."""
    overview = page.overview
    reports = {one["name"]: one for one in overview.report["queues"]}
    # What was too various to be told apart was counted under no name.
    names = sorted({*reports, *(name for name in overview.by_queue if name)})
    rows = []
    for name in names[:QUEUES]:
        one = reports.get(name)
        ended = overview.by_queue[name].ended if name in overview.by_queue else 0
        due = one["due"] if one else 0
        state = health.queue_state(one) if one else "serving"
        rows.append(
            {
                "name": name,
                "url": page.viewer.page_url(Queue, name) or page.viewer.list_url(Run, queue=name),
                "state": display.label(state) if state != "serving" else "",
                "is_paused": bool(one and one["is_paused"]),
                "due": number(due),
                "later": number(one["later"] if one else 0),
                "oldest": display.duration(one["oldest_seconds"]) if one else times.EMPTY,
                "rate": rate(ended / overview.minutes),
            }
        )
    return {"rows": rows, "more": max(0, len(names) - QUEUES), "may_pause": page.viewer.may_pause}


def workers(page: Page) -> dict[str, Any]:
    """Show which processes work, those that live first, and how many are gone."""
    report = page.overview.report
    now = datetime.fromisoformat(report["at"])
    order = {"late": 0, "alive": 1}
    living = [one for one in report["workers"] if one["state"] != "gone"]
    living.sort(key=lambda one: (order[one["state"]], one["host"], one["pid"]))
    gone = [one for one in report["workers"] if one["state"] == "gone"]
    last = max((datetime.fromisoformat(one["heartbeat_at"]) for one in gone), default=None)
    rows = [
        {
            **one,
            "link": page.viewer.link(Worker, one["id"], f"{one['host']}:{one['pid']}"),
            "state": display.label(health.shown_state(one)),
            "share": charts.share(one["running"], one["threads"]),
            "heartbeat": times.relative(datetime.fromisoformat(one["heartbeat_at"]), now),
        }
        for one in living[:WORKERS]
    ]
    totals = report["worker_totals"]
    return {
        "rows": rows,
        "more": max(0, len(living) - WORKERS),
        "url": page.viewer.list_url(Worker),
        "alive": number(len(living)),
        "gone": totals["gone"],
        "gone_since": times.relative(last, now) if last else "",
        "gone_url": page.viewer.list_url(Worker, state="lost"),
        "busy": number(sum(one["running"] for one in living)),
        "threads": number(totals["threads"]),
    }


def firings(page: Page) -> dict[str, Any]:
    """Show what fires next, but for what fires all the time."""
    if not page.viewer.may_view(Job):
        return {"hidden": True}
    timeline = page.overview.timeline
    return {
        "rows": [
            {
                "job": page.viewer.link(Job, line.job.pk, display.cut(line.job.pk, 60)),
                "schedule": line.schedule,
                "next": times.relative(line.next_at, timeline.begins_at),
                "is_late": line.is_late,
                "late": display.label("late"),
                "marks": line.marks,
                "is_full": line.is_full,
            }
            for line in timeline.lines
        ],
        "frequent": number(timeline.frequent),
        "frequent_count": timeline.frequent,
        "has_frequent": bool(timeline.frequent),
        "has_any": bool(timeline.frequent or timeline.lines),
        "labels": axis(timeline.begins_at, timeline.ends_at, with_day=False),
        "url": page.viewer.list_url(Job, status="scheduled"),
        "width": charts.WIDTH,
    }
