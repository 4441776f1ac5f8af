"""The dashboard's parts, each as what its template shows; all are of the same name."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.admin.exceptions import NotRegistered
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_jobs.admin.dashboard import charts, failures
from django_jobs.admin.shared import display
from django_jobs.models import BIN_ENDS, Job, Queue, Run, Status, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.contrib.admin import AdminSite, ModelAdmin
    from django.db.models import Model
    from django.http import HttpRequest

    from django_jobs.admin.dashboard.overview import Overview
    from django_jobs.operations.health import Problem
    from django_jobs.storage.statistics import Durations, Summary

FUNCTIONS = 8
ERRORS = 10
WORKERS = 25
QUEUES = 50
PERCENTILES = (50, 90, 95, 99)
LABELS = 4


class Viewer:
    """Who looks at the page, and what of it leads somewhere for that person."""

    def __init__(self, request: HttpRequest, site: AdminSite) -> None:
        self._request = request
        self._site = site

    def pages(self, model: type[Model]) -> ModelAdmin[Any] | None:
        """Return a model's pages in this admin; None where the project has none."""
        try:
            return self._site.get_model_admin(model)
        except NotRegistered:
            return None

    def may_view(self, model: type[Model]) -> bool:
        """Whether the person may see a model's rows."""
        pages = self.pages(model)
        return pages is not None and bool(pages.has_view_permission(self._request))

    @property
    def may_pause(self) -> bool:
        """Whether the person may pause queues."""
        pages = self.pages(Queue)
        return pages is not None and bool(pages.has_change_permission(self._request))

    def link(self, model: type[Model], pk: int | str, text: object) -> str:
        """Link to a row's page, where the person may see it."""
        return display.link(self._site, model, pk, text) if self.may_view(model) else str(text)

    def list_url(self, model: type[Model], **filters: str) -> str:
        """Return the address of a model's list; empty where the person may not see it."""
        if not self.may_view(model):
            return ""
        try:
            return reverse(
                f"{self._site.name}:django_jobs_{model._meta.model_name}_changelist", query=filters
            )
        except NoReverseMatch:
            return ""


class Page:
    """What all parts are made of."""

    def __init__(self, overview: Overview, viewer: Viewer) -> None:
        self.overview = overview
        self.viewer = viewer

    @property
    def range(self) -> Any:
        """The chosen range."""
        return self.overview.range


def problems(page: Page) -> dict[str, Any]:
    """Say what a person should look at first, and where."""
    return {
        "problems": [_problem(page, one) for one in page.overview.report["problems"]],
        "at": display.moment(page.overview.now),
    }


def _problem(page: Page, problem: Problem) -> dict[str, str]:
    count, link = problem["count"], page.viewer.list_url
    match problem["code"]:
        case "no_worker":
            text = _("No worker is alive: nothing is executed.")
            text += " " + _("Start `manage.py runjobs`, or the web server.")
            url = link(Worker)
        case "no_clock":
            text = _("No live worker has a clock: nothing fires.")
            url = link(Worker)
        case "overdue_runs":
            text = ngettext(
                "%(count)s run in queue %(queue)s is late.", "%(count)s runs in queue %(queue)s, the oldest late.", count
            )  # fmt: skip
            reasons = {"unserved": _("No live worker serves it."), "busy": _("All threads may be busy.")}
            text += f" {reasons[problem['reason']]}"
            url = link(Run, status="due", queue=problem["queue_name"])
        case "overdue_jobs":
            text = ngettext("%(count)s job is late.", "%(count)s jobs are late.", count)
            url = link(Job, status="scheduled")
        case "broken_jobs":
            text = ngettext("%(count)s job is broken.", "%(count)s jobs are broken.", count)
            url = link(Job, status="broken")
        case "broken_runs":
            text = ngettext("%(count)s run cannot be read.", "%(count)s runs cannot be read.", count)
            url = link(Run, status="broken")
        case "lost_runs":
            text = ngettext(
                "%(count)s run belongs to a worker that is gone.",
                "%(count)s runs belong to workers that are gone.",
                count,
            )
            url = link(Run, status="RUNNING")
        case _:
            return {"text": problem["text"], "url": ""}
    return {"text": text % {"count": number(count), "queue": problem["queue_name"]}, "url": url}


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


