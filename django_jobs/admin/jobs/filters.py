"""The filters of the list of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.shared import display
from django_jobs.models import Job

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


class QueueFilter(admin.SimpleListFilter):
    """By the queue that a job's runs wait in."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the queues of the jobs there are."""
        names = Job.objects.order_by("queue_name").values_list("queue_name", flat=True).distinct()
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Select by name."""
        name = self.value()
        return queryset.filter(queue_name=name) if name else queryset
