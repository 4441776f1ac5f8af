"""Django's Tasks framework and its backport, which have the same names.

`django.tasks`, and the `django-tasks` backport for earlier versions of Django. A project may have both.
Which one a run belongs to is decided by its Task, and neither is imported for runs that are no tasks.
No models are imported here: a Task may be declared before all apps are loaded.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from django_jobs.integrations.django_tasks import FRAMEWORKS


@dataclass(frozen=True, slots=True)
class Framework:
    """The modules of one framework."""

    base: Any
    exceptions: Any
    signals: Any
    backends: Any

    @property
    def invalid_task(self) -> type[Exception]:
        """What is raised for a Task that cannot be enqueued; its name differs."""
        name = "InvalidTask" if hasattr(self.exceptions, "InvalidTask") else "InvalidTaskError"
        found: type[Exception] = getattr(self.exceptions, name)
        return found


@cache
def framework(name: str) -> Framework:
    """Return one of FRAMEWORKS.

    Raises:
        ImportError: It is not installed.
    """
    parts = ("base", "exceptions", "signals", "backends.base")
    return Framework(*(importlib.import_module(f"{name}.{part}") for part in parts))


def framework_of(task: object) -> Framework:
    """Return the framework that a Task belongs to.

    Raises:
        TypeError: It is no Task.
    """
    for name in FRAMEWORKS:
        # A Task's own framework has been imported; the other may be half imported, by another thread.
        if isinstance(task, getattr(sys.modules.get(f"{name}.base"), "Task", ())):
            return framework(name)
    raise TypeError(f"expected a Task, not {type(task).__name__}")


def as_json(value: object) -> Any:
    """Return a value after its way through JSON, as the framework wants arguments and results.

    Raises:
        TypeError: It cannot be JSON.
    """
    name = next(name for name in FRAMEWORKS if f"{name}.base" in sys.modules)
    return json.loads(json.dumps(framework(name).base.normalize_json(value)))
