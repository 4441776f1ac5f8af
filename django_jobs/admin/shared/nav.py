"""Links from our wide pages, which have no sidebar, to the app's other pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.exceptions import NotRegistered
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_jobs.admin.shared import addresses
from django_jobs.models import Batch, Dashboard, Job, LimitEdit, Queue, Run, Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import AdminSite
    from django.db.models import Model
    from django.http import HttpRequest

PAGES: Sequence[type[Model]] = (Dashboard, Run, Job, Batch, Queue, LimitEdit, Worker)


def links(site: AdminSite, request: HttpRequest) -> list[dict[str, Any]]:
    """Return the pages that a person may see, without queries."""
    found = []
    for model in PAGES:
        try:
            pages = site.get_model_admin(model)
        except NotRegistered:
            continue
        if pages.has_view_permission(request):
            url = addresses.of_list(site, model)
            label = capfirst(str(model._meta.verbose_name_plural).strip())
            found.append({"label": label, "url": url, "is_here": request.path == url})
            if model is Run and hasattr(pages, "errors_view"):
                url = addresses.of_page(site, "run_errors")
                found.append({"label": _("Errors"), "url": url, "is_here": request.path == url})
    return found
