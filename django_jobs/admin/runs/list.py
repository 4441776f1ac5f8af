"""The list of runs: a page at a time, by id, from `operations.run_query`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import SEARCH_VAR, ChangeList

from django_jobs.admin.runs import filters
from django_jobs.admin.runs.rows import Row, rows, with_beginnings
from django_jobs.admin.shared.permissions import may_view_payload
from django_jobs.models import jobs_database
from django_jobs.operations import run_query
from django_jobs.operations.run_query import PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_jobs.operations.run_query import Criteria

# Words of the address that are no filters: where the page begins.
POSITION = ("before", "after")


def criteria_of(request: HttpRequest) -> Criteria:
    """Return the runs that an address asks for, with its search; arguments for those who may see them."""
    criteria = run_query.from_address(request.GET)
    return criteria.searching(
        request.GET.get(SEARCH_VAR, ""), with_arguments=may_view_payload(request), using=jobs_database()
    )


def search_prefixes(request: HttpRequest) -> list[str]:
    """Return the prefixes that a user may search by."""
    return [name for name in PREFIXES if name != "arg" or may_view_payload(request)]


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
            self.criteria = criteria_of(request)
        return self.criteria.apply(runs)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave our filters to `criteria_of`: stock admin takes each for a column."""
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in filters.NAMES}

    def get_results(self, request: HttpRequest) -> None:
        """Read one page without counting."""
        self._request = request
        found: Any = self.root_queryset
        self.page = run_query.page(
            self.criteria,
            with_beginnings(found, with_payload=may_view_payload(request)),
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

    def url_for_result(self, result: Any) -> str:
        """Return the address of a run's page, from where its links lead back to this list."""
        url = super().url_for_result(result)
        return self.model_admin.with_filters(self._request, url)  # type: ignore[no-any-return, attr-defined]

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

    @cached_property
    def rows(self) -> list[Row]:
        """The lines of the page."""
        return rows(self.page.runs, self.url_for_result)

    # Filters

    def _url_with(self, changes: Mapping[str, str | None]) -> str:
        return self.get_query_string(dict(changes))

    @cached_property
    def chips(self) -> list[filters.Chip]:
        """The filters that are set."""
        return filters.chips(self.params, self.query, self._url_with)

    @cached_property
    def tabs(self) -> list[dict[str, Any]]:
        """States that are one click away."""
        return filters.tabs(self.params, self._url_with)

    @cached_property
    def fields(self) -> list[dict[str, Any]]:
        """Fields of the form of filters."""
        return filters.form(self.params)

    @cached_property
    def suggestions(self) -> list[str]:
        """Terms that the search box offers."""
        return filters.suggestions(self.fields, search_prefixes(self._request))
