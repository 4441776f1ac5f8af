"""Addresses of pages, within the admin that shows them; empty where a project has no such page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.contrib.admin import AdminSite
    from django.db.models import Model


def of_page(site: AdminSite, name: str, /, *args: object, **query: object) -> str:
    """Return the address of one of our pages, such as "run_errors", or "job_change" with the key of a row."""
    return _reversed(site, f"django_jobs_{name}", args, query)


def of_list(site: AdminSite, model: type[Model], /, **query: object) -> str:
    """Return the address of the list of one of our models, with its filters."""
    return of_page(site, f"{model._meta.model_name}_changelist", **query)


def of_row(site: AdminSite, model: type[Model], pk: object) -> str:
    """Return the address of a row's page, of any app."""
    return _reversed(site, f"{model._meta.app_label}_{model._meta.model_name}_change", [pk], {})


def _reversed(site: AdminSite, name: str, args: Iterable[Any], query: Mapping[str, Any]) -> str:
    # A row's key comes first; behind it there are words of ours.
    args = [quote(arg) if index == 0 else arg for index, arg in enumerate(args)]
    try:
        return reverse(f"{site.name}:{name}", args=args, query=query)
    except NoReverseMatch:
        return ""
