"""The part of the dashboard that says what is wrong."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_jobs.admin.dashboard.labels import number
from django_jobs.models import Job, Run, Worker

if TYPE_CHECKING:
    from django_jobs.admin.dashboard.viewer import Page
    from django_jobs.operations.reports import Problem, QueueReport

# Lines that are not folded away: the first screen is for more than these.
SHOWN = 2


def problems(page: Page) -> dict[str, Any]:
    """Say what a person should look at first, where, and what to do about it."""
    found = [_problem(page, one) for one in page.overview.report["problems"]]
    found += [_paused(page, one) for one in page.overview.report["queues"] if one["is_paused"] and one["due"]]
    return {"problems": found[:SHOWN], "more": found[SHOWN:]}


def _paused(page: Page, queue: QueueReport) -> dict[str, Any]:
    text = ngettext(
        "Queue %(queue)s is paused, and %(count)s run waits in it.",
        "Queue %(queue)s is paused, and %(count)s runs wait in it.",
        queue["due"],
    )
    return {
        "text": text % {"count": number(queue["due"]), "queue": queue["name"]},
        "url": page.viewer.list_url(Run, status="due", queue=queue["name"]),
        "resume": queue["name"] if page.viewer.may_pause else "",
    }


def _problem(page: Page, problem: Problem) -> dict[str, Any]:
    said = _said(page, problem)
    name = problem["queue_name"]
    if problem["code"] == "overdue_runs":
        said["bulk"] = page.viewer.bulk_url(status="due", queue=name)
        if problem["reason"] == "unserved":
            said["command"] = f"manage.py jobs work --queue {shlex.quote(name)}"
    return said


def _said(page: Page, problem: Problem) -> dict[str, Any]:
    count, link = problem["count"], page.viewer.list_url
    match problem["code"]:
        case "no_worker":
            text = _("No worker is alive: nothing is executed.")
            text += " " + _("Start `manage.py jobs work`, or the web server.")
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
