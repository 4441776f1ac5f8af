"""What is different about a run that failed, beside the last one of its job or function that succeeded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from django_jobs.admin.shared import display, times
from django_jobs.exceptions import BadPayload
from django_jobs.models import Run, Status, Worker, jobs_database
from django_jobs.operations import failures, named_arguments
from django_jobs.operations.run_query import UNSUCCESSFUL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import AdminSite

    from django_jobs.models import RunQuerySet

# Runs that are looked at, the nearest first: of the job, of all, and of those that failed.
LOOKED_AT = 500
# Of a value in the table.
VALUE = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """What was so in the last success, and is so now; "" where it is not known or was not there."""

    name: str
    then: str
    now: str


def with_last_success(site: AdminSite, run: Run, *, with_payload: bool) -> dict[str, Any] | None:
    """Return what a run that ended without success has different; None where no success is near.

    Args:
        site: For links.
        run: The run.
        with_payload: Whether arguments may be shown.
    """
    if run.status not in UNSUCCESSFUL or (success := _last_success(run)) is None:
        return None
    versions = dict(
        Worker.objects.using(jobs_database())
        .filter(pk__in=[run.worker_id, success.worker_id])
        .values_list("pk", "version")
    )
    facts = [
        (_("Worker"), success.worker_id, run.worker_id),
        (_("Version"), versions.get(success.worker_id, ""), versions.get(run.worker_id, "")),
        (_("Queue"), success.queue_name, run.queue_name),
        (_("Priority"), str(success.priority), str(run.priority)),
        (_("Attempt"), str(success.attempt), str(run.attempt)),
        (_("Run time"), display.run_duration(success), display.run_duration(run)),
    ]
    differences = [Difference(*fact) for fact in facts if fact[1] != fact[2]]
    are_same = None
    if with_payload:
        changed = list(_arguments(success, run))
        are_same = not changed
        differences[:0] = changed
    return {
        "run": display.link(site, Run, success.pk, success.pk),
        "ended": times.relative(success.finished_at),
        "of_job": success.job_id == run.job_id,
        "differences": differences,
        "same_arguments": are_same,
    }


def _last_success(run: Run) -> Run | None:
    """Return the last run of the job, or else of the function, that succeeded before; not far back."""
    before = Run.objects.using(jobs_database()).filter(pk__lt=run.pk).order_by("-pk")
    of_job = before.filter(job_id=run.job_id).values_list("pk", "status", "func")[:LOOKED_AT]
    pk = _first_success(of_job, run.func)
    if pk is None:
        pk = _first_success(before.values_list("pk", "status", "func")[:LOOKED_AT], run.func)
    if pk is None:
        return None
    found: Run | None = (
        Run.objects.using(jobs_database()).defer("result", "errors", "log").filter(pk=pk).first()
    )
    return found


def _first_success(rows: Any, func: str) -> int | None:
    return next((pk for pk, status, its in rows if status == Status.SUCCESSFUL and its == func), None)


def _arguments(success: Run, run: Run) -> Sequence[Difference]:
    try:
        then, now = dict(named_arguments.shown(success)), dict(named_arguments.shown(run))
    except BadPayload:
        return []
    return [
        Difference(name, _value(then, name), _value(now, name))
        for name in [*then, *(name for name in now if name not in then)]
        if then.get(name, ...) != now.get(name, ...)
    ]


def _value(values: dict[str, Any], name: str) -> str:
    if name not in values:
        return ""
    return display.cut(json.dumps(values[name], ensure_ascii=False, default=str), VALUE)


def failures_beside(site: AdminSite, run: Run) -> dict[str, Any]:
    """Return links to the failures of the function before and after a run, where they are near, with two queries."""
    failed = failures.failed(jobs_database())
    previous = _nearest(failed.filter(pk__lt=run.pk).order_by("-pk"), run.func)
    following = _nearest(failed.filter(pk__gt=run.pk).order_by("pk"), run.func)
    return {
        name: None if pk is None else display.link(site, Run, pk, pk)
        for name, pk in (("previous_failure", previous), ("next_failure", following))
    }


def _nearest(failed: RunQuerySet, func: str) -> int | None:
    return next((pk for pk, its in failed.values_list("pk", "func")[:LOOKED_AT] if its == func), None)
