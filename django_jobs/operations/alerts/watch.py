"""Looks every half a minute, in one process for all, for what is wrong and for what is well again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.models import AlertState, Job, MaintenanceTask, Rollup, Run, Status
from django_jobs.operations import health
from django_jobs.operations.alerts import state
from django_jobs.operations.alerts.options import alert_options
from django_jobs.operations.alerts.send import send
from django_jobs.operations.alerts.state import SEND, Incident
from django_jobs.registry.alerts import Alert
from django_jobs.storage.components import Component
from django_jobs.storage.retention.rounds import take_turn
from django_jobs.storage.transactions import write_transaction
from django_jobs.worker import components

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django_jobs.operations.reports import Report

# The name of its `MaintenanceTask`.
TASK = "alerts"
EVERY = timedelta(seconds=30)
# What was wrong at the look before, too: a restart is no incident.
PATIENCE = timedelta(seconds=20)
# Runs of one look that are compared with their limits, the longest waiting first.
MOST_RUNS = 1000
# Failures that nothing ever came after are forgotten then.
FORGET_AFTER = timedelta(days=7)
# How they are paused whose runs keep failing; see `scheduler.failures`.
PAUSED_BY = "pause_after_failures"


def connect() -> None:
    """Have each service of this process watch, if there is anywhere to send to."""
    components.register(_make)


def _make(using: str, queues: Sequence[str]) -> Component | None:
    return AlertWatch(using) if alert_options().is_on else None


class AlertWatch(Component):
    """The thread of a process that takes its turns in watching.

    Any process that the manager is started in has one, such as a web process without clock and worker. So it
    still tells that all workers are dead: it sends that message itself.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        super().__init__("alerts", using)

    def look(self) -> float:
        """Watch, if it is time and no other process does."""
        watch_in_turn(self.using)
        return EVERY.total_seconds() / 2


def watch_in_turn(using: str) -> bool:
    """Look at everything, unless a process has in the last half minute; return whether it did."""
    turn = take_turn(TASK, using)
    if turn is None:
        return False
    now, _ = turn
    MaintenanceTask.objects.using(using).filter(pk=TASK).update(due_at=now + EVERY)
    report = health.report()
    with write_transaction(using):
        untold = _note_all([*_of_report(report), *_of_limits(now, using), *_of_pauses(using)], now, using)
        _close_failures(now, using)
    if not report["worker_totals"]["alive"]:
        # Nobody executes what would send it.
        for key in untold:
            send(key)
    return True


def _of_report(report: Report) -> Iterable[Incident]:
    for problem in report["problems"]:
        subject = problem["queue_name"] or problem["code"]
        yield Incident(problem["code"], subject, problem["text"], count=0)


def _of_limits(now: datetime, using: str) -> Iterable[Incident]:
    """Yield the functions with runs that wait or execute longer than they may."""
    runs = Run.objects.using(using).exclude(func=SEND).filter(options__isnull=False)
    due = runs.ready().filter(run_after__lte=now).order_by("run_after")
    begun = runs.running().filter(started_at__isnull=False).order_by("started_at")
    for kind, rows, since in (("late", due, "run_after"), ("longest", begun, "started_at")):
        worst: dict[str, tuple[int, timedelta, float]] = {}
        for pk, func, options, began in rows.values_list("pk", "func", "options", since)[:MOST_RUNS]:
            limit = options.get(kind) if isinstance(options, dict) else None
            if limit is not None and (now - began).total_seconds() > limit and func not in worst:
                worst[func] = pk, now - began, limit
        for func, (pk, took, limit) in worst.items():
            words = "has been due" if kind == "late" else "has been running"
            text = f"run {pk} of {func} {words} for {_seconds(took)}; its limit is {_seconds(timedelta(seconds=limit))}"
            yield Incident(kind, func, text, run_id=pk, count=0)


def _seconds(length: timedelta) -> str:
    return str(timedelta(seconds=int(length.total_seconds())))


def _of_pauses(using: str) -> Iterable[Incident]:
    paused = Job.objects.using(using).paused().filter(paused_by__startswith=PAUSED_BY)
    for job_id, by in paused.values_list("pk", "paused_by")[:MOST_RUNS]:
        yield Incident(
            "paused_job", job_id, f"job {job_id} is paused: {by}. Resume it when the cause is gone", count=0
        )


def _note_all(incidents: Sequence[Incident], now: datetime, using: str) -> list[str]:
    """Open what is wrong, tell of what is wrong for the second time, and close what is well again.

    Returns:
        Keys of those that people should hear of and have not.
    """
    known = {
        row.pk: row for row in AlertState.objects.using(using).exclude(kind="failed").select_for_update()
    }
    once = Alert(once_per=alert_options().default.once_per)
    untold = []
    for incident in sorted({one.key: one for one in incidents}.values(), key=lambda one: one.key):
        before = known.pop(incident.key, None)
        row = state.note(incident, now, using=using)
        if before is None or now - row.opened_at < PATIENCE:
            continue
        if row.count == 0:
            row.count = 1
            row.save(using=using, update_fields=["count"])
        state.tell_if_due(row, once, now, using=using)
        if row.told_count < row.count:
            untold.append(row.key)
    for row in known.values():
        state.close(row, using=using)
    return untold


def _close_failures(now: datetime, using: str) -> None:
    """Close the failures of functions that succeeded since."""
    failed: Any = AlertState.objects.using(using).filter(kind="failed").select_for_update()
    for row in failed:
        # Counts are by the minute: from the first that began after it failed.
        minute = row.last_at.replace(second=0, microsecond=0) + timedelta(minutes=1)
        succeeded = Rollup.objects.using(using).filter(
            size_seconds=60, begins_at__gte=minute, func=row.subject, outcome=Status.SUCCESSFUL
        )
        if succeeded.exists():
            state.close(row, using=using)
        elif row.last_at < now - FORGET_AFTER:
            row.delete()
