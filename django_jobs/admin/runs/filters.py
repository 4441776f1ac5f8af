"""The filters of the list of runs: what they offer. `operations.run_query` says what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.shared import display
from django_jobs.models import DEFAULT_QUEUE_NAME, Job, Kind, Queue, Run, Status, Worker
from django_jobs.operations.run_query import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest

# Newest runs whose queues, functions and workers are offered, and how many of each.
NEWEST, OFFERED = 1000, 40


class _Names:
    """Names to offer: those of the newest runs, of jobs, and of live workers."""

    def __init__(self) -> None:
        newest = Run.objects.order_by("-pk").values_list("queue_name", "func", "worker_id")[:NEWEST]
        seen = {*newest}
        jobs = set(Job.objects.order_by().values_list("queue_name", "func").distinct()[:NEWEST])
        live = Worker.objects.filter(stopped_at__isnull=True).order_by("-started_at")
        self.queues = {DEFAULT_QUEUE_NAME, *Queue.objects.values_list("name", flat=True)[:OFFERED]}
        self.queues |= {row[0] for row in seen} | {row[0] for row in jobs}
        self.functions = {row[1] for row in seen} or {row[1] for row in jobs}
        self.workers = {*live.values_list("pk", flat=True)[:OFFERED]} | {row[2] for row in seen if row[2]}


def _names(request: HttpRequest) -> _Names:
    """Return what the filters of one page offer, read once."""
    names: _Names | None = getattr(request, "_django_jobs_names", None)
    if names is None:
        names = _Names()
        request._django_jobs_names = names  # type: ignore[attr-defined]
    return names


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with choices."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Leave the rows alone: `RunList` selects them."""
        return queryset

    def offer(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return some names as choices, the present one among them."""
        present = {str(self.value())} if self.value() else set()
        return [(name, name) for name in sorted({*sorted(names)[:OFFERED], *present})]


class StatusFilter(ChoiceFilter):
    """By status."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer every status, and after the first one what those runs wait for."""
        ready, *others = Status.choices
        return [ready, *((name, display.STATES[name]) for name in WAITING), *others]


class AgeFilter(ChoiceFilter):
    """By when a run was added."""

    title = _("enqueued")
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer what operators look at."""
        return [("hour", _("Last hour")), ("today", _("Today")), ("week", _("Last 7 days"))]


class KindFilter(ChoiceFilter):
    """By how the job came to be."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer every kind."""
        return Kind.choices


class QueueFilter(ChoiceFilter):
    """By queue."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the queues that jobs, operators and the newest runs name."""
        return self.offer(_names(request).queues)


class FunctionFilter(ChoiceFilter):
    """By function."""

    title = _("function")
    parameter_name = "func"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the functions of the newest runs."""
        return self.offer(_names(request).functions)


class WorkerFilter(ChoiceFilter):
    """By the worker that has or had a run."""

    title = _("worker")
    parameter_name = "worker_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer those that live, and those of the newest runs."""
        return self.offer(_names(request).workers)


class FormFilter(admin.ListFilter):
    """A filter with inputs, in a form of its own that needs no script."""

    template = "admin/django_jobs/run/form_filter.html"
    # Names in the address, with their labels and kinds of input.
    inputs: tuple[tuple[str, Any, str], ...] = ()

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.expected_parameters():
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

    def expected_parameters(self) -> Any:
        """Return its names in the address."""
        return [name for name, _label, _kind in self.inputs]

    def has_output(self) -> bool:
        """Show it always."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Leave the rows alone: `RunList` selects them."""
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Give the template the inputs of the form, and the rest of the address."""
        yield {
            "inputs": [
                {"name": name, "label": label, "kind": kind, "value": self.used_parameters.get(name, "")}
                for name, label, kind in self.inputs
            ],
            "others": [
                pair for pair in changelist.params.items() if pair[0] not in self.expected_parameters()
            ],
            "is_used": bool(self.used_parameters),
            "without": changelist.get_query_string(remove=self.expected_parameters()),
        }


class ErrorFilter(FormFilter):
    """By text in the error."""

    title = _("error")
    inputs = (("error", _("The error contains"), "search"),)


class JobFilter(FormFilter):
    """By the id of the job."""

    title = _("job")
    inputs = (("job_id", _("Id of the job"), "search"),)


class TimeFilter(FormFilter):
    """By when a run was added, to the minute."""

    title = _("time")
    inputs = (
        ("from", _("Enqueued from"), "datetime-local"),
        ("until", _("Enqueued before"), "datetime-local"),
    )


FILTERS: list[Any] = [
    StatusFilter, AgeFilter, TimeFilter, FunctionFilter, QueueFilter, KindFilter, ErrorFilter, JobFilter,
    WorkerFilter,
]  # fmt: skip
