"""Asks before something is done to all runs that match, and has a job of our own do it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import quote
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.shared import display, paging, times
from django_jobs.api.manager import get_job_manager
from django_jobs.models import FINISHED, MAX_PRIORITY, UNFINISHED, Run, Status, jobs_database
from django_jobs.operations import bulk, selection
from django_jobs.operations.selection import UNSUCCESSFUL, Selection

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.utils.functional import _StrOrPromise

    from django_jobs.admin.runs.page import RunAdmin

SALT = "django_jobs.admin.bulk"
# What was confirmed is done within this time, or asked for again.
MAX_AGE_SECONDS = 3600
# Runs that are counted before it is asked.
COUNTED = 1000

WORDS: dict[str, tuple[_StrOrPromise, _StrOrPromise]] = {
    "hurry": (_("Run now"), _("Let those begin now that wait for their time or for a retry.")),
    "retry": (_("Retry"), _("Make those READY that ended without success, or that are held.")),
    "cancel": (_("Cancel"), _("Cancel those that wait, and ask those that run to stop.")),
    "delete": (_("Delete"), _("Delete those that have finished, with their logs. This cannot be undone.")),
}
# The name of the job that does it, and what the admin's log says of it.
TITLES: dict[str, tuple[_StrOrPromise, _StrOrPromise]] = {
    "hurry": (_("run now all runs that match"), _("Asked to run now all runs that match: %s")),
    "retry": (_("retry all runs that match"), _("Asked to retry all runs that match: %s")),
    "cancel": (_("cancel all runs that match"), _("Asked to cancel all runs that match: %s")),
    "delete": (_("delete all runs that match"), _("Asked to delete all runs that match: %s")),
}
NAMES: dict[str, _StrOrPromise] = {
    "status": _("status"),
    "kind": _("kind"),
    "queue": _("queue"),
    "func": _("function"),
    "func_start": _("function begins with"),
    "worker_id": _("worker"),
    "job_id": _("job"),
    "named": _("job or number"),
    "error": _("error contains"),
    "since": _("enqueued from"),
    "until": _("enqueued before"),
}
# Said where it would only wait.
NOBODY = _("No live worker serves a queue that is not paused: it is done as soon as one does.")
# What each can be done to.
FITTING: dict[str, tuple[str, ...]] = {
    "hurry": (Status.READY,),
    "retry": (*UNSUCCESSFUL, Status.READY),
    "cancel": UNFINISHED,
    "delete": FINISHED,
}


def actions_for(request: HttpRequest) -> list[str]:
    """Return what a user may do to all runs that match."""
    return [action for action in WORDS if bulk.may(request.user, action)]


def view(admin: RunAdmin, request: HttpRequest) -> HttpResponse:
    """Ask what to do to all runs that match the address' filters; have it done when confirmed."""
    allowed = actions_for(request)
    if not allowed:
        raise PermissionDenied
    if request.method == "POST":
        return _start(admin, request, allowed)
    using = jobs_database()
    wanted = selection.of_query(request.GET).asked_for(request.GET.get("q", ""), using=using)
    _low, end = selection.extent(using=using)
    found = paging.page(
        wanted, Run.objects.using(using).only("pk"), size=COUNTED, before=None, after=None, using=using
    )
    fitting = [name for name in allowed if not wanted.status or wanted.row_status in FITTING[name]]
    context = {
        **admin.admin_site.each_context(request),
        "title": gettext("All runs that match"),
        "opts": admin.opts,
        "media": admin.media,
        "filters": [(NAMES[name], _shown(name, value)) for name, value in wanted.plain().items()],
        "count": len(found.runs),
        "has_more": found.older is not None and found.searched_to is None,
        "searched_to": found.searched_to,
        "problem": "" if bulk.place(using=using)[1] else NOBODY,
        "choices": [{"name": name, "label": WORDS[name][0], "help": WORDS[name][1]} for name in fitting],
        "confirmed": signing.dumps([wanted.plain(), end - 1], salt=SALT),
        "list_url": _list_url(admin) + _query(request),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "admin/django_jobs/run/bulk.html", context)


def _start(admin: RunAdmin, request: HttpRequest, allowed: list[str]) -> HttpResponse:
    action = request.POST.get("bulk_action", "")
    if action not in WORDS:
        admin.message_user(request, gettext("Choose what to do."), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())
    if action not in allowed:
        raise PermissionDenied
    try:
        criteria, up_to = signing.loads(request.POST.get("confirmed", ""), salt=SALT, max_age=MAX_AGE_SECONDS)
    except signing.BadSignature:
        text = gettext("That was too long ago. Nothing was done; look at it again.")
        admin.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())
    name, words = map(str, TITLES[action])
    queue_name, has_worker = bulk.place(using=jobs_database())
    # Before all that waits: that may be what it is to cancel.
    manager = get_job_manager().using(name=name, queue_name=queue_name, priority=MAX_PRIORITY)
    job_id = manager.add_immediate_job(bulk.act_on_matching, action, criteria, up_to, request.user.pk)
    run = Run.objects.using(jobs_database()).filter(job_id=job_id).latest("pk")
    filters = ", ".join(
        f"{NAMES[key]}={value}" for key, value in Selection.from_plain(criteria).plain().items()
    )
    admin.log_change(request, run, words % (filters or gettext("all")))
    text = gettext("It is being done in the background: this run shows how far it is, and can be cancelled.")
    admin.message_user(request, text, messages.SUCCESS)
    if not has_worker:
        admin.message_user(request, NOBODY, messages.WARNING)
    return HttpResponseRedirect(
        reverse(f"{admin.admin_site.name}:django_jobs_run_change", args=[quote(run.pk)])
    )


def _shown(name: str, value: Any) -> str:
    if name == "status":
        return str(display.STATES.get(value, value))
    try:
        return times.exact(datetime.fromisoformat(value))
    except ValueError:
        return str(value)


def _list_url(admin: RunAdmin) -> str:
    return reverse(f"{admin.admin_site.name}:django_jobs_run_changelist")


def _query(request: HttpRequest) -> str:
    query = request.GET.urlencode()
    return f"?{query}" if query else ""
