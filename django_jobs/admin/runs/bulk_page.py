"""The page that asks before something is done to all runs that match, and adds the job that does it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.runs.list import criteria_of
from django_jobs.admin.shared import display, times
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.api.manager import get_job_manager
from django_jobs.models import MAX_PRIORITY, Run, jobs_database
from django_jobs.operations import bulk, failures, run_query
from django_jobs.operations.run_actions import RUN_ACTIONS, is_allowed
from django_jobs.operations.run_query import Criteria

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.functional import _StrOrPromise

SALT = "django_jobs.admin.bulk"
# What was confirmed must be sent within this time.
MAX_AGE_SECONDS = 3600
# Runs that are counted before it is asked.
COUNTED = 1000

WORDS: dict[str, tuple[_StrOrPromise, _StrOrPromise]] = {
    "hurry": (_("Run now"), _("Let those begin now that wait for their time or for a retry.")),
    "retry": (_("Retry"), _("Make runs ready again that ended without success or are held.")),
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
    "batch": _("batch"),
    "named": _("job or number"),
    "error": _("error contains"),
    "failure": _("exception and place"),
    "since": _("enqueued from"),
    "until": _("enqueued before"),
    "ended_since": _("ended from"),
    "ended_until": _("ended before"),
    "started_since": _("started from"),
    "started_until": _("started before"),
    "text": _("contains"),
    "argument": _("argument"),
    "tag": _("tag"),
    "about": _("about"),
    "took": _("seconds"),
    "attempts": _("attempts"),
}
# Shown where it would only wait.
UNSERVED = _("No live worker serves a queue that is not paused: it is done as soon as one does.")


def actions_for(request: HttpRequest) -> list[str]:
    """Return what a user may do to all runs that match."""
    return [action for action in WORDS if is_allowed(request.user, action)]


class BulkMixin(ModelAdmin):
    """Adds the page of bulk actions."""

    def get_urls(self) -> list[URLPattern]:
        """Add its address."""
        return [self.page_at("matching/", self.bulk_view, "run_bulk"), *super().get_urls()]

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """Ask what to do to all runs that match the filters of the address; add the job when confirmed."""
        allowed = actions_for(request)
        if not allowed:
            raise PermissionDenied
        if request.method == "POST":
            return self._start_bulk(request, allowed)
        return self.page(
            request,
            "run/bulk.html",
            title=gettext("All runs that match"),
            list_url=self.address("run_changelist") + _query(request),
            **_question(request, allowed),
        )

    def _start_bulk(self, request: HttpRequest, allowed: list[str]) -> HttpResponse:
        action = request.POST.get("bulk_action", "")
        if action not in WORDS:
            self.message_user(request, gettext("Choose what to do."), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        if action not in allowed:
            raise PermissionDenied
        try:
            criteria, up_to = signing.loads(
                request.POST.get("confirmed", ""), salt=SALT, max_age=MAX_AGE_SECONDS
            )
        except signing.BadSignature:
            text = gettext("That was too long ago. Nothing was done; look at it again.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        name, words = map(str, TITLES[action])
        queue_name, has_worker = bulk.choose_queue(using=jobs_database())
        # Before all that waits: that may be what it cancels.
        manager = get_job_manager().using(name=name, queue_name=queue_name, priority=MAX_PRIORITY)
        job_id = manager.add_immediate_job(bulk.act_on_matching, action, criteria, up_to, request.user.pk)
        run = Run.objects.using(jobs_database()).filter(job_id=job_id).latest("pk")
        filters = ", ".join(
            f"{NAMES[key]}={value}" for key, value in Criteria.from_plain(criteria).plain().items()
        )
        self.log_change(request, run, words % (filters or gettext("all")))
        text = gettext(
            "It is being done in the background: this run shows how far it is, and can be cancelled."
        )
        self.message_user(request, text, messages.SUCCESS)
        if not has_worker:
            self.message_user(request, UNSERVED, messages.WARNING)
        return HttpResponseRedirect(self.address("run_change", run.pk))


def _question(request: HttpRequest, allowed: list[str]) -> dict[str, Any]:
    """Return what the page shows of the runs that match, and the choices."""
    using = jobs_database()
    criteria = criteria_of(request)
    _low, end = run_query.extent(using=using)
    runs = Run.objects.using(using).only("pk")
    found = run_query.page(criteria, runs, size=COUNTED, before=None, after=None, using=using)
    status = criteria.row_status
    fitting = [name for name in allowed if not status or status in RUN_ACTIONS[name].statuses]
    return {
        "filters": [(NAMES[name], _shown(name, value)) for name, value in criteria.plain().items()],
        "chosen": request.GET.get("do", ""),
        "count": len(found.runs),
        "has_more": found.older is not None and found.searched_to is None,
        "searched_to": found.searched_to,
        "problem": "" if bulk.choose_queue(using=using)[1] else UNSERVED,
        "choices": [{"name": name, "label": WORDS[name][0], "help": WORDS[name][1]} for name in fitting],
        "confirmed": signing.dumps([criteria.plain(), end - 1], salt=SALT),
    }


def _shown(name: str, value: Any) -> str:
    if name == "status":
        return display.word(value)
    if name == "failure":
        return failures.describe(value, using=jobs_database()) or value
    return times.exact(datetime.fromisoformat(value)) if name in run_query.TIMES else str(value)


def _query(request: HttpRequest) -> str:
    query = request.GET.urlencode()
    return f"?{query}" if query else ""
