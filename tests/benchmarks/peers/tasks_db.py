"""django-tasks-db, a database backend of Django Tasks."""

from __future__ import annotations

try:
    from django.tasks import task
except ImportError:  # Django before 6.0
    from django_tasks import task

from tests.benchmarks.peers import functions


@task
def nothing() -> None:
    """Do nothing."""


@task
def note_time(path: str) -> None:
    """Write the monotonic time to a file."""
    functions.note_time(path)


def enqueue_nothing() -> None:
    """Enqueue one no-op."""
    nothing.enqueue()


def enqueue_begin(path: str) -> None:
    """Enqueue the first job."""
    note_time.enqueue(path)


enqueue_end = enqueue_begin
