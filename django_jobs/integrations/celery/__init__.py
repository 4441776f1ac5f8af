"""The engine whose runs are executed by a Celery app's workers: their messages say which, the database what.

This part knows nothing of Celery until a queue is Celery's.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from django_jobs.conf import queues_of
from django_jobs.worker import components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.components import Component


def make_dispatcher(using: str, queues: Sequence[str]) -> Component | None:
    """Return what tells Celery's workers of their runs; None where no served queue is Celery's."""
    dispatched = [name for name in queues_of("celery") if not queues or name in queues]
    if not dispatched:
        return None
    from django_jobs.integrations.celery.dispatcher import Dispatcher

    return Dispatcher(using, dispatched)


def connect_where_used() -> None:
    """Register our task with Celery, if a queue is Celery's; that it is not installed is `check`'s to say."""
    components.register(make_dispatcher)
    if queues_of("celery") and find_spec("celery") is not None:
        importlib.import_module("django_jobs.integrations.celery.task")
