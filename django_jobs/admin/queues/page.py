"""Admin pages of queues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.utils import formats
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.shared import display, times
from django_jobs.admin.shared.actions import FROM_LIST, ActionsAdmin, object_action
from django_jobs.api.manager import get_job_manager
from django_jobs.models import Queue, jobs_database
from django_jobs.operations import health
from django_jobs.storage import notifications, statistics, transactions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model
    from django.http import HttpRequest

# What "per minute" is the mean of.
RATE_OF = timedelta(hours=1)


class QueueList(ChangeList):
    """The list of queues, with what waits in each and how fast it goes."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the depth and the rate of all rows with two queries."""
        super().get_results(request)
        using = jobs_database()
        now = transactions.database_now(using)
        reports, _unreadable = health.waiting(now, health.served(now, using), using)
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
        return display.duration(row.report["oldest_seconds"]) if row.report else times.EMPTY

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

    @object_action(
        "change",
        _("Pause selected queues"),
        done=ngettext_lazy("%d queue was paused.", "%d queues were paused."),
        log=_("Paused."),
    )
    def pause(self, request: HttpRequest, row: Queue) -> str:
        """Keep workers from claiming runs of a queue; return why not, or an empty string."""
        return "" if get_job_manager().pause_queue(row.pk) else gettext("is paused already")

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
        return {row.pk: gettext("it is paused, and resumes") for row in objects if row.paused_at is not None}

    def remove(self, objects: Sequence[Queue]) -> None:
        """Delete rows, and let the runs of paused queues go on."""
        super().remove(objects)
        notifications.notify(notifications.RUNS, using=jobs_database())
