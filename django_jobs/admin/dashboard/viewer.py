"""Who looks at the dashboard, and at what: what each part of it is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.admin.exceptions import NotRegistered

from django_jobs.admin.dashboard.ranges import CUSTOM, RANGES, as_input
from django_jobs.admin.shared import addresses, display
from django_jobs.models import Queue, Run
from django_jobs.operations import run_actions

# What an address chooses.
CHOICES = ("range", "from", "until", "chart", "by")

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.admin import AdminSite, ModelAdmin
    from django.db.models import Model
    from django.http import HttpRequest

    from django_jobs.admin.dashboard.overview import Overview
    from django_jobs.admin.dashboard.ranges import Range


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

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """Return what the address chooses; the first of the choices where it chooses none of them."""
        chosen = self._request.GET.get(name, "")
        known = list(choices)
        return chosen if chosen in known else known[0]

    def url_with(self, **changes: str) -> str:
        """Return the page's address with some of its choices changed, and those that become empty left out."""
        return f"?{urlencode(self.choices(**changes))}"

    def choices(self, **changes: str) -> dict[str, str]:
        """Return what the page's address chooses, with some of it changed."""
        query = {name: self._request.GET.get(name, "") for name in CHOICES}
        return {name: value for name, value in {**query, **changes}.items() if value}

    def action_url(self, model: type[Model], pk: int | str, name: str) -> str:
        """Return what a button of a row posts to; empty where the person may not press it."""
        pages = self.pages(model)
        if pages is None or not pages.may_press(self._request, name):  # type: ignore[attr-defined] # all of ours can
            return ""
        return pages.action_url(pk, name)  # type: ignore[attr-defined, no-any-return] # likewise

    def bulk_url(self, **filters: str) -> str:
        """Return the page that acts on all runs that match; empty where the person may not."""
        if not run_actions.is_allowed(self._request.user, "cancel") or not self.may_view(Run):
            return ""
        return addresses.of_page(self._site, "run_bulk", **filters)

    def errors_url(self, **query: str) -> str:
        """Return the address of the page of errors; empty where the person may not see it."""
        return addresses.of_page(self._site, "run_errors", **query) if self.may_view(Run) else ""

    def link(self, model: type[Model], pk: int | str, text: object) -> str:
        """Link to a row's page, where the person may see it."""
        return display.link(self._site, model, pk, text) if self.may_view(model) else str(text)

    def page_url(self, model: type[Model], pk: str) -> str:
        """Return the address of a row's page; empty where the person may not see it."""
        return addresses.of_row(self._site, model, pk) if self.may_view(model) else ""

    def list_url(self, model: type[Model], **filters: str) -> str:
        """Return the address of a model's list; empty where the person may not see it."""
        return addresses.of_list(self._site, model, **filters) if self.may_view(model) else ""


class Page:
    """What all parts are made from."""

    def __init__(self, overview: Overview, viewer: Viewer) -> None:
        self.overview = overview
        self.viewer = viewer

    @property
    def range(self) -> Range:
        """The chosen range."""
        return self.overview.range

    @property
    def ranges(self) -> list[dict[str, Any]]:
        """The ranges that can be chosen instead."""
        return [
            {
                "url": self.viewer.url_with(**{"range": name, "from": "", "until": ""}),
                "label": one.label,
                "short": one.short,
                "is_chosen": name == self.range.name,
            }
            for name, one in RANGES.items()
        ]

    @property
    def own_range(self) -> dict[str, Any]:
        """What a form of any other range is filled in with."""
        return {
            "since": as_input(self.overview.since),
            "until": as_input(self.overview.until),
            "is_chosen": self.range.name == CUSTOM,
            "kept": self.viewer.choices(**{"range": "", "from": "", "until": ""}).items(),
        }
