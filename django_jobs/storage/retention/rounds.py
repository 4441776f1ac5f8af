"""Delete old history in rounds that all processes share: each takes its turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.conf import jobs_settings
from django_jobs.models import MaintenanceTask, Run
from django_jobs.storage import events, logs
from django_jobs.storage.retention.deleter import Deleter, Pruned, days_before
from django_jobs.storage.retention.walks import by_age, sampled_beyond
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    import threading

# How often a round begins, over all processes, and how long it may take: less, so that two never meet.
EVERY = timedelta(minutes=5)
# The same after a round that deleted nothing, and before which nothing was added.
IDLE_EVERY = timedelta(hours=1)
ROUND_SECONDS = 200.0
# Runs that finished long after they were enqueued are looked for this often.
WALK_EVERY = timedelta(days=1)
# Most runs finish within this time, and are met once.
MARGIN = timedelta(hours=1)
# Runs of a round whose jobs are looked at: of those added since the last round, and of all. A job that
# adds many is found soon, and what it has too many of by then is about a thousandth of what was added.
NEW_SAMPLE, SAMPLE = 1000, 500
# Rows of workers that ended are kept no longer than this.
WORKER_DAYS = 30.0

# The name of its `MaintenanceTask`.
PRUNING = "prune"


def prune_in_turn(using: str, stopped: threading.Event) -> Pruned | None:
    """Prune by the settings for a while, if no process has within the last minutes.

    Returns:
        None when it is not time yet.
    """
    settings = jobs_settings()
    turn = take_turn(PRUNING, using)
    if turn is None:
        return None
    now, state = turn
    seen = state.get("seen")
    deleter = Deleter(using, stopped)
    deleter.limit(ROUND_SECONDS / 2)
    deleter.delete_expired(now)
    _prune_by_age(deleter, settings.KEEP_DAYS, now, state, using)
    if settings.KEEP_RUNS_PER_JOB is not None:
        # Each has half of the time: neither keeps the other from its turn.
        deleter.limit(ROUND_SECONDS / 2)
        _prune_by_count(deleter, settings.KEEP_RUNS_PER_JOB, state, using)
    logs.prune(using=using)
    if not deleter.pruned.is_complete:
        # What is left is the next turn's, immediately.
        due_at = database_now(using)
    elif deleter.pruned == Pruned() and state.get("seen") == seen:
        due_at = now + IDLE_EVERY
    else:
        due_at = now + EVERY
    MaintenanceTask.objects.using(using).filter(pk=PRUNING).update(state=state, due_at=due_at)
    return deleter.pruned


def _prune_by_age(
    deleter: Deleter, keep_days: float | None, now: datetime, state: dict[str, Any], using: str
) -> None:
    deleter.delete_rollups(now)
    deleter.delete_depths(now)
    events.prune(jobs_settings().KEEP_EVENTS_DAYS, using=using)
    deleter.delete_workers(
        days_before(now, WORKER_DAYS if keep_days is None else min(WORKER_DAYS, keep_days))
    )
    if keep_days is None:
        return
    cutoff = days_before(now, keep_days)
    deleter.delete_batches(cutoff)
    if not 0 <= now.timestamp() - state.get("walk_began", 0) < WALK_EVERY.total_seconds():
        state.update(walk_began=now.timestamp(), walked_to=0)
    horizon = cutoff - min(MARGIN, timedelta(days=keep_days) / 10)
    for rows, last in deleter.each(by_age(using, horizon, state["walked_to"])):
        deleter.delete_runs(rows, cutoff)
        state["walked_to"] = last


def _prune_by_count(deleter: Deleter, keep: int, state: dict[str, Any], using: str) -> None:
    ids = Run.objects.using(using).filter(pk__gt=0).values_list("pk", flat=True)
    first, last = ids.order_by("pk").first(), ids.order_by("-pk").first()
    if first is None or last is None:
        return
    seen = max(first - 1, state.get("seen", 0))
    ranges = [(range(seen + 1, last + 1), NEW_SAMPLE), (range(first, last + 1), SAMPLE)]
    for job_id, edge in sampled_beyond(using, ranges, keep):
        deleter.delete_job(job_id, edge, keep, None)
        if deleter.must_end:
            return
    state["seen"] = last


def take_turn(name: str, using: str) -> tuple[datetime, dict[str, Any]] | None:
    """Take the turn of a maintenance task if it is due, by the database's clock; return the time and the state."""
    now = database_now(using)
    tasks = MaintenanceTask.objects.using(using)
    task, _ = tasks.get_or_create(name=name, defaults={"due_at": now})
    # Far later than anybody could have set it to: the clock was set back.
    if now < task.due_at <= now + 2 * IDLE_EVERY:
        return None
    # Of those that saw the same time, the first to change it has the turn.
    taken = tasks.filter(pk=name, due_at=task.due_at).update(due_at=now + EVERY)
    return (now, task.state) if taken else None
