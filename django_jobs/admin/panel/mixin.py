"""A panel for the page of any object.

Every command of a project that uses it imports this module; what the panel shows is imported with the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import flatten_fieldsets
from django.forms import Media
from django.urls import path
from django.utils.translation import gettext_lazy

from django_jobs.admin.shared.stock import StockModelAdmin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

_FIELD = "jobs_panel"
_TITLE = gettext_lazy("Jobs")


class JobsPanel(StockModelAdmin):
    """Shows the runs that are about an object on the object's own page, live, and runs its jobs once more.

    Mix it into any `ModelAdmin`, before Django's or a theme's class. The panel comes last on the page; name
    "jobs_panel" in `fieldsets` to have it elsewhere. It is there for those who may view runs; its buttons are
    for those who may run jobs. The page costs two queries more, however many runs the object has.
    """

    #: Functions that the panel offers to run. Each is called with the object, and the run is about it.
    panel_jobs: Sequence[Callable[..., Any] | str] = ()

    @property
    def media(self) -> Media:
        """Add the panel's style sheets."""
        return super().media + Media(css={"all": ["django_jobs/admin.css", "django_jobs/panel.css"]})

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the panel by itself, which its buttons post to."""
        view = self.admin_site.admin_view(self.jobs_panel_view)
        return [
            path("<path:object_id>/jobs-panel/", view, name=self.jobs_panel_url_name),
            *super().get_urls(),
        ]

    @property
    def jobs_panel_url_name(self) -> str:
        """The name of that address, within the site."""
        return f"{self.opts.app_label}_{self.opts.model_name}_jobs_panel"

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Leave the panel out of the fields that make a fieldset, unless it is named there."""
        named = flatten_fieldsets([(None, {"fields": self.fields or ()})])
        return [name for name in super().get_fields(request, obj) if name != _FIELD or name in named]

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Add the panel for those who may see it, to objects that exist."""
        found = [*super().get_fieldsets(request, obj)]
        if obj is None or not may_view(request):
            return found
        # What `jobs_panel` is called without.
        obj._jobs_panel_request = request  # type: ignore[attr-defined]
        if _FIELD not in flatten_fieldsets(found):
            found.append((_TITLE, {"fields": [_FIELD], "classes": ["jobs-panel-fieldset"]}))
        return found

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Name the panel among what no form changes."""
        return [*(name for name in super().get_readonly_fields(request, obj) if name != _FIELD), _FIELD]

    def jobs_panel(self, obj: Model) -> str:
        """Show the panel of an object."""
        from django_jobs.admin.panel import view

        request = getattr(obj, "_jobs_panel_request", None)
        return "-" if request is None or obj.pk is None else view.render(self, request, obj)

    jobs_panel.short_description = _TITLE  # type: ignore[attr-defined]

    def jobs_panel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the panel by itself; on POST, run what a button says."""
        from django_jobs.admin.panel import view

        return view.respond(self, request, object_id)


def may_view(request: HttpRequest) -> bool:
    """Return whether somebody may view runs."""
    return any(request.user.has_perm(f"django_jobs.{verb}_run") for verb in ("view", "change"))
