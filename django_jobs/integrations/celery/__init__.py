"""The engine whose runs are executed by a Celery app's workers: their messages say which, the database what.

This part knows nothing of Celery until a queue is Celery's.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec

from django_jobs.conf import queues_of


def connect_where_used() -> None:
    """Register our task with Celery, if a queue is Celery's; that it is not installed is `check`'s to say."""
    if queues_of("celery") and find_spec("celery") is not None:
        importlib.import_module("django_jobs.integrations.celery.task")
