"""Routes of sockets, for the project's `asgi.py`. They need the extra `websocket`."""

from __future__ import annotations

from typing import Any

from django.urls import path, re_path

from django_jobs.live import address

try:
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
except ImportError as error:
    raise ImportError(
        "live pages over WebSocket need Channels: pip install 'django-durable-jobs[websocket]'"
    ) from error

from django_jobs.live.consumers import ChangesConsumer, JobConsumer, UnknownAddress

websocket_urlpatterns = [
    path(f"{address.PREFIX}changes/", ChangesConsumer.as_asgi()),
    path(f"{address.PREFIX}jobs/<str:token>/", JobConsumer.as_asgi()),
]

address.note_routed()


def application(http: Any) -> Any:
    """Return an ASGI application that serves our sockets, and leaves requests to the project's.

    Pages of other hosts than ALLOWED_HOSTS are refused. A project that has sockets of its own puts
    `websocket_urlpatterns` among them instead, behind the same two wrappers.

    Args:
        http: What `get_asgi_application()` returned.
    """
    routes = URLRouter([*websocket_urlpatterns, re_path("", UnknownAddress.as_asgi())])
    return ProtocolTypeRouter(
        {"http": http, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(routes))}
    )
