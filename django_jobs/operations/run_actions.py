"""Run now, retry, cancel or delete some runs, and write each change to the admin's log, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.db.models import Q
from django.utils.translation import gettext, gettext_noop

from django_jobs.api.enqueue import have_begin
from django_jobs.api.manager import get_job_manager
from django_jobs.models import FINISHED, UNFINISHED, Run, Status
from django_jobs.operations.run_query import UNSUCCESSFUL
from django_jobs.storage import notifications, steps, transactions, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Flags of the admin's log.
CHANGE, DELETION = 2, 3
# What the log says was done.
CANCELLED, ASKED = gettext_noop("Cancelled"), gettext_noop("Asked to stop")
RETRIED, RELEASED = gettext_noop("Retried"), gettext_noop("Released")
MADE_DUE = gettext_noop("Told to run now")
DELETED = gettext_noop("Deleted")


class Change(NamedTuple):
    """What an action changed of one run.

    Attributes:
        run_id: The run.
        name: What the log calls it.
        flag: CHANGE or DELETION.
        text: What the log says.
    """

    run_id: int
    name: str
    flag: int
    text: str


def retry(ids: Sequence[int], using: str) -> list[Change]:
    """Make runs READY that ended without success or are held; return what changed."""
    changes = []
    for pk, name, status, _ in _rows(ids, using):
        if get_job_manager().retry_run(pk):
            changes.append(Change(pk, name, CHANGE, _change_text(RETRIED, status, Status.READY)))
        elif transitions.unhold(Q(pk=pk, status=Status.READY), using=using):
            # Held because it is paused or broken. A broken immediate job has no page of its own.
            have_begin(Q(pk=pk), using=using)
            changes.append(Change(pk, name, CHANGE, _change_text(RELEASED, gettext("held"), Status.READY)))
    return changes


def run_now(ids: Sequence[int], using: str) -> list[Change]:
    """Make deferred runs due; return what changed."""
    rows = Run.objects.using(using).ready().filter(pk__in=ids, run_after__gt=transactions.database_now(using))
    found = list(rows.select_for_update().order_by("pk").values_list("pk", "job_id"))
    if transitions.run_now(Q(pk__in=[pk for pk, _ in found]), using=using):
        have_begin(Q(pk__in=[pk for pk, _ in found]), using=using)
    text = _change_text(MADE_DUE, gettext("deferred"), Status.READY)
    return [Change(pk, f"{job_id} ({pk})", CHANGE, text) for pk, job_id in found]


def cancel(ids: Sequence[int], using: str) -> list[Change]:
    """Cancel waiting runs, and ask running ones to stop; return what changed."""
    before = {pk: (status, asked) for pk, _, status, asked in _rows(ids, using)}
    _, asked = transitions.cancel(Q(pk__in=ids), using=using)
    if asked:
        notifications.notify(notifications.CANCELS, using=using)
    notifications.notify_local(notifications.FINISHED)
    changes = []
    for pk, name, status, is_asked in _rows(ids, using):
        old, was_asked = before.get(pk, (status, is_asked))
        if status == Status.CANCELLED and old in UNFINISHED:
            changes.append(Change(pk, name, CHANGE, _change_text(CANCELLED, old, status)))
        elif status == Status.RUNNING and is_asked and not was_asked:
            changes.append(Change(pk, name, CHANGE, _change_text(ASKED, status, "CANCELLED")))
    return changes


def delete(ids: Sequence[int], using: str) -> list[Change]:
    """Delete finished runs; return what changed."""
    rows = Run.objects.using(using).finished().filter(pk__in=ids)
    found = list(rows.select_for_update().order_by("pk").only("pk", "job_id", "status", "func"))
    Run.objects.using(using).filter(pk__in=[run.pk for run in found]).delete()
    steps.delete_of([run.pk for run in found], using=using)
    return [deletion_of(run) for run in found]


def deletion_of(run: Run) -> Change:
    """Return the change that deletes a run, made while it is still known."""
    return Change(
        run.pk, f"{run.job_id} ({run.pk})", DELETION, f"{gettext(DELETED)}: {run.status}, {run.func}"
    )


def _change_text(word: str, before: str, after: str) -> str:
    """Return a text for the log, such as "Retried: FAILED → READY"."""
    return f"{gettext(word)}: {before} → {after}"


def _rows(ids: Sequence[int], using: str) -> list[tuple[int, str, str, bool]]:
    rows = Run.objects.using(using).filter(pk__in=ids).order_by("pk")
    columns = rows.values_list("pk", "job_id", "status", "cancel_requested")
    return [(pk, f"{job_id} ({pk})", str(status), asked) for pk, job_id, status, asked in columns]


def log_changes(user_id: Any, changes: Iterable[Change], *, note: str = "") -> None:
    """Write changes of runs to the admin's log, with one statement, if the admin is installed."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import LogEntry
    from django.contrib.contenttypes.models import ContentType

    kind = ContentType.objects.get_for_model(Run, for_concrete_model=False)
    entries = [
        LogEntry(
            user_id=user_id,
            content_type_id=kind.pk,
            object_id=str(change.run_id),
            object_repr=change.name[:200],
            action_flag=change.flag,
            change_message=f"{change.text}; {note}" if note else change.text,
        )
        for change in changes
    ]
    LogEntry.objects.bulk_create(entries)


class RunAction(NamedTuple):
    """One thing that can be done to runs.

    Attributes:
        permissions: Any of these allows it, beside the permission to view runs.
        statuses: The statuses of the runs that it may change.
        fitting: Which runs it may change.
        act: Does it to the runs of some ids, in a transaction; returns what changed.
    """

    permissions: tuple[str, ...]
    statuses: tuple[str, ...]
    fitting: Q
    act: Callable[[Sequence[int], str], list[Change]]


_CHANGERS = ("django_jobs.change_run", "django_jobs.manage_job")
# The names are stored in the arguments of queued bulk actions: processes of other versions read them.
RUN_ACTIONS = {
    # `run_now` itself selects those that wait for their time.
    "hurry": RunAction(_CHANGERS, (Status.READY,), Q(status=Status.READY, run_after__isnull=False), run_now),
    "retry": RunAction(
        _CHANGERS,
        (*UNSUCCESSFUL, Status.READY),
        Q(status__in=UNSUCCESSFUL) | Q(status=Status.READY, run_after__isnull=True),
        retry,
    ),
    "cancel": RunAction(_CHANGERS, UNFINISHED, Q(status__in=UNFINISHED, cancel_requested=False), cancel),
    "delete": RunAction(("django_jobs.delete_run",), FINISHED, Q(status__in=FINISHED), delete),
}


def is_allowed(user: Any, action: str) -> bool:
    """Return whether a user has the permission for one of RUN_ACTIONS."""
    may_view = user.has_perm("django_jobs.view_run") or user.has_perm("django_jobs.change_run")
    return bool(may_view) and any(user.has_perm(name) for name in RUN_ACTIONS[action].permissions)