def chart(page: Page) -> dict[str, Any]:
    """Draw what succeeded and failed over the range."""
    points = page.overview.points
    rows: list[dict[str, Any]] = []
    for point in points:
        succeeded, failed = (
            point.summary.outcomes.get(status, 0) for status in (Status.SUCCESSFUL, Status.FAILED)
        )
        rows.append({"at": point.begins_at, "succeeded": succeeded, "failed": failed})
    drawn = charts.bars([[("failed", row["failed"]), ("succeeded", row["succeeded"])] for row in rows])
    is_long = page.range.length > timedelta(days=1)
    for row in rows:
        row["label"] = _clock(row["at"], with_day=is_long)
    succeeded, failed = (sum(row[name] for row in rows) for name in ("succeeded", "failed"))
    begins_at, ends_at = points[0].begins_at, points[-1].begins_at + page.range.step
    return {
        "drawn": drawn,
        "columns": [
            {"box": column, "boxes": boxes, "row": row}
            for column, boxes, row in zip(drawn.columns, drawn.bars, rows, strict=True)
        ],
        "ticks": [number(tick) for tick in drawn.ticks],
        "labels": _axis(begins_at, ends_at, with_day=is_long),
        "rows": [row for row in rows if row["succeeded"] or row["failed"]],
        "succeeded": number(succeeded),
        "failed": number(failed),
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
    }


def durations(page: Page) -> dict[str, Any]:
    """Show how long runs took, and had waited."""
    total = page.overview.total
    return {
        "percentiles": PERCENTILES,
        "rows": [
            _percentiles("ran", _("Run time"), total.ran),
            _percentiles("waited", _("Waiting time"), total.waited),
        ],
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
    }


def _percentiles(name: str, label: str, found: Durations) -> dict[str, Any]:
    span = charts.span(found.bins)
    drawn = charts.bars([[(name, found.bins[index])] for index in span])
    ends = [display.duration(BIN_ENDS[min(index, len(BIN_ENDS) - 1)]) for index in span]
    return {
        "name": name,
        "label": label,
        "mean": display.duration(found.mean),
        "values": [display.duration(found.percentile(percent)) for percent in PERCENTILES],
        "columns": [
            {"box": column, "boxes": boxes, "title": _("up to %(time)s: %(count)s") % {"time": end, "count": number(count)}}
            for column, boxes, end, count in zip(
                drawn.columns, drawn.bars, ends, (found.bins[index] for index in span), strict=True
            )
        ],
        "first": ends[0] if ends else "",
        "last": ends[-1] if ends else "",
        "count": found.count,
    }  # fmt: skip


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
        "since": display.moment(run.started_at),
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
        is_paused = bool(one and one["is_paused"])
        rows.append(
            {
                "name": name,
                "url": page.viewer.list_url(Run, queue=name),
                "state": display.label("paused" if is_paused else "serving"),
                "is_paused": is_paused,
                "due": number(due),
                "share": charts.share(due, deepest),
                "later": number(one["later"] if one else 0),
                "held": number(one["held"] if one else 0),
                "oldest": display.duration(one["oldest_seconds"]) if one else display.EMPTY,
                "rate": formats.number_format(round(ended / overview.minutes, 1), 1),
            }
        )
    return {"rows": rows, "more": max(0, len(names) - QUEUES), "may_pause": page.viewer.may_pause}


def functions(page: Page) -> dict[str, Any]:
    """Show the slowest functions, and those that fail most."""
    found = {name: summary for name, summary in page.overview.by_function.items() if name}
    slowest = [name for name, one in found.items() if one.ran.count]
    slowest.sort(key=lambda name: (-(found[name].ran.percentile(95) or 0), name))
    failing = [name for name, one in found.items() if one.outcomes.get(Status.FAILED)]
    failing.sort(key=lambda name: (-found[name].outcomes[Status.FAILED], name))
    longest = found[slowest[0]].ran.percentile(95) if slowest else None
    return {
        "slowest": [_function(page, name, found[name], longest or 0) for name in slowest[:FUNCTIONS]],
        "failing": [_function(page, name, found[name], longest or 0) for name in failing[:FUNCTIONS]],
    }


