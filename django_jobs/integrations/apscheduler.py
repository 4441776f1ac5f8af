"""APScheduler's scheduler, which django-apscheduler's models import in every process, imported at less cost."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import Any

SCHEDULER = "apscheduler.schedulers.base"
KINDS = ("trigger", "executor", "jobstore")


class Plugins(dict[str, Any]):
    """The plugins of one kind by their names in `add_job(trigger="...")`, searched for with the first question.

    Args:
        kind: One of `KINDS`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._group: str | None = f"apscheduler.{kind}s"

    def __contains__(self, name: object) -> bool:
        self._search()
        return super().__contains__(name)

    def __missing__(self, name: str) -> Any:
        self._search()
        return dict(self)[name]

    def _search(self) -> None:
        if self._group is not None:
            self.update({found.name: found for found in metadata.entry_points(group=self._group)})
            self._group = None


def import_scheduler() -> None:
    """Import it without its three searches of all installed packages for plugins.

    They take most of the time of its import, the more the more packages are installed, and next to no process
    asks for a plugin. `importlib.metadata` is left as it was.
    """
    if SCHEDULER in sys.modules:
        return
    search = metadata.entry_points
    groups = {f"apscheduler.{kind}s" for kind in KINDS}

    def entry_points(**params: Any) -> Any:
        return () if params.get("group") in groups else search(**params)

    metadata.entry_points = entry_points
    try:
        scheduler: Any = importlib.import_module(SCHEDULER)
    finally:
        metadata.entry_points = search
    scheduler.entry_points = search
    for kind in KINDS:
        setattr(scheduler.BaseScheduler, f"_{kind}_plugins", Plugins(kind))
