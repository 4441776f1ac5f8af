"""Admin pages of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import F
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.jobs import history
from django_jobs.admin.jobs.actions import JobActionsMixin
from django_jobs.admin.jobs.add import AddMixin
from django_jobs.admin.jobs.backfill import BackfillMixin
from django_jobs.admin.jobs.calendar import CalendarMixin
from django_jobs.admin.jobs.edit import EditMixin
from django_jobs.admin.jobs.fields import JobFieldsMixin
from django_jobs.admin.jobs.filters import KindFilter, LastOutcomeFilter, QueueFilter, StatusFilter
from django_jobs.admin.jobs.run_with import RunWithMixin
from django_jobs.admin.shared import display, nav, permissions
from django_jobs.operations.run_query import LARGE_COLUMNS

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from django_jobs.models import Job


class JobList(ChangeList):
    """The list of jobs, without their arguments."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the newest runs of all that are shown."""
        super().get_results(request)
        runs = history.recent(self.result_list) if self.result_list else {}
        for job in self.result_list:
            job.recent_runs = runs.get(job.pk, [])

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Leave out what the list does not show, and what can be large."""
        jobs = super().get_queryset(request, exclude_parameters)
        return jobs.defer("payload", "signature", "options")


class JobAdmin(
    AddMixin, CalendarMixin, RunWithMixin, BackfillMixin, EditMixin, JobFieldsMixin, JobActionsMixin
):
    """Jobs: what fires when, and how it went last."""

    list_display = [
        "label", "state", "next_firing", "last_outcome", "recent", "queue_name", "priority"
    ]  # fmt: skip
    list_display_links = ["label"]
    list_filter = [StatusFilter, LastOutcomeFilter, KindFilter, QueueFilter]
    list_per_page = 50
    search_fields = ["id", "name", "func"]
    search_help_text = _("By part of the id, name or function.")
    ordering = [F("next_run_time").asc(nulls_last=True), "pk"]
    readonly_fields = [
        "schedule", "next_firings", "arguments", "hidden_arguments", "policy", "retry",
        "misfire_grace", "created", "declaration", "tags",
    ]  # fmt: skip

    class Media:
        css = {"all": ["django_jobs/admin.css", "django_jobs/dashboard.css", "django_jobs/jobs.css"]}

    change_form_template = "admin/django_jobs/job/change_form.html"
    delete_confirmation_template = "admin/django_jobs/job/delete_confirmation.html"
    delete_selected_confirmation_template = "admin/django_jobs/job/delete_selected_confirmation.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Leave out what no page of a job shows of its last run."""
        jobs = super().get_queryset(request).select_related("last_run")
        return jobs.defer(*(f"last_run__{name}" for name in LARGE_COLUMNS))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add links to the other pages, for which the sidebar gives the room."""
        more = {
            "is_nav_sidebar_enabled": False,
            "nav": nav.links(self.admin_site, request),
            "more_tools": [{"url": self.address("job_calendar"), "label": gettext("Calendar")}],
        }
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `JobList` does."""
        return JobList

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> Any:
        """Leave empty times out; how the job is and was going is above the fields."""
        first: list[Any] = [("id", "name"), "func"]
        if obj and obj.declared is not None:
            first.append("declaration")
        policy = ("max_instances", "coalesce", "misfire_grace")
        arguments = "arguments" if permissions.may_view_payload(request) else "hidden_arguments"
        tags = ["tags"] if obj and obj.tags else []
        return [
            (None, {"fields": first}),
            (_("Schedule"), {"fields": ["schedule", "next_firings", policy, "created"]}),
            (
                _("Call"),
                {"fields": [arguments, *tags, ("kind", "queue_name", "priority"), "retry", "policy"]},
            ),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add how the job is and was going, and links to the forms for those who may use them."""
        obj = kwargs.get("obj")
        if obj is not None:
            context["head"] = {
                "status": self.summary(obj),
                "problem": self.problem(obj) if obj.broken_reason or display.signature_problem(obj) else "",
                "runs": history.history(self.admin_site, obj),
            }
        if obj is not None:
            links = (
                ("run_with", gettext("Run now with…"), self.may_run_with(request)),
                ("schedule", gettext("Edit schedule"), self.has_manage_permission(request)),
                ("backfill", gettext("Backfill"), self.may_backfill(request, obj)),
            )
            context["more_tools"] = [
                {"url": self.address(f"job_{name}", obj.pk), "label": label}
                for name, label, may in links
                if may
            ]
        return super().render_change_form(request, context, *args, **kwargs)
