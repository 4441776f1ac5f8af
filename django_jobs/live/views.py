"""The addresses that pages poll where they have no socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, HttpResponseNotModified, JsonResponse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from django_jobs.live import states
from django_jobs.live.access import may_follow
from django_jobs.live.tokens import InvalidToken, read_token
from django_jobs.models import jobs_database

if TYPE_CHECKING:
    from django.http import HttpRequest


@require_safe
def job(request: HttpRequest, token: str) -> HttpResponse:
    """Answer with the state of a token's job, or with 304 if it is the one of the request's ETag."""
    try:
        ticket = read_token(token)
    except InvalidToken as error:
        return _private(JsonResponse({"error": str(error)}, status=403))
    state = states.of_job(ticket.job_id, result=ticket.result, using=jobs_database())
    if not state.exists:
        text = _("There is no such job, or its history was deleted.")
        return _private(JsonResponse({"error": text}, status=404))
    tag = f'"{state.digest}"'
    if request.headers.get("If-None-Match") == tag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = JsonResponse(states.public_state(state, result=ticket.result))
    response["ETag"] = tag
    return _private(response)


@require_safe
def changes(request: HttpRequest) -> HttpResponse:
    """Answer with the digests of what a page shows, each of which differs once that has changed."""
    if not may_follow(request.user):
        return _private(JsonResponse({"error": _("You may not see jobs.")}, status=403))
    topics = request.GET.getlist("watch") or [states.CHANGES]
    if not states.are_topics(topics):
        return _private(JsonResponse({"error": _("There is nothing like that to watch.")}, status=400))
    found = states.read(topics, using=jobs_database())
    return _private(JsonResponse({"states": {topic: state.digest for topic, state in found.items()}}))


def _private(response: HttpResponse) -> HttpResponse:
    add_never_cache_headers(response)
    # The token is in the address, and must not be sent to other sites.
    response["Referrer-Policy"] = "no-referrer"
    return response
