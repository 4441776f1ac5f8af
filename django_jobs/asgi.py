"""What Django does around its own requests, for ASGI applications of other frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Application = Callable[[Any, Any, Any], Awaitable[None]]


class DjangoConnections:
    """ASGI middleware that gives each request database connections of its own, and closes them after it.

    Without it all requests share one thread for Django's ORM and for the manager's async methods, and its
    connection stays broken once the database was away. As in `app.add_middleware(DjangoConnections)`.

    Args:
        app: The application.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, websocket or lifespan."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        async with ThreadSensitiveContext():
            try:
                await self._app(scope, receive, send)
            finally:
                # The thread ends with the context: there is nobody to keep them for.
                await sync_to_async(connections.close_all)()
