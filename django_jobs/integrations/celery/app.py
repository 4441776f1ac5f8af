"""The project's Celery app, and what is wrong with it for us, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_jobs.conf import jobs_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRA = 'pip install "django-durable-jobs[celery]"'


def celery_app() -> Any:
    """Return the Celery app that runs are dispatched to.

    Raises:
        ImproperlyConfigured: Celery is not installed, or there is no such app.
    """
    try:
        import celery
    except ImportError as error:
        raise ImproperlyConfigured(f'ENGINES names "celery", which is not installed: {EXTRA}') from error
    path = jobs_settings().CELERY_APP
    if path is None:
        app = celery.current_app._get_current_object()
        if app.main == "default":
            # The one that Celery makes up where nobody made any.
            raise ImproperlyConfigured(
                'ENGINES names "celery", and no Celery app was made: import yours in the __init__.py of the '
                "project's package, or say where it is with CELERY_APP."
            )
        return app
    try:
        app = import_string(path.replace(":", "."))
    except ImportError as error:
        raise ImproperlyConfigured(f"CELERY_APP is {path!r}: {error}") from error
    if not isinstance(app, celery.Celery):
        raise ImproperlyConfigured(f"CELERY_APP is {path!r}, which is not a Celery app but {app!r}.")
    return app


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
