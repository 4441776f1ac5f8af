"""Both sides of executors: the call for a run, in the worker's process or in one that knows nothing of Django yet."""

from __future__ import annotations

import contextvars
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_jobs.execution.attempt import Attempt, Begun

# The attempts that wait for their call, by a key that begins with this process's id.
here: dict[str, Attempt] = {}

# The process whose connections these are: a fork inherits its parent's, and must not speak on them.
_connected_pid = os.getpid()
# Not freed: some drivers would end the parent's session then.
_inherited: list[Any] = []


def execute(key: str, run: str, names: Mapping[str, str]) -> Begun | str:
    """Execute a run.

    Args:
        key: In `here`, where this is the process that claimed it.
        run: A `ClaimedRun` as JSON.
        names: Of the databases, by alias.

    Returns:
        What `Attempt.execute` does in the process that claimed it; in another one the outcome as JSON.
    """
    if key.startswith(f"{os.getpid()}/"):
        return _execute_here(here[key])
    _set_up(names)
    # Only now may models be imported.
    from django_jobs.execution.engines.executor_child import execute_in_child

    return execute_in_child(run)


def _execute_here(attempt: Attempt) -> Begun:
    from django_jobs.storage import connections

    connections.claim_context()
    connections.tidy()
    try:
        return contextvars.copy_context().run(attempt.execute)
    finally:
        connections.end_transactions()
        # Nobody says when a thread of the executor's is idle.
        connections.give_back()


def _set_up(names: Mapping[str, str]) -> None:
    global _connected_pid
    import django
    from django.apps import apps
    from django.conf import settings
    from django.db import connections

    if apps.ready:
        if _connected_pid != os.getpid():
            for connection in connections.all(initialized_only=True):
                _inherited.append(connection.connection)
                connection.connection = None
            _connected_pid = os.getpid()
        return
    os.environ["DJANGO_JOBS_AUTOSTART"] = "0"
    for alias, name in names.items():
        settings.DATABASES[alias]["NAME"] = name
    django.setup()
