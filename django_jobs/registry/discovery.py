"""Find the modules in which a project declares its jobs, and import them."""

from __future__ import annotations

import logging
import sysconfig
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.conf import settings

from django_jobs.texts import describe
from django_jobs.texts.printable import printable

logger = logging.getLogger(__name__)

# By app: why its jobs.py could not be imported.
_failures: dict[str, str] = {}


def import_declarations() -> None:
    """Import each app's `jobs.py`, and where they name django_jobs, its `tasks.py` and the project's own.

    The project's own package is that of its settings; startproject does not make an app of it. `tasks.py`
    is a name of others, too: one that is about something else is not imported.

    An installed package's module that cannot be imported is logged, and kept for `failures`: it may be about
    something else, and the project cannot mend it.

    Raises:
        Exception: Whatever a module of the project's own raises.
    """
    _failures.clear()
    for app in apps.get_app_configs():
        if _exists(f"{app.name}.jobs"):
            _import(f"{app.name}.jobs")
    for app in apps.get_app_configs():
        _import_if_ours(f"{app.name}.tasks")
    package = _own_package()
    if package and package not in {app.name for app in apps.get_app_configs()}:
        _import_if_ours(f"{package}.jobs")
        _import_if_ours(f"{package}.tasks")


def _own_package() -> str:
    return str(getattr(settings, "SETTINGS_MODULE", None) or "").partition(".")[0]


def failures() -> dict[str, str]:
    """Return the modules of installed packages that could not be imported, each with a sentence."""
    return dict(_failures)


def _import(name: str) -> None:
    try:
        import_module(name)
    except Exception as error:  # a module may raise anything; of the project's own it is raised again
        if not _is_installed(name):
            error.add_note(
                f"django_jobs imports {name} as Django starts, to find the jobs that it declares: mend the module, "
                "or rename it if it is about something else."
            )
            raise
        _failures[name] = (
            f"{name} cannot be imported, so none of its jobs are declared: {describe.in_a_line(error)}"
        )
        logger.warning("%s", printable(_failures[name]))


def _is_installed(name: str) -> bool:
    """Return whether a module is of an installed package, and not of the project itself.

    A project may be installed, too: what shares its first name with the settings is the project's.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None or name.partition(".")[0] == _own_package():
        return False
    path = Path(spec.origin)
    paths = sysconfig.get_paths()
    return any(path.is_relative_to(paths[root]) for root in ("purelib", "platlib")) or not {
        "site-packages", "dist-packages"
    }.isdisjoint(path.parts)  # fmt: skip


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        # Its parent is a module, not a package; or was never imported from a file.
        return False


def _import_if_ours(name: str) -> None:
    if name.startswith("django_jobs.") or not _exists(name):
        return
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return
    source = Path(spec.origin)
    # Of a package `tasks/`, what counts is in its modules; it is for its `__init__` to import them.
    if source.suffix == ".py" and source.is_file() and b"django_jobs" in source.read_bytes():
        _import(name)
