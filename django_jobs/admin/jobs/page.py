"""Admin pages of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.db.models import F
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.jobs.actions import JobActionsMixin
from django_jobs.admin.jobs.add import AddMixin
from django_jobs.admin.jobs.edit import EditMixin
from django_jobs.admin.jobs.fields import JobFieldsMixin, signature_problem
from django_jobs.admin.jobs.filters import QueueFilter, StatusFilter
from django_jobs.admin.shared import permissions
from django_jobs.operations.run_query import LARGE_COLUMNS

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from django_jobs.models import Job


class JobList(ChangeList):
    """The list of jobs, without their arguments."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Leave out what the list does not show, and what can be large."""
        jobs = super().get_queryset(request, exclude_parameters)
        return jobs.defer("payload", "signature", "options")


class JobAdmin(AddMixin, EditMixin, JobFieldsMixin, JobActionsMixin):
    """Jobs: what fires when, and how it went last."""

    list_display = [
        "label", "state", "next_firing", "last_outcome", "last_duration", "queue_name", "priority"
    ]  # fmt: skip
    list_display_links = ["label"]
    list_filter = [StatusFilter, "kind", QueueFilter]
    list_per_page = 50
    search_fields = ["id", "name", "func"]
    search_help_text = _("By part of the id, name or function.")
    ordering = [F("next_run_time").asc(nulls_last=True), "pk"]
    readonly_fields = [
        "summary", "problem", "schedule", "next_firings", "arguments", "hidden_arguments", "policy", "retry",
        "misfire_grace", "created", "last_runs", "declaration", "tags",
    ]  # fmt: skip

    class Media:
        css = {"all": ["django_jobs/admin.css", "django_jobs/jobs.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Leave out what no page of a job shows of its last run."""
        jobs = super().get_queryset(request).select_related("last_run")
        return jobs.defer(*(f"last_run__{name}" for name in LARGE_COLUMNS))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `JobList` does."""
        return JobList

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> Any:
        """Put first what is wrong with a job, and leave empty times out."""
        first: list[Any] = ["summary"]
        if obj and (obj.broken_reason or signature_problem(obj)):
            first.append("problem")
        first += [("id", "name"), "func"]
        if obj and obj.declared is not None:
            first.append("declaration")
        policy = ("max_instances", "coalesce", "misfire_grace")
        arguments = "arguments" if permissions.may_view_payload(request) else "hidden_arguments"
        tags = ["tags"] if obj and obj.tags else []
        return [
            (None, {"fields": first}),
            (_("Schedule"), {"fields": ["schedule", "next_firings", policy, "created"]}),
            (_("Last runs"), {"fields": ["last_runs"]}),
            (
                _("Call"),
                {"fields": [arguments, *tags, ("kind", "queue_name", "priority"), "retry", "policy"]},
            ),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the link to the form of the schedule, for those who may use it."""
        obj = kwargs.get("obj")
        if obj is not None and self.has_manage_permission(request):
            url = reverse(f"{self.admin_site.name}:django_jobs_job_schedule", args=[quote(obj.pk)])
            context["more_tools"] = [{"url": url, "label": gettext("Edit schedule")}]
        return super().render_change_form(request, context, *args, **kwargs)
