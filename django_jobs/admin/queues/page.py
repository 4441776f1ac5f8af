"""Admin pages of queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs import codec
from django_jobs.admin.dashboard import chart, ranges
from django_jobs.admin.dashboard.overview import Overview
from django_jobs.admin.dashboard.viewer import Page, Viewer
from django_jobs.admin.queues import detail, figures
from django_jobs.admin.queues.pause_form import PauseForm
from django_jobs.admin.shared import display
from django_jobs.admin.shared.actions import FROM_LIST, ActionsAdmin, object_action
from django_jobs.api.manager import get_job_manager
from django_jobs.models import Queue, Run, jobs_database
from django_jobs.storage import notifications

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

MAX_NAME = Queue._meta.get_field("name").max_length or 0


class QueueAdmin(ActionsAdmin):
    """Queues: what waits in each, how fast it goes and who serves it. A queue needs no row to be here."""

    list_display = ["name"]
    search_fields = ["name"]
    ordering = ["name"]
    actions = ["pause", "resume", "delete_selected"]
    buttons = {"pause": _("Pause"), "resume": _("Resume")}

    class Media:
        css = {"all": ["django_jobs/dashboard.css", "django_jobs/queues.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow it: a queue that nobody knows yet needs a row to be paused."""
        return super(ActionsAdmin, self).has_add_permission(request)

    def get_fields(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        """Ask for a name only."""
        return ["name"]

    def fitting(self, obj: Queue) -> Sequence[str]:
        """Offer the other state."""
        return ["resume" if obj.is_paused else "pause"]

    # Pages

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show all queues; actions are posted here, as to any list."""
        if request.method == "POST":
            return super().changelist_view(request, extra_context)
        page = self._page(request)
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "is_list": True,
            "page": page,
            "rows": detail.lines(page),
            "may_pause": self.may_press(request, "pause"),
            "may_add": self.has_add_permission(request),
            "back": FROM_LIST,
            **(extra_context or {}),
        }
        return self.wide_page(request, "queue/list.html", **context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one queue, also one that has no row."""
        name = codec.storable(unquote(object_id))
        if request.method == "POST":
            # There is nothing to save.
            raise PermissionDenied
        if not 0 < len(name) <= MAX_NAME:
            return self.say_gone(request, object_id)
        page = self._page(request, name)
        if page.viewer.choice("by", ("", "func")):
            # What the chart shows; the rest of the page adds it up.
            page.overview.points_by("func")
        queue = figures.one(page.overview, name)
        row = self.get_object(request, name)
        context = {
            "title": gettext("Queue %s") % name,
            "here": name,
            "page": page,
            "name": name,
            "state": display.label(queue.state),
            "pause": detail.pause(queue),
            "is_paused": queue.state == "paused",
            "facts": detail.facts(page, queue),
            "chart": chart.chart(page),
            "waiting": detail.by_function(page, queue),
            "limits": detail.limits_by_key(page, queue),
            "workers": detail.serving(page, queue),
            "runs_url": page.viewer.list_url(Run, queue=name),
            "bulk_url": page.viewer.bulk_url(status="due", queue=name) if queue.due else "",
            "may_pause": self.may_press(request, "pause"),
            "pause_form": PauseForm(),
            "has_row": row is not None,
            "may_delete": row is not None and self.has_delete_permission(request),
            **(extra_context or {}),
        }
        return self.wide_page(request, "queue/page.html", **context)

    def _page(self, request: HttpRequest, name: str | None = None) -> Page:
        if not self.has_view_permission(request):
            raise PermissionDenied
        overview = Overview(ranges.chosen(request.GET, timezone.now()), queue_name=name)
        return Page(overview, Viewer(request, self.admin_site))

    # Actions

    def action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Give a queue that is to be paused the row that it needs."""
        queue = codec.storable(unquote(object_id))
        if name == "pause" and self.may_press(request, name) and 0 < len(queue) <= MAX_NAME:
            Queue.objects.using(jobs_database()).get_or_create(name=queue)
        return super().action_view(request, object_id, name)

    @object_action(
        "change",
        _("Pause selected queues"),
        done=ngettext_lazy("%d queue was paused.", "%d queues were paused."),
        log=_("Paused."),
    )
    def pause(self, request: HttpRequest, row: Queue) -> str:
        """Keep workers from claiming runs of a queue; return why not, or an empty string.

        A pause is another one where somebody says until when, or why.
        """
        form = PauseForm(request.POST)
        if not form.is_valid():
            return " ".join(str(text) for texts in form.errors.values() for text in texts)
        said = {"until": form.ends_at, "reason": form.cleaned_data["reason"]}
        is_new = get_job_manager().pause_queue(row.pk, by=request.user.get_username(), **said)
        return "" if is_new or any(said.values()) else gettext("is paused already")

    @object_action(
        "change",
        _("Resume selected queues"),
        done=ngettext_lazy("%d queue was resumed.", "%d queues were resumed."),
        log=_("Resumed."),
    )
    def resume(self, request: HttpRequest, row: Queue) -> str:
        """Let workers claim runs of a queue again; return why not, or an empty string."""
        return "" if get_job_manager().resume_queue(row.pk) else gettext("is not paused")

    def consequences(self, objects: Sequence[Queue]) -> dict[Any, str]:
        """Tell that runs of a paused queue will be claimed."""
        return {row.pk: gettext("it is paused, and resumes") for row in objects if row.is_paused}

    def remove(self, objects: Sequence[Queue]) -> None:
        """Delete rows, and let the runs of paused queues go on."""
        super().remove(objects)
        notifications.notify(notifications.RUNS, using=jobs_database())
