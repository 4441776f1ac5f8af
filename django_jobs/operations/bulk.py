"""A job of our own: run now, retry, cancel or delete all runs that match some filters, in small batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.translation import gettext

from django_jobs.conf import queues_of
from django_jobs.execution.context import current_run
from django_jobs.models import DEFAULT_QUEUE_NAME, Worker, jobs_database
from django_jobs.operations import health, run_query
from django_jobs.operations.run_actions import RUN_ACTIONS, is_allowed, log_changes
from django_jobs.operations.run_query import Criteria
from django_jobs.registry.decorators import job
from django_jobs.storage import transactions
from django_jobs.storage.queues import paused_queues
from django_jobs.worker import inline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_jobs.execution.context import RunContext

# Runs of one transaction, which takes some tens of milliseconds.
BATCH = 100
# Where it waits while "default" is paused: workers that serve all queues serve this one.
OWN_QUEUE = "django_jobs"


def choose_queue(*, using: str) -> tuple[str, bool]:
    """Return the queue for a bulk action, and whether a worker serves it now.

    Of the queues that are not paused and that a live worker serves, "default" comes first.
    """
    now = transactions.database_now(using)
    rows = Worker.objects.using(using).filter(stopped_at__isnull=True)
    live = [worker for worker in rows if health.worker_state(worker, now) != "gone"]
    named = sorted({str(name) for worker in live for name in worker.queue_names})
    paused = set(paused_queues(using=using))
    for name in dict.fromkeys([DEFAULT_QUEUE_NAME, OWN_QUEUE, *named]):
        if name not in paused and (inline.is_inline(name) or any(_serves(worker, name) for worker in live)):
            return name, True
    return DEFAULT_QUEUE_NAME, False


def _serves(worker: Worker, name: str) -> bool:
    # Celery's own workers name their queues, and no others take from those.
    return name in worker.queue_names if worker.queue_names else name not in queues_of("celery")


@job(name="bulk action on runs")
def act_on_matching(action: str, criteria: Mapping[str, Any], up_to: int, user_id: Any) -> dict[str, Any]:
    """Run now, retry, cancel or delete the matching runs that were there when it was asked for.

    It can be cancelled, and run again: it then does what is left.

    Args:
        action: One of RUN_ACTIONS.
        criteria: What `Criteria.plain` returned.
        up_to: The highest id of a run that is meant.
        user_id: Who asked for it. The user must still have the permission.

    Returns:
        How many runs were changed, and how many were left as they are.

    Raises:
        PermissionError: The user is gone, or lost the permission.
        ValueError: There is no such action or filter.
    """
    if action not in RUN_ACTIONS:
        raise ValueError(f"no such action as {action!r}; they are {', '.join(RUN_ACTIONS)}")
    user = get_user_model()._default_manager.filter(pk=user_id, is_active=True).first()
    if user is None or not is_allowed(user, action):
        raise PermissionError(f"user {user_id} may not {action} runs (any more)")
    run = current_run()
    using = jobs_database()
    _, _, fitting, act = RUN_ACTIONS[action]
    changed = left = 0
    for ids, way in run_query.walk(
        Criteria.from_plain(criteria), size=BATCH, where=fitting, up_to=up_to, using=using
    ):
        began = time.monotonic()
        # The run that does this must not end itself.
        ids = [pk for pk in ids if run is None or pk != run.run_id]
        if ids:
            with transaction.atomic(using=using):
                changes = act(ids, using)
                log_changes(user_id, changes, note=_by(run))
            changed += len(changes)
            left += len(ids) - len(changes)
        if run is not None:
            words = gettext("%(changed)d changed, %(left)d left as they were")
            run.set_progress(round(100 * way), 100, words % {"changed": changed, "left": left})
            # Give others time to write: SQLite has one writer at a time.
            if run.wait(time.monotonic() - began if ids else 0):
                break
    return {"changed": changed, "left": left}


def _by(run: RunContext | None) -> str:
    return "" if run is None else gettext("by run %d") % run.run_id
