"""Runs that failed for good, in the transaction that writes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django_jobs.models import Kind, Run, Status
from django_jobs.operations.alerts.options import alert_options
from django_jobs.operations.alerts.state import SEND, Incident, note, tell_if_due
from django_jobs.registry.alerts import Alert
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.endings import Ended


def runs_failed(ended: Sequence[Ended], *, using: str) -> None:
    """Count the runs that failed, and have people told where that is due.

    Args:
        ended: FAILED runs, whose rows are written and locked.
        using: Alias of the database.
    """
    options = alert_options()
    runs = Run.objects.using(using).filter(pk__in=[one.run_id for one in ended]).exclude(func=SEND)
    groups: dict[str, tuple[Incident, Run, Alert]] = {}
    counts: Counter[str] = Counter()
    for run in runs.order_by("pk").defer("payload", "result", "log", "errors"):
        alert = of_options(run.options, options.default)
        if not alert.after:
            continue
        incident = _incident(run)
        groups[incident.key] = incident, run, alert
        counts[incident.key] += 1
    if not groups:
        return
    now = database_now(using)
    # In one order, or two processes with the same failures would wait for each other.
    for key in sorted(groups):
        incident, run, alert = groups[key]
        row = note(replace(incident, count=counts[key]), now, using=using)
        if alert.after == 1 or _has_failed(run, row.count, alert.after, using):
            tell_if_due(row, Alert(1, alert.once_per), now, using=using)


def of_options(options: dict[str, Any] | None, default: Alert) -> Alert:
    """Return when people are told of a job's failures."""
    said = (options or {}).get("alert")
    return Alert(**said) if isinstance(said, dict) else default


def _incident(run: Run) -> Incident:
    return Incident("failed", run.func, run.error, run.error_key or "", run.pk)


def _has_failed(run: Run, count: int, times: int, using: str) -> bool:
    """Return whether a job failed so many times in a row."""
    if run.kind != Kind.RECURRING:
        # Each immediate job has one run: the failures of its function are counted until it succeeds.
        return count >= times
    attempted = Run.objects.using(using).filter(
        job_id=run.job_id, status__in=[Status.SUCCESSFUL, Status.FAILED]
    )
    last = list(attempted.order_by("-pk").values_list("status", flat=True)[:times])
    return len(last) == times and set(last) == {Status.FAILED}
