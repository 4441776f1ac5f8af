"""Admin pages of workers and queues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import CharField, F, Value
from django.utils import formats
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.dashboard import charts
from django_jobs.admin.shared import display, times
from django_jobs.admin.shared.actions import FROM_LIST, ActionsAdmin
from django_jobs.api.manager import get_job_manager
from django_jobs.models import Queue, Run, Worker, jobs_database
from django_jobs.operations import health
from django_jobs.storage import notifications, statistics, transactions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest


# What "per minute" is the mean of.
RATE_OF = timedelta(hours=1)


class StoppedFilter(admin.SimpleListFilter):
    """By whether a worker should be there."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer both."""
        return [("working", _("Working")), ("ended", _("Ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker]:
        """Select by whether it has ended."""
        if self.value() not in {"working", "ended"}:
            return queryset
        return queryset.filter(stopped_at__isnull=self.value() == "working")


class WorkerList(ChangeList):
    """The list of workers, with how many threads of each are busy."""

    def get_results(self, request: HttpRequest) -> None:
        """Count them for all rows at once."""
        super().get_results(request)
        busy = health.busy(jobs_database())
        for worker in self.result_list:
            worker.running = busy.get(worker.pk, 0)


class QueueList(ChangeList):
    """The list of queues, with what waits in each and how fast it goes."""

    def get_results(self, request: HttpRequest) -> None:
        """Look at all of them at once."""
        super().get_results(request)
        using = jobs_database()
        reports, _unreadable = health.waiting(transactions.database_now(using), using)
        found = {one["name"]: one for one in reports}
        ended = _ended(datetime.now(UTC))
        for row in self.result_list:
            row.report = found.get(row.pk)
            row.ended = ended.get(row.pk, 0)


def _ended(now: datetime) -> dict[str, int]:
    """Count what ended within the time that rates are of, by queue."""
    counts: dict[str, int] = {}
    for (_func, name), summary in statistics.by_function_and_queue(now - RATE_OF, now).items():
        counts[name] = counts.get(name, 0) + summary.ended
    return counts


@admin.register(Worker)
class WorkerAdmin(ActionsAdmin):
    """Workers: the processes that run jobs, and whether they live."""

    list_display = [
        "id", "state", "host", "process", "version", "served", "busy", "has_clock", "heartbeat",
    ]  # fmt: skip
    list_filter = [StoppedFilter]
    search_fields = ["=id", "host"]
    sortable_by = ("id", "host")
    ordering = [F("stopped_at").desc(nulls_first=True), "-heartbeat_at"]
    actions = None
    fields = [
        "id", "state", "host", "process", "version", "served", "busy", "has_clock", "started", "heartbeat",
        "lease", "stopped", "runs",
    ]  # fmt: skip
    readonly_fields = [
        "state",
        "process",
        "served",
        "busy",
        "started",
        "heartbeat",
        "lease",
        "stopped",
        "runs",
    ]

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
        return display.label(health.worker_state(worker, datetime.fromisoformat(worker.looked_at)))  # type: ignore[attr-defined]

    @admin.display(description=_("process"))
    def process(self, worker: Worker) -> str:
        """Show the process id without separators."""
        return str(worker.pid)

    @admin.display(description=_("queues"))
    def served(self, worker: Worker) -> str:
        """Show the queues that it serves."""
        return ", ".join(map(str, worker.queues or ())) or gettext("all")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `WorkerList` does."""
        return WorkerList

    @admin.display(description=_("threads busy"))
    def busy(self, worker: Worker) -> str:
        """Show how many of its threads run something."""
        if worker.stopped_at is not None:
            return display.EMPTY
        running = getattr(worker, "running", None)
        if running is None:
            running = Run.objects.running().filter(worker_id=worker.pk).count()
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


@admin.register(Queue)
class QueueAdmin(ActionsAdmin):
    """Queues that an operator has something to say about."""

    list_display = ["name", "state", "depth", "oldest", "rate", "since"]
    search_fields = ["name"]
    search_help_text = _("The dashboard shows all queues. Here are those that somebody added or paused.")
    ordering = ["name"]
    actions = ["pause", "resume", "delete_selected"]
    buttons = {"pause": _("Pause"), "resume": _("Resume")}
    readonly_fields = ["state", "since", "runs"]

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow it: a queue needs a row to be paused."""
        return super(ActionsAdmin, self).has_add_permission(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `QueueList` does."""
        return QueueList

    def get_list_display(self, request: HttpRequest) -> Any:
        """Add the switch for those who may use it."""
        names = super().get_list_display(request)
        return [*names, "switch"] if self.may_press(request, "pause") else names

    def get_fields(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        """Ask for a name only."""
        return ["name"] if obj is None else ["name", "state", "since", "runs"]

    def fitting(self, obj: Queue) -> Sequence[str]:
        """Offer the other state."""
        return ["pause" if obj.paused_at is None else "resume"]

    @admin.display(description=_("state"))
    def state(self, row: Queue) -> str:
        """Show whether its runs are claimed."""
        return display.label("serving" if row.paused_at is None else "paused")

    @admin.display(description=_("waiting"))
    def depth(self, row: Any) -> str:
        """Show how many of its runs are due and not begun."""
        return formats.number_format(row.report["due"] if row.report else 0, force_grouping=True)

    @admin.display(description=_("oldest"))
    def oldest(self, row: Any) -> str:
        """Show how long the first of them has waited."""
        return display.duration(row.report["oldest_seconds"]) if row.report else display.EMPTY

    @admin.display(description=_("per minute"))
    def rate(self, row: Any) -> str:
        """Show how many ended per minute of the last hour."""
        return formats.number_format(round(row.ended / (RATE_OF.total_seconds() / 60), 1), 1)

    @admin.display(description=_("switch"))
    def switch(self, row: Queue) -> str:
        """Show a button that pauses or resumes it; it is one of the form that the list is in."""
        (name,) = self.fitting(row)
        words = gettext("Pause queue %s") if name == "pause" else gettext("Resume queue %s")
        return format_html(
            '<button type="submit" class="jobs-switch" data-live-key="{}" name="{}" value="1" formaction="{}"'
            ' aria-label="{}">{}</button>',
            name, FROM_LIST, self.action_url(row, name), words % row.pk, self.buttons[name],
        )  # fmt: skip

    @admin.display(description=_("paused since"))
    def since(self, row: Queue) -> str:
        """Show since when they are not."""
        return times.relative(row.paused_at)

    @admin.display(description=_("runs"))
    def runs(self, row: Queue) -> str:
        """Link to its runs."""
        return display.list_link(self.admin_site, gettext("Runs of this queue"), queue=row.name)

    @admin.action(permissions=["change"], description=_("Pause selected queues"))
    def pause(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Keep workers from claiming runs of some queues."""

        def act(row: Queue) -> str:
            return "" if get_job_manager().pause_queue(row.pk) else gettext("is paused already")

        self.carry_out(
            request,
            queryset,
            act,
            done=lambda n: ngettext("%d queue was paused.", "%d queues were paused.", n) % n,
            log=gettext("Paused."),
        )

    @admin.action(permissions=["change"], description=_("Resume selected queues"))
    def resume(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Let workers claim runs of some queues again."""

        def act(row: Queue) -> str:
            return "" if get_job_manager().resume_queue(row.pk) else gettext("is not paused")

        self.carry_out(
            request,
            queryset,
            act,
            done=lambda n: ngettext("%d queue was resumed.", "%d queues were resumed.", n) % n,
            log=gettext("Resumed."),
        )

    def consequences(self, objects: Sequence[Queue]) -> dict[Any, str]:
        """Tell that runs of a paused queue will be claimed."""
        return {row.pk: gettext("it is paused, and resumes") for row in objects if row.paused_at is not None}

    def remove(self, objects: Sequence[Queue]) -> None:
        """Delete rows, and let the runs of paused queues go on."""
        super().remove(objects)
        notifications.notify(notifications.RUNS, using=jobs_database())
