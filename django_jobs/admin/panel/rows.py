"""What the panel of an object shows: its jobs that are still to fire, and its newest runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import F
from django.db.models.functions import Left

from django_jobs import triggers
from django_jobs.admin.shared import display, times
from django_jobs.exceptions import BadPayload, UnknownTrigger
from django_jobs.models import FINISHED, Job, Run, Status
from django_jobs.operations.run_query import LARGE_COLUMNS

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite

# Of each, on the page: all of them are a click away.
MOST_JOBS, MOST_RUNS = 10, 10
ERROR_LENGTH = 200


@dataclass(slots=True, kw_only=True)
class Row:
    """One line: a job with a schedule, or a run.

    Attributes:
        link: To its page; its name where there is none.
        state: Its state, as a label.
        when: When it fires next, begins, began or ended.
        more: How long it took, how far it is, or why it failed.
        job_id: What to run once more; empty where its job has a line above.
    """

    link: str
    state: str
    when: str
    more: str
    job_id: str


def of_object(site: AdminSite, about: str, *, using: str) -> list[Row]:
    """Return the lines of an object, jobs with a schedule first, with two queries.

    Args:
        site: Whose pages are linked to.
        about: The object, as "app_label.model:pk".
        using: Alias of the database.
    """
    jobs = Job.objects.using(using).filter(about=about)
    jobs = jobs.order_by(F("next_run_time").asc(nulls_last=True), "pk")[:MOST_JOBS]
    runs = Run.objects.using(using).filter(about=about).annotate(error_start=Left("error", ERROR_LENGTH))
    runs = runs.order_by("-pk").defer(*LARGE_COLUMNS, "error")
    rows = [_of_job(site, job) for job in jobs]
    there = {row.job_id for row in rows}
    for run in runs[:MOST_RUNS]:
        rows.append(_of_run(site, run, is_last=run.job_id not in there))
        there.add(run.job_id)
    return rows


def _of_job(site: AdminSite, job: Job) -> Row:
    return Row(
        link=display.link(site, Job, job.pk, job.name),
        state=display.label(job.status),
        when=times.relative(job.next_run_time),
        more=_schedule(job),
        job_id=job.pk,
    )


def _schedule(job: Job) -> str:
    try:
        return triggers.describe(triggers.loads(job.job_state))
    except (UnknownTrigger, BadPayload) as error:
        return str(error)


def _of_run(site: AdminSite, run: Run, *, is_last: bool) -> Row:
    run.error = getattr(run, "error_start", "")
    may_run = is_last and run.status in FINISHED and run.batch_id is None
    return Row(
        link=display.link(site, Run, run.pk, f"{run.name} {run.pk}"),
        state=display.label(display.run_state(run)),
        when=times.relative(display.last_known(run)),
        more=_more(run),
        job_id=run.job_id if may_run else "",
    )


def _more(run: Run) -> str:
    if run.error:
        return run.error.partition("\n")[0]
    progress = run.progress if isinstance(run.progress, dict) else {}
    if run.status == Status.RUNNING and progress.get("total"):
        return f"{progress.get('done')}/{progress['total']} {progress.get('message') or ''}".strip()
    return display.run_duration(run) if run.started_at else ""
