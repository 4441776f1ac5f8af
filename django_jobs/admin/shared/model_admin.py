"""What all pages are made from: Django's ModelAdmin, which reads where jobs are written, and pages of other kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.template.response import TemplateResponse
from django.urls import path

from django_jobs.admin.shared import addresses, nav
from django_jobs.admin.shared.stock import StockModelAdmin
from django_jobs.models import jobs_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class ModelAdmin(StockModelAdmin):
    """A page of ours."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read from the jobs' database: where routers send reads to a replica, that is behind."""
        rows: QuerySet[Any] = super().get_queryset(request).using(jobs_database())
        return rows

    def page_at(self, route: str, view: Callable[..., Any], name: str) -> URLPattern:
        """Return a page's place for `get_urls`; `address` knows it by the name."""
        return path(route, self.admin_site.admin_view(view), name=f"django_jobs_{name}")

    def address(self, name: str, /, *args: object, **query: object) -> str:
        """Return the address of one of our pages, such as "run_errors", or "job_change" with a key."""
        return addresses.of_page(self.admin_site, name, *args, **query)

    def page(self, request: HttpRequest, template: str, /, **context: Any) -> HttpResponse:
        """Render a page from one of our templates, with what stock admin's pages have."""
        request.current_app = self.admin_site.name  # as stock admin does
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/django_jobs/{template}", {**shared, **context})

    def wide_page(self, request: HttpRequest, template: str, /, **context: Any) -> HttpResponse:
        """Render one that needs the room of the sidebar, and has links to the app's other pages instead."""
        links = nav.links(self.admin_site, request)
        return self.page(request, template, **{"is_nav_sidebar_enabled": False, "nav": links, **context})

    def say_gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that there is no such row, as stock admin does."""
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return] # not in the stubs
