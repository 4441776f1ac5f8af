"""Where pages find the sockets of this project, if it has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.handlers.asgi import ASGIRequest
from django.urls import get_script_prefix

from django_jobs.conf import jobs_settings

if TYPE_CHECKING:
    from django.http import HttpRequest

PREFIX = "ws/django-jobs/"

_is_routed = False


def note_routed() -> None:
    """Note that this process has routes of sockets."""
    global _is_routed
    _is_routed = True


def socket_url(request: HttpRequest | None) -> str:
    """Return what addresses of sockets begin with; empty where pages have to ask instead.

    As SOCKET_URL says. Without a word there, the sockets are where the page comes from, if that was
    served by ASGI in a process that has their routes.
    """
    chosen = jobs_settings().SOCKET_URL
    if chosen is not None:
        return chosen and chosen.rstrip("/") + "/"
    return get_script_prefix() + PREFIX if _is_routed and isinstance(request, ASGIRequest) else ""
