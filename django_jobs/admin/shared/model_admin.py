"""Django's ModelAdmin, with its type, and reading where jobs are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from django_jobs.models import jobs_database

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    StockModelAdmin = admin.ModelAdmin[Any]
else:
    # Django 5.2's cannot be subscripted at run time.
    StockModelAdmin = admin.ModelAdmin

__all__ = ["ModelAdmin", "StockModelAdmin"]


class ModelAdmin(StockModelAdmin):
    """A page of ours."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read from the jobs' database: where routers send reads to a replica, that is behind."""
        rows: QuerySet[Any] = super().get_queryset(request).using(jobs_database())
        return rows
