"""Admin pages of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.batches import gantt, graph
from django_jobs.admin.shared import charts, display, times
from django_jobs.admin.shared.actions import ActionsAdmin, object_action
from django_jobs.api.manager import get_job_manager
from django_jobs.models import FINISHED, Batch, Run, Status, jobs_database
from django_jobs.operations import batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse

# Of a batch with more runs only those are drawn that one looks for first.
MOST_DRAWN = 5000
# Rows of the picture of times, and runs of failed paths.
MOST_ROWS, MOST_FAILED = 200, 50


class StateFilter(admin.SimpleListFilter):
    """By where a batch stands."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer all states."""
        return [(name, display.word(name)) for name in batches.STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """Select by state."""
        value = self.value()
        return queryset.filter(batches.STATES[value]) if value in batches.STATES else queryset


class BatchAdmin(ActionsAdmin):
    """Batches: how far they are, what their runs wait for, and what failed."""

    list_display = ["name", "state", "progress", "failed_runs", "created", "ended"]
    list_filter = [StateFilter]
    search_fields = ["=key", "^name"]
    search_help_text = _("The id of a batch, or what its name begins with.")
    sortable_by = ()
    ordering = ["-pk"]
    actions = ["cancel", "retry"]
    buttons = {"cancel": _("Cancel"), "retry": _("Retry what failed")}
    fields = ["key", "created", "closed", "ended", "jobs_at_end"]
    readonly_fields = ["created", "closed", "ended", "jobs_at_end"]
    change_form_template = "admin/django_jobs/batch/change_form.html"

    class Media:
        css = {"all": ["django_jobs/runs.css", "django_jobs/batches.css"]}

    # Whoever may see or change its runs may see or change it.

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow it to those who may view runs."""
        user: Any = request.user
        return bool(user.has_perm("django_jobs.view_run") or user.has_perm("django_jobs.change_run"))

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow actions to those who may change runs, and nobody a form."""
        user: Any = request.user
        return obj is None and bool(
            self.has_view_permission(request)
            and (user.has_perm("django_jobs.change_run") or user.has_perm("django_jobs.manage_job"))
        )

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: a batch goes with its history."""
        return False

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show it to those who may see it."""
        return self.has_view_permission(request)

    def fitting(self, obj: Batch) -> Sequence[str]:
        """Offer to cancel what has not ended, and to retry what failed."""
        names = ["cancel"] if obj.ended_at is None and obj.cancelled_at is None else []
        return [*names, "retry"] if obj.failed or obj.cancelled or obj.skipped else names

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what the page shows besides its fields."""
        batch: Batch | None = kwargs.get("obj")
        if batch is not None:
            context["batch"] = self._facts(batch)
        return super().render_change_form(request, context, *args, **kwargs)

    def _facts(self, batch: Batch) -> dict[str, Any]:
        most = MOST_DRAWN if batch.total <= MOST_DRAWN else batches.MOST_RUNS
        nodes = batches.nodes_of(batch, using=jobs_database(), most=most)
        paths = batches.failed_paths(nodes) if batch.total > batch.successful else []
        site = self.admin_site
        return {
            "state": display.label(batch.state),
            "counts": [
                (
                    display.STATES[status],
                    number,
                    display.list_link(site, number, batch=batch.key, status=status),
                )
                for status in FINISHED
                if (number := getattr(batch, status.lower()))
            ],
            "unfinished": batch.total - batch.ended_runs,
            "done": batch.ended_runs,
            "runs": display.list_link(site, gettext("All runs of this batch"), batch=batch.key),
            "paths": [[self._step(node) for node in path] for path in _first(paths)],
            "graph": graph.drawn(nodes) if batch.has_dependencies else None,
            "rows": gantt.rows(batch, nodes[:MOST_ROWS] if len(nodes) <= MOST_ROWS else _worth(nodes)),
            "shown": min(len(nodes), MOST_ROWS),
            "drawn": len(nodes),
            "width": gantt.WIDTH,
            "box": (graph.WIDTH, graph.HEIGHT),
        }

    def _step(self, node: batches.Node) -> dict[str, Any]:
        run = node.run
        return {
            "link": display.link(self.admin_site, Run, run.pk, f"{run.name} ({run.pk})"),
            "state": display.label(display.run_state(run)),
            "error": display.cut(run.error, 300),
        }

    # Fields

    @admin.display(description=_("state"))
    def state(self, batch: Batch) -> str:
        """Show where it stands."""
        return display.label(batch.state)

    @admin.display(description=_("ended runs"))
    def progress(self, batch: Batch) -> str:
        """Show how many of its runs have ended."""
        words = gettext("%(done)s of %(total)s") % {"done": batch.ended_runs, "total": batch.total}
        share = charts.share(batch.ended_runs, batch.total)
        return display.rendered("meter.html", share=share, words=words, is_bad=bool(batch.failed))

    @admin.display(description=_("failed"))
    def failed_runs(self, batch: Batch) -> str:
        """Show how many failed, as a link to them."""
        if not batch.failed:
            return times.EMPTY
        return display.list_link(self.admin_site, batch.failed, batch=batch.key, status=Status.FAILED.value)

    @admin.display(description=_("created"))
    def created(self, batch: Batch) -> str:
        """Show when it was made."""
        return times.relative(batch.created_at)

    @admin.display(description=_("closed"))
    def closed(self, batch: Batch) -> str:
        """Show since when it takes no more."""
        return times.relative(batch.closed_at)

    @admin.display(description=_("ended"))
    def ended(self, batch: Batch) -> str:
        """Show when it ended."""
        return times.relative(batch.ended_at)

    @admin.display(description=_("jobs at its end"))
    def jobs_at_end(self, batch: Batch) -> str:
        """Show the jobs that its end added, or will add."""
        added = batch.callback_jobs or {}
        words = [
            f"on_{word}: {call['func']}" + (f" ({added[word]})" if word in added else "")
            for word, call in (batch.callbacks or {}).items()
        ]
        return ", ".join(words) or times.EMPTY

    # Actions

    @object_action(
        "change",
        _("Cancel selected batches"),
        done=ngettext_lazy("%d batch was cancelled.", "%d batches were cancelled."),
        log=_("Cancelled."),
    )
    def cancel(self, request: HttpRequest, batch: Batch) -> str:
        """Cancel a batch; return why not, or an empty string."""
        return "" if get_job_manager().cancel_batch(batch.key) else gettext("has ended already")

    @object_action(
        "change",
        _("Retry what failed in selected batches"),
        done=ngettext_lazy("%d batch continues.", "%d batches continue."),
        log=_("Retried."),
    )
    def retry(self, request: HttpRequest, batch: Batch) -> str:
        """Retry what failed of a batch; return why not, or an empty string."""
        return "" if get_job_manager().retry_batch(batch.key) else gettext("has no failed runs")


def _first(paths: Sequence[list[batches.Node]]) -> Iterable[list[batches.Node]]:
    """Return paths up to a number of runs, the last one cut."""
    left = MOST_FAILED
    for path in paths:
        if left <= 0:
            return
        yield path[:left]
        left -= len(path)


def _worth(nodes: Sequence[batches.Node]) -> list[batches.Node]:
    """Return the runs that one looks for first: those that failed or run, and then the longest."""

    def rank(node: batches.Node) -> tuple[int, float]:
        run = node.run
        took = (
            (run.finished_at - run.started_at).total_seconds() if run.started_at and run.finished_at else 0.0
        )
        return (0 if run.status in {Status.FAILED, Status.RUNNING} else 1, -took)

    return sorted(nodes, key=rank)[:MOST_ROWS]
