"""What is wrong with how a project has set up Celery for us, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from django_jobs.celery_engine.messages import celery_app

if TYPE_CHECKING:
    from collections.abc import Iterator


def complaints() -> Iterator[str]:
    """Yield what keeps runs from being dispatched or executed, one sentence each."""
    try:
        app: Any = celery_app()
    except ImproperlyConfigured as error:
        yield str(error)
        return
    if not {"json", "application/json"} & set(app.conf.accept_content):
        yield (
            f"The Celery app {app.main!r} accepts {', '.join(app.conf.accept_content)}, and our messages are JSON: "
            'add "json" to its accept_content.'
        )
    if app.conf.task_always_eager:
        yield (
            f"The Celery app {app.main!r} has task_always_eager, which our messages pass by: they go to its broker. "
            'In tests use ENGINES = {"...": "inline"} or django_jobs.testing.'
        )
