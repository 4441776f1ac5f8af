"""Who looks at the dashboard, and at what: what each part of it is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.exceptions import NotRegistered
from django.urls import NoReverseMatch, reverse

from django_jobs.admin.shared import display
from django_jobs.models import Queue

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite, ModelAdmin
    from django.db.models import Model
    from django.http import HttpRequest

    from django_jobs.admin.dashboard.overview import Overview, Range


class Viewer:
    """Who looks at the page, and what of it leads somewhere for that person."""

    def __init__(self, request: HttpRequest, site: AdminSite) -> None:
        self._request = request
        self._site = site

    def pages(self, model: type[Model]) -> ModelAdmin[Any] | None:
        """Return a model's pages in this admin; None where the project has none."""
        try:
            return self._site.get_model_admin(model)
        except NotRegistered:
            return None

    def may_view(self, model: type[Model]) -> bool:
        """Whether the person may see a model's rows."""
        pages = self.pages(model)
        return pages is not None and bool(pages.has_view_permission(self._request))

    @property
    def may_pause(self) -> bool:
        """Whether the person may pause queues."""
        pages = self.pages(Queue)
        return pages is not None and bool(pages.has_change_permission(self._request))

    def link(self, model: type[Model], pk: int | str, text: object) -> str:
        """Link to a row's page, where the person may see it."""
        return display.link(self._site, model, pk, text) if self.may_view(model) else str(text)

    def list_url(self, model: type[Model], **filters: str) -> str:
        """Return the address of a model's list; empty where the person may not see it."""
        if not self.may_view(model):
            return ""
        try:
            return reverse(
                f"{self._site.name}:django_jobs_{model._meta.model_name}_changelist", query=filters
            )
        except NoReverseMatch:
            return ""


class Page:
    """What all parts are made from."""

    def __init__(self, overview: Overview, viewer: Viewer) -> None:
        self.overview = overview
        self.viewer = viewer

    @property
    def range(self) -> Range:
        """The chosen range."""
        return self.overview.range
