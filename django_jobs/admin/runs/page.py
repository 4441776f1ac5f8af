"""Admin pages of runs: the queue and its history, of which there may be millions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.runs import bulk_page, detail
from django_jobs.admin.runs.actions import RunActionsMixin
from django_jobs.admin.runs.bulk_page import BulkMixin
from django_jobs.admin.runs.errors import ErrorsMixin
from django_jobs.admin.runs.export import ExportMixin
from django_jobs.admin.runs.list import POSITION, RunList, search_prefixes
from django_jobs.admin.runs.retry_with_changes import RetryWithChangesMixin
from django_jobs.admin.shared import arguments, display, nav
from django_jobs.admin.shared.permissions import may_view_payload
from django_jobs.live import views as live_views
from django_jobs.models import Status

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from django_jobs.models import Run


# Characters that lines of a log are searched for.
MAX_SEARCH = 200


class RunAdmin(RunActionsMixin, BulkMixin, ErrorsMixin, ExportMixin, RetryWithChangesMixin):
    """Runs: what waits, what runs and what became of the rest."""

    list_per_page = 50
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER
    ordering = ["-pk"]
    # What is done with it is `RunList`'s; stock admin shows the field only for some.
    search_fields = ["=job_id", "^func"]
    readonly_fields = ["number", "arguments", "policy", "tags", "subject", "unique"]

    class Media:
        css = {"all": ["django_jobs/runs.css"]}

    # Pages

    def get_urls(self) -> list[URLPattern]:
        """Add what live pages ask, whatever they show."""
        return [self.page_at("changes/", live_views.changes, "changes"), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `RunList` does."""
        return RunList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Leave the rows alone: `RunList` selects them."""
        return queryset, False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add what can be done to all runs that match."""
        query = request.GET.copy()
        for name in POSITION:
            query.pop(name, None)
        asked = f"?{query.urlencode()}" if query else ""
        more = {
            "export_urls": [
                (kind.upper(), self.address("run_export", kind) + asked) for kind in ("csv", "json")
            ],
            "bulk_url": self.address("run_bulk") + asked if bulk_page.actions_for(request) else "",
            "may_see_payload": may_view_payload(request),
            "is_nav_sidebar_enabled": False,
            "nav": nav.links(self.admin_site, request),
            "row_actions": self.row_actions(request),
            "prefixes": search_prefixes(request),
        }
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        """Read a run once, however often a page asks for it."""
        read: dict[str, Run | None] = request.__dict__.setdefault("_django_jobs_runs", {})
        if request.method != "GET":
            read.pop(object_id, None)
        if object_id not in read:
            read[object_id] = super().get_object(request, object_id, from_field)
        return read[object_id]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what the page shows besides its fields."""
        run: Run | None = kwargs.get("obj")
        if run is not None:
            with_payload = may_view_payload(request)
            context["run"] = detail.facts(
                self.admin_site,
                run,
                with_payload=with_payload,
                log_level=request.GET.get("log_level", ""),
                log_search=request.GET.get("log_search", "")[:MAX_SEARCH],
            )
            if self.may_change_arguments(request):
                url = self.address("run_retry_with_changes", run.pk)
                is_over_well = run.status in {Status.SUCCESSFUL, Status.RUNNING}
                label = gettext("Run again…") if is_over_well else gettext("Retry with changes")
                context["more_tools"] = [{"url": self.with_filters(request, url), "label": label}]
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Any:
        """Show what does not change; the rest is in templates of its own, which can be shown again."""
        if obj is None:
            return [(None, {"fields": ["number"]})]
        call = ["arguments"] if may_view_payload(request) else []
        said = {"tags": obj.tags, "subject": obj.about, "unique": obj.unique}
        shown = [name for name, value in said.items() if value]
        how = [*shown, ("kind", "priority", "rescues"), "policy"]
        return [(_("Call"), {"fields": [*call, *how]})]

    # Fields

    @admin.display(description=_("run"))
    def number(self, run: Run) -> str:
        """Show its number without separators, to be searched for."""
        return str(run.pk)

    @admin.display(description=_("arguments"))
    def arguments(self, run: Run) -> str:
        """Show the arguments without their secrets."""
        return arguments.table(run)

    @admin.display(description=_("options"))
    def policy(self, run: Run) -> str:
        """Show retry, timeout and the like."""
        return display.policy(run)

    @admin.display(description=_("tags"))
    def tags(self, run: Run) -> str:
        """Show its tags."""
        return display.tags(run)

    @admin.display(description=_("about"))
    def subject(self, run: Run) -> str:
        """Show what it is about, with a link where that has a page."""
        return display.about(self.admin_site, run.about or "")

    @admin.display(description=_("unique by"))
    def unique(self, run: Run) -> str:
        """Show the key that it is the only run of."""
        return run.unique
