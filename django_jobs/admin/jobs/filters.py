"""The filters of the list of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.shared import display
from django_jobs.models import Job, Kind, Status, jobs_database

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest


class StatusFilter(admin.SimpleListFilter):
    """By whether a job fires."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the three states."""
        return [(state, display.STATES[state]) for state in ("scheduled", "paused", "broken")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Apply the selection of that name."""
        jobs: Any = queryset
        match self.value():
            case "scheduled":
                return jobs.active()  # type: ignore[no-any-return]
            case "paused":
                return jobs.paused()  # type: ignore[no-any-return]
            case "broken":
                return jobs.broken()  # type: ignore[no-any-return]
        return queryset


class LastOutcomeFilter(admin.SimpleListFilter):
    """By how a job's newest run stands or ended."""

    title = _("last outcome")
    parameter_name = "last"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the statuses of runs, and that there was none."""
        return [*((status.value, display.STATES[status]) for status in Status), ("none", _("None yet"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Select by the status of that run."""
        value = self.value()
        if value == "none":
            # A run that was pruned is none either.
            return queryset.filter(last_run__status__isnull=True)
        return queryset.filter(last_run__status=value) if value in Status.values else queryset


class KindFilter(admin.SimpleListFilter):
    """By whether a job fires once or again and again; those that run immediately have no row."""

    title = _("kind")
    parameter_name = "kind__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer both."""
        return [(kind.value, capfirst(kind.label)) for kind in (Kind.SCHEDULED, Kind.RECURRING)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Select by kind."""
        value = self.value()
        return queryset.filter(kind=value) if value in Kind.values else queryset


class QueueFilter(admin.SimpleListFilter):
    """By the queue that a job's runs wait in."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the queues of the jobs there are."""
        names = (
            Job.objects.using(jobs_database())
            .order_by("queue_name")
            .values_list("queue_name", flat=True)
            .distinct()
        )
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Select by name."""
        name = self.value()
        return queryset.filter(queue_name=name) if name else queryset
