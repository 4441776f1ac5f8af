"""Parts of a page that are served alone, for pages that renew them: `?part=status` of the page's own URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

PARAMETER = "part"


class PartedAdmin(_ModelAdmin):
    """Serves parts of an object's page, and the rows of its list.

    On the page a part is an element with `data-live-part`, and its name.
    """

    # Of an object's page, by name: the method that shows it.
    parts: Mapping[str, str] = {}
    # Of the list: the template of the part that is called "results".
    results_template = "admin/django_jobs/results.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Serve the rows alone where they are asked for."""
        if PARAMETER not in request.GET:
            return super().changelist_view(request, extra_context)
        query = request.GET.copy()
        if query.pop(PARAMETER) != ["results"]:
            raise Http404
        # Links among the rows must lead to pages, and stock admin knows no such filter.
        request.GET = query  # type: ignore[assignment] # both are QueryDicts, one may be changed
        response: Any = super().changelist_view(request, extra_context)
        if hasattr(response, "template_name"):
            response.template_name = self.results_template
        return response  # type: ignore[no-any-return]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Serve one part alone where it is asked for."""
        if request.method != "GET" or PARAMETER not in request.GET:
            return super().change_view(request, object_id, form_url, extra_context)
        name = request.GET[PARAMETER]
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        if obj is None or name not in self.parts:
            raise Http404
        return HttpResponse(getattr(self, self.parts[name])(obj))
