"""The panel of an object, and what its buttons do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from django_jobs.admin.panel import rows
from django_jobs.admin.panel.mixin import may_view
from django_jobs.admin.shared import addresses, display, permissions
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError
from django_jobs.live.states import ABOUT
from django_jobs.models import Job, Run, jobs_database
from django_jobs.registry.about import reference
from django_jobs.registry.functions import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model
    from django.http import HttpRequest

    from django_jobs.admin.panel.mixin import JobsPanel


def respond(page: JobsPanel, request: HttpRequest, object_id: str) -> HttpResponse:
    """Answer with the panel by itself; on POST, run what a button says.

    Args:
        page: The admin of the object's model.
        request: Of somebody of the staff.
        object_id: As it is in the address.
    """
    obj = page.get_object(request, unquote(object_id))
    if not may_view(request) or not page.has_view_or_change_permission(request, obj):
        raise PermissionDenied
    if obj is None:
        raise Http404
    if request.method != "POST":
        return HttpResponse(render(page, request, obj))
    if not permissions.may_run(request):
        raise PermissionDenied
    said, is_good = _run(page, request, obj, request.POST.get("jobs_panel_run", ""))
    if "live" in request.POST:
        return HttpResponse(render(page, request, obj, said=said))
    page.message_user(request, said, messages.SUCCESS if is_good else messages.WARNING)
    return HttpResponseRedirect(addresses.of_row(page.admin_site, page.model, obj.pk))


def render(page: JobsPanel, request: HttpRequest, obj: Model, *, said: str = "") -> str:
    """Return the panel of an object as HTML.

    Args:
        page: The admin of the object's model.
        request: Of somebody who may view runs.
        obj: The object, which is saved.
        said: What a button has done.
    """
    about = reference(obj)
    url = reverse(f"{page.admin_site.name}:{page.jobs_panel_url_name}", args=[quote(obj.pk)])
    shown = {
        "url": url,
        "said": said,
        "topic": f"{ABOUT}{about}",
        "rows": rows.of_object(page.admin_site, about, using=jobs_database()),
        "offered": {name: name.rpartition(":")[2] for name in _offered(page)},
        "may_run": permissions.may_run(request),
        "every": display.list_link(page.admin_site, _("All runs"), about=about),
    }
    # With the request, for what context processors know, such as a nonce.
    return render_to_string("admin/django_jobs/panel.html", shown, request=request)


def _run(page: JobsPanel, request: HttpRequest, obj: Model, what: str) -> tuple[str, bool]:
    kind, _colon, name = what.partition(":")
    manager = get_job_manager()
    if kind == "func" and (function := _offered(page).get(name)):
        manager.using(about=obj).add_immediate_job(function, obj)
        label = name.rpartition(":")[2]
    elif kind == "job" and (label := _name_of(reference(obj), name)):
        try:
            manager.run_job(name)
        except (JobLookupError, ValueError) as error:
            return str(error), False
    else:
        return _("It is gone."), False
    page.log_change(request, obj, _("Ran the job %s.") % label)
    return _("%s runs now.") % label, True


def _offered(page: JobsPanel) -> dict[str, Callable[..., object] | str]:
    return {path_of(function)[0]: function for function in page.panel_jobs}


def _name_of(about: str, job_id: str) -> str:
    """Return what the job of an object is called; empty where it is not about it."""
    using = jobs_database()
    for model, key in ((Job, "pk"), (Run, "job_id")):
        rows_of_it = model.objects.using(using).filter(**{key: job_id, "about": about})
        name = rows_of_it.order_by().values_list("name", flat=True).first()
        if name is not None:
            return str(name)
    return ""
