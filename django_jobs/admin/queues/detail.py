"""What the page of one queue shows."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from django_jobs.admin.dashboard.labels import number, percent, rate
from django_jobs.admin.queues import figures
from django_jobs.admin.shared import charts, display, times
from django_jobs.models import LimitEdit, Run, Status, Worker, jobs_database
from django_jobs.operations import limits
from django_jobs.registry.limits import digest

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from django_jobs.admin.dashboard.viewer import Page
    from django_jobs.admin.queues.figures import Figures
    from django_jobs.operations.reports import WorkerReport

# Due runs whose functions are counted, those that begin first.
LOOKED_AT = 10_000
FUNCTIONS = 12
# Keys of limits.
KEYS = 10


def to_empty(queue: Figures) -> str:
    """Show how long until nothing waits, or why that is never."""
    seconds = queue.seconds_to_empty
    if seconds is None:
        return _("grows") if queue.state == "serving" else times.EMPTY
    return display.duration(seconds) if queue.due else times.EMPTY


def failed(queue: Figures) -> tuple[int, str]:
    """Return how many runs failed, and what share of those that ran."""
    count = queue.summary.outcomes.get(Status.FAILED, 0)
    ran = count + queue.summary.outcomes.get(Status.SUCCESSFUL, 0)
    return count, _("%s%%") % percent(count, ran)


def facts(page: Page, queue: Figures) -> list[dict[str, Any]]:
    """Return the numbers at the top: each with a name, a value and where it leads."""
    link, name = page.viewer.list_url, queue.name
    report, summary = queue.report, queue.summary
    count, share = failed(queue)
    found: list[tuple[_StrOrPromise, str, str]] = [
        (_("Waiting"), number(queue.due), link(Run, status="due", queue=name)),
        (_("Oldest"), display.duration(report["oldest_seconds"] if report else None), ""),
        (_("Time to empty"), to_empty(queue), ""),
        (_("Added per minute"), rate(queue.added), ""),
        (_("Ended per minute"), rate(queue.ended), link(Run, queue=name, **page.overview.within)),
    ]
    if report:
        states = (("later", "deferred"), ("held", "held"), ("blocked", "blocked"))
        found += [
            (display.STATES[state], number(report[key]), link(Run, status=state, queue=name))  # type: ignore[literal-required] # counts
            for key, state in states
            if report[key]  # type: ignore[literal-required] # likewise
        ]
    found += [
        (_("Wait: half, 95% within"), _both(summary.waited), ""),
        (_("Run time: half, 95% within"), _both(summary.ran), ""),
        (
            display.STATES[Status.FAILED],
            f"{number(count)} ({share})",
            link(Run, status=Status.FAILED, queue=name, **page.overview.within) if count else "",
        ),
    ]
    return [{"name": label, "value": value, "url": url} for label, value, url in found]


def _both(durations: Any) -> str:
    if not durations.count:
        return times.EMPTY
    return " · ".join(display.duration(durations.percentile(share)) for share in (50, 95))


def pause(queue: Figures) -> dict[str, Any]:
    """Return what is known of its pause; empty where it is not paused."""
    report = queue.report
    if report is None or not report["is_paused"]:
        return {}
    until = report["paused_until"]
    return {
        "by": report["paused_by"],
        "reason": report["paused_reason"],
        "until": times.both(datetime.fromisoformat(until)) if until else "",
    }


def by_function(page: Page, queue: Figures) -> dict[str, Any]:
    """Count what is due by function, among the runs that begin first."""
    if not queue.due:
        return {"rows": []}
    due = (
        Run.objects.using(jobs_database())
        .ready()
        .filter(queue_name=queue.name, run_after__lte=page.overview.now)
    )
    counts = Counter(due.order_by("-priority", "run_after", "pk").values_list("func", flat=True)[:LOOKED_AT])
    most = max(counts.values(), default=0)
    rows = [
        {
            "name": func,
            "count": number(count),
            "share": charts.share(count, most),
            "url": page.viewer.list_url(Run, status="due", queue=queue.name, func=func),
        }
        for func, count in counts.most_common(FUNCTIONS)
    ]
    return {
        "rows": rows,
        "more": max(0, len(counts) - FUNCTIONS),
        "looked_at": number(LOOKED_AT) if counts.total() == LOOKED_AT else "",
    }


def limits_by_key(page: Page, queue: Figures) -> dict[str, Any]:
    """Return the keys of limits that its runs wait for; no query where none waits."""
    if queue.report is None or not queue.report["blocked"]:
        return {"rows": []}
    found, more = limits.keys_in_queue(queue.name, most=KEYS, using=jobs_database())
    rows = [
        {
            "name": one.name,
            "url": page.viewer.page_url(LimitEdit, digest(one.name)),
            "key": one.key,
            "waiting": number(one.waiting),
            "running": number(one.running)
            if one.concurrency is None
            else _("%(busy)s of %(threads)s") % {"busy": one.running, "threads": number(one.concurrency)},
            "share": charts.share(one.running, one.concurrency) if one.concurrency else 0,
            "rate": one.rate,
            "is_full": one.is_full,
        }
        for one in found
    ]
    return {"rows": rows, "more": more}


def serving(page: Page, queue: Figures) -> list[dict[str, Any]]:
    """Return the workers that serve it, and how many of its runs each has."""
    return [_worker(page, one, queue.name) for one in queue.workers]


def _worker(page: Page, one: WorkerReport, queue_name: str) -> dict[str, Any]:
    busy = number(one["running_by_queue"].get(queue_name, 0))
    return {
        **one,
        "link": page.viewer.link(Worker, one["id"], f"{one['host']}:{one['pid']}"),
        "state": display.label(one["state"]),
        "share": charts.share(one["running"], one["threads"]),
        "of_queue": busy
        if queue_name not in one["queue_threads"]
        else _("%(busy)s of %(threads)s")
        % {"busy": busy, "threads": number(one["queue_threads"][queue_name])},
        "count": len(one["queues"]),
    }


def lines(page: Page) -> list[dict[str, Any]]:
    """Return what the list shows of each queue."""
    return [_line(page, queue) for queue in figures.every(page.overview)]


def _line(page: Page, queue: Figures) -> dict[str, Any]:
    report, summary = queue.report, queue.summary
    count, share = failed(queue)
    link = page.viewer.list_url
    return {
        "name": queue.name,
        "state": display.label(queue.state),
        "pause": pause(queue),
        "is_paused": queue.state == "paused",
        "due": number(queue.due),
        "due_url": link(Run, status="due", queue=queue.name) if queue.due else "",
        "oldest": display.duration(report["oldest_seconds"] if report else None),
        "others": [
            f"{number(report[key])} {display.STATES[state]}"  # type: ignore[literal-required] # counts
            for key, state in (("later", "deferred"), ("held", "held"), ("blocked", "blocked"))
            if report and report[key]  # type: ignore[literal-required] # likewise
        ],
        "added": rate(queue.added),
        "ended": rate(queue.ended),
        "to_empty": to_empty(queue),
        "waited": display.duration(summary.waited.percentile(95)),
        "ran": display.duration(summary.ran.percentile(95)),
        "failed": share if count else times.EMPTY,
        "failed_url": link(Run, status=Status.FAILED, queue=queue.name, **page.overview.within)
        if count
        else "",
        "workers": number(len(queue.workers)),
        "is_unserved": not queue.workers,
        "depth": charts.sparkline(queue.depths),
        "spark": charts.sparkline([point.summary.ended for point in queue.points]),
    }
