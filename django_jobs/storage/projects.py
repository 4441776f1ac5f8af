"""Whose processes work on these tables: two projects in one database break each other's runs and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings

from django_jobs.codec import signatures
from django_jobs.models import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

WAY_OUT = (
    "give each project a database or a schema of its own; where only the key is new, add the old one to "
    "SECRET_KEY_FALLBACKS"
)


def own() -> dict[str, str]:
    """Return what a worker's row says of its project: a name for people, and a mark of its SECRET_KEY."""
    # Not of all: settings may be configured without a module, and a project be without requests.
    path = getattr(settings, "ROOT_URLCONF", None) or getattr(settings, "SETTINGS_MODULE", None) or ""
    return {"name": str(path).partition(".")[0][:100], "mark": signatures.key_marks()[0]}


def other_name(details: Any) -> str | None:
    """Return the name of the project that a worker's row says it is of, if that is not this one.

    What is signed with one of this project's keys is its own, so a key that is being replaced makes no other
    project. Two projects with one key cannot be told apart.
    """
    project = details.get("project") if isinstance(details, dict) else None
    if not isinstance(project, dict) or project.get("mark") in {None, *signatures.key_marks()}:
        return None
    return str(project.get("name") or "unnamed")


def others(using: str, now: datetime) -> dict[str, str]:
    """Return other projects whose workers live on these tables, with the host of one each."""
    live = Worker.objects.using(using).filter(stopped_at__isnull=True, lease_expires_at__gte=now)
    found = ((other_name(details), host) for details, host in live.values_list("details", "host"))
    return {name: host for name, host in found if name is not None}


def refusal(found: Mapping[str, str]) -> str:
    """Return why a process does not work on tables that other projects work on; empty where there are none."""
    if not found:
        return ""
    names = ", ".join(f"{name} on {host}" for name, host in sorted(found.items()))
    return (
        f"workers of another project, or with another SECRET_KEY ({names}), work on the same tables, and each would "
        f"break the other's runs and schedules: {WAY_OUT}"
    )
