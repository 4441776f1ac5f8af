"""What the page of one run shows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from django_jobs import codec
from django_jobs.admin.runs import comparison, gantt, kept, timeline
from django_jobs.admin.shared import display, times
from django_jobs.models import Job, Run, Worker, jobs_database
from django_jobs.operations import retry_with_changes
from django_jobs.storage import logs
from django_jobs.storage.limits import line
from django_jobs.storage.queues import obstacle

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite


def facts(
    site: AdminSite, run: Run, *, with_payload: bool, log_level: str = "", log_search: str = ""
) -> dict[str, Any]:
    """Return what the templates of a run's page show, with a handful of queries.

    Args:
        site: For links.
        run: The run.
        with_payload: Whether to show its arguments, result, tracebacks and log.
        log_level: Show lines of its log from this level on; all where there is no such level.
        log_search: Show lines with this text, in any case.
    """
    workers = _workers(site, {run.worker_id, *(one.worker_id for one in timeline.attempts(run))})
    return {
        "state": display.label(display.run_state(run)),
        "is_over": run.finished_at is not None,
        "job": _job(site, run.job_id),
        "runs_of_job": display.list_link(site, _("All runs of this job"), job_id=run.job_id),
        "runs_of_func": display.list_link(site, run.func, func=run.func),
        "alike": display.list_link(site, _("All runs with this error"), failure=run.error_key)
        if run.error_key
        else "",
        "runs_of_queue": display.list_link(site, run.queue_name, queue=run.queue_name),
        "worker": workers.get(run.worker_id, run.worker_id),
        "error": display.cut(run.error),
        "signature_problem": display.cut(display.signature_problem(run)),
        "attempt": _attempt(run),
        "steps": list(timeline.steps(run, workers, with_payload=with_payload, obstacle=_obstacle(run))),
        "kept": kept.entries(run, with_payload=with_payload),
        "gantt": gantt.of_run(run),
        "width": gantt.WIDTH,
        "progress": _progress(run),
        "with_payload": with_payload,
        "result": display.pretty(codec.plain(run.result))
        if with_payload and run.result is not None
        else None,
        "log": _log(run, log_level, log_search) if with_payload else None,
        "compared": comparison.with_last_success(site, run, with_payload=with_payload),
        **_neighbours(site, run),
        **comparison.failures_beside(site, run),
    }


def _log(run: Run, level: str, search: str) -> dict[str, Any]:
    lines = logs.parse(codec.storable(logs.read(run, using=jobs_database())))
    least = level if level in logs.LEVELS else logs.LEVELS[0]
    return {
        "exists": bool(lines),
        "lines": [replace(line, raw=times.in_text(line.raw)) for line in logs.matching(lines, least, search)],
        "levels": logs.LEVELS,
        "level": least,
        "search": search,
    }


def _job(site: AdminSite, job_id: str) -> str:
    is_there = Job.objects.using(jobs_database()).filter(pk=job_id).exists()
    return display.link(site, Job, job_id, job_id) if is_there else job_id


def _attempt(run: Run) -> str:
    """Return which attempt was the last one to begin, and of how many."""
    number, most = timeline.tried(run)
    if not number or most is None:
        return str(run.attempt or "")
    return _("%(number)d of %(most)d") % {"number": number, "most": most}


def _obstacle(run: Run) -> str:
    """Return why a run does not begin, for its timeline."""
    state = run.state
    place = line.place_of(run, using=jobs_database()) if state in {"limited", "ordered"} else None
    if place is not None and state == "ordered":
        text = _("Waits for its turn in %(key)s: %(ahead)d ahead of it")
        return text % {"key": place.key, "ahead": place.ahead}
    if place is not None:
        words = {"key": place.key, "running": place.running, "most": place.concurrency, "ahead": place.ahead}
        text = _("Waits for limit %(key)s: %(running)d of %(most)d running, %(ahead)d ahead of it")
        return text % words
    return obstacle(run.queue_name, run.func, using=jobs_database()) if state == "ready" else ""


def _workers(site: AdminSite, ids: set[str]) -> dict[str, str]:
    """Return links to the workers whose rows are still there."""
    found = (
        Worker.objects.using(jobs_database())
        .filter(pk__in=[pk for pk in ids if pk])
        .values_list("pk", flat=True)
    )
    return {pk: display.link(site, Worker, pk, pk) for pk in found}


def _neighbours(site: AdminSite, run: Run) -> dict[str, Any]:
    """Return links to the runs of its job beside it, and to those it was made from or made into."""
    beside = Run.objects.using(jobs_database()).filter(job_id=run.job_id)
    previous = beside.filter(pk__lt=run.pk).order_by("-pk").values_list("pk", flat=True).first()
    # Some more than the next one: a retry with changes is among them, or long past.
    later = list(beside.filter(pk__gt=run.pk).order_by("pk").values_list("pk", "options")[:20])
    origin = run.said.get(retry_with_changes.CHANGED_FROM)
    copies = [
        pk
        for pk, more in later
        if isinstance(more, dict) and more.get(retry_with_changes.CHANGED_FROM) == run.pk
    ]
    return {
        "previous": None if previous is None else display.link(site, Run, previous, previous),
        "next": display.link(site, Run, later[0][0], later[0][0]) if later else None,
        "origin": display.link(site, Run, origin, origin) if isinstance(origin, int) else None,
        "copies": [display.link(site, Run, pk, pk) for pk in copies],
    }


def _progress(run: Run) -> dict[str, Any] | None:
    """Return how far a run has come, with a bar where the whole is known, and how long it will still take."""
    progress = run.progress
    if not progress:
        return None
    if not isinstance(progress, dict):
        return {"done": display.pretty(progress)}
    done, total = progress.get("done"), progress.get("total")
    share, left = run.share, run.seconds_left
    return {
        "done": done,
        "total": total,
        "message": progress.get("message") or "",
        "has_bar": all(isinstance(n, int | float) and n >= 0 for n in (done, total)),
        "percent": "" if share is None else _("%d%%") % (100 * share),
        "left": display.left(left) if left else "",
    }
