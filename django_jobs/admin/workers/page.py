"""Admin pages of workers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, F, Value
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.dashboard.viewer import Viewer
from django_jobs.admin.shared import charts, display, times
from django_jobs.admin.shared.actions import ActionsAdmin
from django_jobs.admin.workers import cluster
from django_jobs.models import Run, Worker, jobs_database, queue_words
from django_jobs.operations import health
from django_jobs.storage import transactions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse


class StoppedFilter(admin.SimpleListFilter):
    """By whether a worker should be there."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer those that should be there, those that ended, and of these the ones that were lost."""
        return [("working", _("Working")), ("ended", _("Ended")), ("lost", _("Gone"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker]:
        """Select by whether it has ended."""
        if self.value() == "lost":
            return queryset.filter(was_lost=True)
        if self.value() not in {"working", "ended"}:
            return queryset
        return queryset.filter(stopped_at__isnull=self.value() == "working")


class WorkerList(ChangeList):
    """The list of workers, with how many threads of each are busy."""

    def get_results(self, request: HttpRequest) -> None:
        """Count them for all rows with one query."""
        super().get_results(request)
        busy = health.busy(jobs_database())
        for worker in self.result_list:
            worker.running = sum(busy.get(worker.pk, {}).values())


class WorkerAdmin(ActionsAdmin):
    """Workers: the processes that run jobs, and whether they live."""

    list_display = ["label", "state", "busy", "heartbeat", "has_clock", "version", "served"]
    list_display_links = ["label"]
    list_filter = [StoppedFilter]
    search_fields = ["=id", "host"]
    sortable_by = ("label",)
    ordering = [F("stopped_at").desc(nulls_first=True), "-heartbeat_at"]
    actions = None
    fields = [
        "id", "state", "host", "process", "version", "memory", "served", "busy", "has_clock", "started",
        "heartbeat", "lease", "stopped", "runs",
    ]  # fmt: skip
    readonly_fields = [
        "state", "process", "memory", "served", "busy", "started", "heartbeat", "lease", "stopped", "runs",
    ]  # fmt: skip

    class Media:
        css = {"all": ["django_jobs/dashboard.css", "django_jobs/queues.css"]}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the workers that live by their hosts; the list of all where the address asks for some of them."""
        if request.GET or request.method != "GET":
            return super().changelist_view(request, extra_context)
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "is_list": True,
            "part": cluster.cluster(Viewer(request, self.admin_site)),
            **(extra_context or {}),
        }
        return self.wide_page(request, "worker/cluster.html", **context)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: a worker without its row would lose its runs to others."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the time by the database's clock, which heartbeats are written with."""
        # As text: MariaDB would return a time that is a constant as text without its zone.
        now = Value(transactions.database_now(jobs_database()).isoformat(), output_field=CharField())
        workers: QuerySet[Any] = super().get_queryset(request).annotate(looked_at=now)
        return workers

    @admin.display(description=_("state"))
    def state(self, worker: Worker) -> str:
        """Show whether it lives."""
        return display.label(cluster.state_of(worker, datetime.fromisoformat(worker.looked_at)))  # type: ignore[attr-defined]

    @admin.display(description=_("worker"), ordering="host")
    def label(self, worker: Worker) -> str:
        """Show the host and the process id."""
        return f"{worker.host}:{worker.pid}"

    @admin.display(description=_("process"))
    def process(self, worker: Worker) -> str:
        """Show the process id without separators."""
        return str(worker.pid)

    @admin.display(description=_("memory"))
    def memory(self, worker: Worker) -> str:
        """Show how much its process holds."""
        return cluster.memory(worker)

    @admin.display(description=_("queues"))
    def served(self, worker: Worker) -> str:
        """Show the queues that it serves."""
        words = queue_words(worker.queue_names, worker.queue_threads)
        return ", ".join(words if worker.queue_names else [gettext("all"), *words])

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `WorkerList` does."""
        return WorkerList

    @admin.display(description=_("threads busy"))
    def busy(self, worker: Worker) -> str:
        """Show how many of its threads run something."""
        if worker.stopped_at is not None:
            return times.EMPTY
        running = getattr(worker, "running", None)
        if running is None:
            running = Run.objects.using(jobs_database()).running().filter(worker_id=worker.pk).count()
        words = gettext("%(busy)s of %(threads)s") % {"busy": running, "threads": worker.threads}
        return display.rendered("meter.html", words=words, share=charts.share(running, worker.threads))

    @admin.display(description=_("started"))
    def started(self, worker: Worker) -> str:
        """Show since when it runs."""
        return times.relative(worker.started_at)

    @admin.display(description=_("last heartbeat"))
    def heartbeat(self, worker: Worker) -> str:
        """Show when it last said that it lives."""
        return times.relative(worker.heartbeat_at)

    @admin.display(description=_("lease until"))
    def lease(self, worker: Worker) -> str:
        """Show until when it may keep its runs without another heartbeat."""
        return times.both(worker.lease_expires_at)

    @admin.display(description=_("stopped"))
    def stopped(self, worker: Worker) -> str:
        """Show when it ended."""
        return times.both(worker.stopped_at)

    @admin.display(description=_("runs"))
    def runs(self, worker: Worker) -> str:
        """Link to its runs."""
        return display.list_link(self.admin_site, gettext("Runs of this worker"), worker_id=str(worker.pk))
