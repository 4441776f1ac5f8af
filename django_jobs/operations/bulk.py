"""A job of our own: run now, retry, cancel or delete all runs that match some filters, in small batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext, gettext_noop

from django_jobs.api.manager import get_job_manager
from django_jobs.conf import queues_of
from django_jobs.execution.context import current_run
from django_jobs.models import (
    DEFAULT_QUEUE_NAME,
    FINISHED,
    UNFINISHED,
    Run,
    Status,
    Worker,
    jobs_database,
)
from django_jobs.operations import health, selection
from django_jobs.operations.selection import UNSUCCESSFUL, Selection
from django_jobs.registry.decorators import job
from django_jobs.storage import notifications, transactions, transitions
from django_jobs.storage.queues import paused_queues
from django_jobs.worker import inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django_jobs.execution.context import RunContext

# Runs of one transaction: it is over in some tens of milliseconds.
BATCH = 100
# Where it waits while "default" is paused: workers that serve all queues serve this one.
OWN_QUEUE = "django_jobs"
# Whose permissions allow what; any of them is enough, besides the one to view runs.
PERMISSIONS = {
    "hurry": ("django_jobs.change_run", "django_jobs.manage_job"),
    "cancel": ("django_jobs.change_run", "django_jobs.manage_job"),
    "retry": ("django_jobs.change_run", "django_jobs.manage_job"),
    "delete": ("django_jobs.delete_run",),
}
# What the admin's log says, before and after; flags are the admin's.
CHANGE, DELETION = 2, 3
CANCELLED, ASKED = gettext_noop("Cancelled"), gettext_noop("Asked to stop")
RETRIED, RELEASED = gettext_noop("Retried"), gettext_noop("Released")
HURRIED = gettext_noop("Told to run now")
DELETED = gettext_noop("Deleted")

# What changed of one run: its id and name, whether it was deleted, and the words for the log.
Change = tuple[int, str, int, str]


def may(user: Any, action: str) -> bool:
    """Return whether a user has the permission to do something to runs."""
    return bool(user.has_perm("django_jobs.view_run") or user.has_perm("django_jobs.change_run")) and any(
        user.has_perm(name) for name in PERMISSIONS[action]
    )


def place(*, using: str) -> tuple[str, bool]:
    """Return the queue for an action on all that match, and whether somebody takes it from there by now.

    Of those that are not paused and that a live worker serves, "default" comes first.
    """
    now = transactions.database_now(using)
    rows = Worker.objects.using(using).filter(stopped_at__isnull=True)
    live = [worker for worker in rows if health.worker_state(worker, now) != "gone"]
    named = sorted({str(name) for worker in live for name in worker.queues or ()})
    paused = set(paused_queues(using=using))
    for name in dict.fromkeys([DEFAULT_QUEUE_NAME, OWN_QUEUE, *named]):
        if name not in paused and (inline.is_inline(name) or any(_serves(worker, name) for worker in live)):
            return name, True
    return DEFAULT_QUEUE_NAME, False


def _serves(worker: Worker, name: str) -> bool:
    # Celery's own workers name their queues, and no others take from those.
    return name in worker.queues if worker.queues else name not in queues_of("celery")


@job(name="bulk action on runs")
def act_on_matching(action: str, criteria: Mapping[str, Any], up_to: int, user_id: Any) -> dict[str, Any]:
    """Run now, retry, cancel or delete the runs that match, those that were there when it was asked for.

    It may be cancelled, and run again: it then does what is left.

    Args:
        action: "hurry", "retry", "cancel" or "delete".
        criteria: As `Selection.plain` has them.
        up_to: The highest id of a run that is meant.
        user_id: Who asked for it; must still have the permission.

    Returns:
        How many runs were changed, and how many were left as they are.

    Raises:
        PermissionError: The user is gone, or may not do this any more.
        ValueError: There is no such action or filter.
    """
    if action not in _ACTS:
        raise ValueError(f"no such action as {action!r}; they are {', '.join(_ACTS)}")
    user = get_user_model()._default_manager.filter(pk=user_id, is_active=True).first()
    if user is None or not may(user, action):
        raise PermissionError(f"user {user_id} may not {action} runs (any more)")
    run = current_run()
    using = jobs_database()
    fitting, act = _ACTS[action]
    changed = left = 0
    for ids, way in selection.walk(
        Selection.from_plain(criteria), size=BATCH, where=fitting, up_to=up_to, using=using
    ):
        began = time.monotonic()
        # A run that does this itself is not to end itself.
        ids = [pk for pk in ids if run is None or pk != run.run_id]
        if ids:
            with transaction.atomic(using=using):
                changes = act(ids, using)
                write_down(user_id, changes, note=_by(run))
            changed += len(changes)
            left += len(ids) - len(changes)
        if run is not None:
            words = gettext("%(changed)d changed, %(left)d left as they were")
            run.set_progress(round(100 * way), 100, words % {"changed": changed, "left": left})
            # Others want to write as well, and SQLite has one writer at a time.
            if run.wait(time.monotonic() - began if ids else 0):
                break
    return {"changed": changed, "left": left}


def _by(run: RunContext | None) -> str:
    return "" if run is None else gettext("by run %d") % run.run_id


def retry(ids: Sequence[int], using: str) -> list[Change]:
    """Make runs READY that ended without success, or that are held; return what changed."""
    changes = []
    for pk, name, status, _ in _rows(ids, using):
        if get_job_manager().retry_run(pk):
            changes.append((pk, name, CHANGE, said(RETRIED, status, Status.READY)))
        elif transitions.unhold(Q(pk=pk, status=Status.READY), using=using):
            # Held, as a run that is paused or broken is: a broken immediate job has no other page.
            notifications.notify(notifications.RUNS, using=using)
            changes.append((pk, name, CHANGE, said(RELEASED, gettext("held"), Status.READY)))
    return changes


def hurry(ids: Sequence[int], using: str) -> list[Change]:
    """Let runs begin now that wait for their time; return what changed."""
    rows = Run.objects.using(using).ready().filter(pk__in=ids, run_after__gt=transactions.database_now(using))
    found = list(rows.select_for_update().order_by("pk").values_list("pk", "job_id"))
    if transitions.run_now(Q(pk__in=[pk for pk, _ in found]), using=using):
        notifications.notify(notifications.RUNS, using=using)
    words = said(HURRIED, gettext("deferred"), Status.READY)
    return [(pk, f"{job_id} ({pk})", CHANGE, words) for pk, job_id in found]


def cancel(ids: Sequence[int], using: str) -> list[Change]:
    """Cancel runs that wait, and ask those that run to stop; return what changed."""
    before = {pk: (status, asked) for pk, _, status, asked in _rows(ids, using)}
    _, asked = transitions.cancel(Q(pk__in=ids), using=using)
    if asked:
        notifications.notify(notifications.CANCELS, using=using)
    notifications.notify_local(notifications.FINISHED)
    changes = []
    for pk, name, status, is_asked in _rows(ids, using):
        old, was_asked = before.get(pk, (status, is_asked))
        if status == Status.CANCELLED and old in UNFINISHED:
            changes.append((pk, name, CHANGE, said(CANCELLED, old, status)))
        elif status == Status.RUNNING and is_asked and not was_asked:
            changes.append((pk, name, CHANGE, said(ASKED, status, "CANCELLED")))
    return changes


def delete(ids: Sequence[int], using: str) -> list[Change]:
    """Delete finished runs; return what changed."""
    rows = Run.objects.using(using).finished().filter(pk__in=ids)
    found = list(rows.select_for_update().values_list("pk", "job_id", "status", "func"))
    Run.objects.using(using).filter(pk__in=[row[0] for row in found]).delete()
    return [(pk, f"{job_id} ({pk})", DELETION, was(status, func)) for pk, job_id, status, func in found]


def said(word: str, before: str, after: str) -> str:
    """Return the words of the log for a change: "Retried: FAILED → READY"."""
    return f"{gettext(word)}: {before} → {after}"


def was(status: str, func: str) -> str:
    """Return the words of the log for a run that is gone."""
    return f"{gettext(DELETED)}: {status}, {func}"


def _rows(ids: Sequence[int], using: str) -> list[tuple[int, str, str, bool]]:
    rows = Run.objects.using(using).filter(pk__in=ids).order_by("pk")
    columns = rows.values_list("pk", "job_id", "status", "cancel_requested")
    return [(pk, f"{job_id} ({pk})", str(status), asked) for pk, job_id, status, asked in columns]


def write_down(user_id: Any, changes: Iterable[Change], *, note: str = "") -> None:
    """Write to the admin's log what was changed of runs, a statement for all."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import LogEntry
    from django.contrib.contenttypes.models import ContentType

    kind = ContentType.objects.get_for_model(Run, for_concrete_model=False)
    entries = [
        LogEntry(
            user_id=user_id,
            content_type_id=kind.pk,
            object_id=str(pk),
            object_repr=name[:200],
            action_flag=flag,
            change_message=f"{words}; {note}" if note else words,
        )
        for pk, name, flag, words in changes
    ]
    LogEntry.objects.bulk_create(entries)


# By its name: which runs it can be done to, and what does it to some.
_ACTS: dict[str, tuple[Q, Callable[[Sequence[int], str], list[Change]]]] = {
    # `hurry` knows which of them wait for their time.
    "hurry": (Q(status=Status.READY, run_after__isnull=False), hurry),
    "retry": (
        Q(status__in=UNSUCCESSFUL) | Q(status=Status.READY, run_after__isnull=True),
        retry,
    ),
    "cancel": (Q(status__in=UNFINISHED, cancel_requested=False), cancel),
    "delete": (Q(status__in=FINISHED), delete),
}
