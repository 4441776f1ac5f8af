"""The list of runs: a page at a time, by id, from `operations.run_query`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import ChangeList
from django.db.models.functions import Left

from django_jobs.models import jobs_database
from django_jobs.operations import run_query
from django_jobs.operations.run_query import LARGE_COLUMNS, Criteria

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

# Columns that the list does not show.
HIDDEN = (*LARGE_COLUMNS, "signature", "options", "error", "progress")
ERROR_LENGTH = 120
# Words of the address that are no filters: where the page begins.
POSITION = ("before", "after")


class RunList(ChangeList):
    """The list of runs: always newest first, without the large columns, a page at a time."""

    criteria: Criteria
    page: run_query.Page

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Refuse other orders: each would sort the whole table."""
        return ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Select the runs that the address asks for. Actions choose from them."""
        for name in POSITION:
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        runs: Any = super().get_queryset(request, exclude_parameters)
        if not hasattr(self, "criteria"):
            criteria = run_query.from_address(self.params)
            self.criteria = criteria.searching(self.query, using=jobs_database())
        return self.criteria.apply(runs)

    def get_results(self, request: HttpRequest) -> None:
        """Read one page without counting."""
        rows: Any = self.root_queryset
        self.page = run_query.page(
            self.criteria,
            rows.annotate(error_start=Left("error", ERROR_LENGTH + 1)).defer(*HIDDEN),
            size=self.list_per_page,
            before=run_query.run_number(request.GET.get("before", "")),
            after=run_query.run_number(request.GET.get("after", "")),
            using=jobs_database(),
        )
        self.result_list = self.page.runs
        self.result_count = len(self.page.runs)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        # What stock templates look at; nothing is counted or cut by it.
        runs: Any = self.page.runs
        self.paginator = self.model_admin.get_paginator(request, runs, self.list_per_page)

    @property
    def older_url(self) -> str:
        """Address of the page below; empty where there is none."""
        return "" if self.page.older is None else self.get_query_string({"before": str(self.page.older)})

    @property
    def newer_url(self) -> str:
        """Address of the page above; empty where there is none."""
        return "" if self.page.newer is None else self.get_query_string({"after": str(self.page.newer)})

    @property
    def is_all(self) -> bool:
        """Whether every run that matches is on this page."""
        return self.page.older is None and self.page.newer is None
