"""The dashboard: an admin page of what runs, what failed, what is late and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from django_jobs.admin.dashboard import ranges
from django_jobs.admin.dashboard.overview import Overview
from django_jobs.admin.dashboard.parts import PARTS
from django_jobs.admin.dashboard.viewer import Page, Viewer
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.api.manager import get_job_manager
from django_jobs.models import Queue, jobs_database

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest
    from django.urls import URLPattern

MAX_NAME = Queue._meta.get_field("name").max_length or 0


class DashboardAdmin(ModelAdmin):
    """One page, which whoever may view runs may see; `?range=` chooses the time it looks back on."""

    class Media:
        css = {"all": ["django_jobs/admin.css", "django_jobs/dashboard.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow it to those who may view runs; who may change them may."""
        return any(request.user.has_perm(f"django_jobs.{name}_run") for name in ("view", "change"))

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: there are no rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: there are no rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: there are no rows."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Serve the page, and the switch of its queues; there are no forms."""
        return [
            self.page_at("", require_safe(self.changelist_view), "dashboard_changelist"),
            self.page_at("queue/", require_POST(self.queue_view), "dashboard_queue"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Render the page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        viewer = Viewer(request, self.admin_site)
        page = Page(Overview(ranges.chosen(request.GET, timezone.now())), viewer)
        context = {
            "title": gettext("Dashboard"),
            "is_list": True,
            "page": page,
            "parts": {name: about(page) for name, about in PARTS.items()},
            **(extra_context or {}),
        }
        return self.wide_page(request, "dashboard/index.html", **context)

    def queue_view(self, request: HttpRequest) -> HttpResponse:
        """Pause a queue or resume it, and go back to the page."""
        viewer = Viewer(request, self.admin_site)
        if not (self.has_view_permission(request) and viewer.may_pause):
            raise PermissionDenied
        name = request.POST.get("name", "")
        if not 0 < len(name) <= MAX_NAME:
            raise Http404
        manager = get_job_manager()
        if request.POST.get("action") == "pause":
            has_changed = manager.pause_queue(name)
            done, log = gettext("Queue %s is paused: workers claim nothing from it."), gettext("Paused.")
        else:
            has_changed = manager.resume_queue(name)
            done, log = gettext("Queue %s is served again."), gettext("Resumed.")
        if has_changed:
            pages = viewer.pages(Queue)
            if pages is not None and (row := Queue.objects.using(jobs_database()).filter(pk=name).first()):
                pages.log_change(request, row, log)
            self.message_user(request, done % name, messages.SUCCESS)
        chosen = request.POST.get("range", "")
        query = {"range": chosen} if chosen in ranges.RANGES else {}
        return HttpResponseRedirect(self.address("dashboard_changelist", **query))
