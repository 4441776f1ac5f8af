"""Find the modules in which a project declares its jobs, and import them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import autodiscover_modules


def import_declarations() -> None:
    """Import each app's `jobs.py`, and where they name django_jobs, its `tasks.py` and the project's own.

    The project's own package is that of its settings; startproject does not make an app of it. `tasks.py`
    is a name of others, too: one that is about something else is not imported.
    """
    autodiscover_modules("jobs")
    for app in apps.get_app_configs():
        _import_if_ours(f"{app.name}.tasks")
    package = str(getattr(settings, "SETTINGS_MODULE", None) or "").partition(".")[0]
    if package and package not in {app.name for app in apps.get_app_configs()}:
        _import_if_ours(f"{package}.jobs")
        _import_if_ours(f"{package}.tasks")


def _import_if_ours(name: str) -> None:
    try:
        spec = find_spec(name)
    except (ImportError, AttributeError, ValueError):
        # Its parent is a module, not a package; or was never imported from a file.
        return
    if spec is None or spec.origin is None or name.startswith("django_jobs."):
        return
    source = Path(spec.origin)
    # Of a package `tasks/`, what counts is in its modules; it is for its `__init__` to import them.
    if source.suffix == ".py" and source.is_file() and b"django_jobs" in source.read_bytes():
        import_module(name)
