"""APScheduler's scheduler, which django-apscheduler's models import in every process, imported at less cost."""

from __future__ import annotations

import functools
import importlib
import sys
from importlib import metadata
from typing import Any

SCHEDULER = "apscheduler.schedulers.base"


def import_scheduler() -> None:
    """Import it with one search of all installed packages for plugins, where it would do three.

    The searches take most of the time of its import, and the more the more packages are installed. What
    they find stays the same, and `importlib.metadata` is left as it was.
    """
    if SCHEDULER in sys.modules:
        return
    search = metadata.entry_points
    search_once = functools.cache(search)

    def entry_points(**params: Any) -> Any:
        return search_once().select(**params)

    metadata.entry_points = entry_points
    try:
        scheduler = importlib.import_module(SCHEDULER)
    finally:
        metadata.entry_points = search
    scheduler.entry_points = search  # type: ignore[attr-defined]