def _function(page: Page, name: str, summary: Summary, longest: float) -> dict[str, Any]:
    failed = summary.outcomes.get(Status.FAILED, 0)
    ended = summary.outcomes.get(Status.SUCCESSFUL, 0) + failed
    slow = summary.ran.percentile(95)
    return {
        "name": name,
        "url": page.viewer.list_url(Run, func=name),
        "failed_url": page.viewer.list_url(Run, func=name, status=Status.FAILED),
        "runs": number(ended),
        "failed": number(failed),
        "failed_percent": formats.number_format(round(100 * failed / ended, 1) if ended else 0, 1),
        "failed_share": charts.share(failed, ended),
        "median": display.duration(summary.ran.percentile(50)),
        "slow": display.duration(slow),
        "share": charts.share(slow or 0, longest),
    }


def errors(page: Page) -> dict[str, Any]:
    """Show what fails where, how often and when last."""
    found = page.overview.failures
    return {
        "rows": [
            {
                "exception": one.exception,
                "place": one.place,
                "func": one.func,
                "message": display.cut(one.message, 160),
                "run": page.viewer.link(Run, one.run_id, one.run_id),
                "count": number(one.count),
                "last": relative(one.last_at, page.overview.now),
            }
            for one in found.groups[:ERRORS]
        ],
        "more": max(0, len(found.groups) - ERRORS),
        "is_cut": found.is_cut,
        "count": number(failures.NEWEST),
        "url": page.viewer.list_url(Run, status=Status.FAILED),
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
                "next": relative(line.next_at, timeline.begins_at),
                "is_late": line.is_late,
                "late": display.label("late"),
                "marks": line.marks,
            }
            for line in timeline.lines
        ],
        "labels": _axis(timeline.begins_at, timeline.ends_at, with_day=length > timedelta(days=1)),
        "url": page.viewer.list_url(Job, status="scheduled"),
        "width": charts.WIDTH,
    }


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
            "heartbeat": relative(datetime.fromisoformat(one["heartbeat_at"]), now),
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


# In the order of the page. Each is rendered by the template of its name, into `data-live-part`.
PARTS: Mapping[str, Callable[[Page], dict[str, Any]]] = {
    "problems": problems,
    "counts": counts,
    "chart": chart,
    "running": running,
    "errors": errors,
    "firings": firings,
    "queues": queues,
    "workers": workers,
    "functions": functions,
    "durations": durations,
}


def number(count: int) -> str:
    """Show a number with its separators."""
    return formats.number_format(count, use_l10n=True, force_grouping=True)


def relative(at: datetime | None, now: datetime) -> str:
    """Show a time as how long ago or from now it is; exactly when it is pointed at."""
    if at is None:
        return display.EMPTY
    seconds = (at - now).total_seconds()
    text = (
        _("in %s") % display.duration(seconds) if seconds >= 0 else _("%s ago") % display.duration(-seconds)
    )
    if abs(seconds) < 1:
        text = _("now")
    local = timezone.localtime(at)
    exact = f"{formats.date_format(local, 'DATETIME_FORMAT')}:{local:%S} {local.tzname()}"
    return format_html(
        '<time class="jobs-moment" datetime="{}" title="{}">{}</time>', at.isoformat(), exact, text
    )


def _axis(begins_at: datetime, ends_at: datetime, *, with_day: bool) -> list[str]:
    length = ends_at - begins_at
    return [_clock(begins_at + length * index / LABELS, with_day=with_day) for index in range(LABELS + 1)]


def _clock(at: datetime, *, with_day: bool) -> str:
    local = timezone.localtime(at)
    time = formats.time_format(local, "H:i")
    return f"{formats.date_format(local, 'MONTH_DAY_FORMAT')} {time}" if with_day else time
