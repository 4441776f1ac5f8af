"""`{% load django_jobs %}`: a job's progress on a project's own pages, and what makes admin pages live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from django_jobs.live import address, states
from django_jobs.live.tokens import job_token
from django_jobs.models import Run, jobs_database

if TYPE_CHECKING:
    from django.db.models import Model

register = template.Library()


def _words() -> dict[str, str]:
    """Return what people read for each status of `State.status`."""
    return {
        "queued": _("Waiting"),
        "scheduled": pgettext("state of a job", "Scheduled"),
        "running": _("Running"),
        "stopping": _("Stopping"),
        "successful": _("Done"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
        "skipped": _("Skipped"),
        "paused": _("Paused"),
        "broken": _("Broken"),
    }


@register.inclusion_tag("django_jobs/job_progress.html", takes_context=True)
def job_progress(
    context: template.Context, job_id: str, *, result: bool = False, label: str = "", max_age: Any = None
) -> dict[str, Any]:
    """Show how a job stands, live, to whoever sees the page.

    Args:
        context: The template's.
        job_id: As `add_immediate_job` and its like returned it.
        result: Whether events on the page carry what the function returned.
        label: What screen readers call it; "Progress" if empty.
        max_age: A `timedelta` after which the page must be reloaded to go on.

    Raises:
        ImproperlyConfigured: The project has no address for it.
    """
    token = job_token(str(job_id), result=result, max_age=max_age)
    try:
        url = reverse("django_jobs:job", args=[token])
    except NoReverseMatch:
        raise ImproperlyConfigured(
            "{% job_progress %} needs an address to ask: add "
            'path("django-jobs/", include("django_jobs.live.urls")) to the urlpatterns of your project'
        ) from None
    state = states.of_job(str(job_id), using=jobs_database())
    words = _words()
    socket = address.socket_url(context.get("request"))
    return {
        "url": url,
        "socket": f"{socket}jobs/{token}/" if socket else "",
        "label": label or _("Progress"),
        "words": words,
        "word": words.get(state.status, _("There is no such job")),
        "state": states.public_state(state, result=False),
        "exists": state.exists,
        "csp_nonce": context.get("csp_nonce"),
    }


@register.inclusion_tag("admin/django_jobs/live.html", takes_context=True)
def live_updates(
    context: template.Context, watch: str | Model | None = None, source: str = ""
) -> dict[str, Any]:
    """Have the parts of an admin page, `data-live-part="..."`, kept up to date, and name the zone of its times.

    Args:
        context: The template's, with `request`.
        watch: What the parts show: a run, a topic such as "job:its-id", or by default everything.
        source: The address that has the parts, where that is not the page's own.
    """
    request = context.get("request")
    try:
        url = reverse("admin:django_jobs_changes", current_app=getattr(request, "current_app", None))
    except NoReverseMatch:
        # The project has other pages for runs: then these stay as they are.
        return {"url": "", "zone": timezone.get_current_timezone_name()}
    socket = address.socket_url(request)
    return {
        "url": url,
        "zone": timezone.get_current_timezone_name(),
        "socket": f"{socket}changes/" if socket else "",
        "watch": _topic(watch),
        "source": source,
        "csp_nonce": context.get("csp_nonce"),
    }


def _topic(watch: str | Model | None) -> str:
    if isinstance(watch, Run):
        return f"{states.RUN}{watch.pk}"
    return watch if isinstance(watch, str) and watch else states.CHANGES
