"""Who may do what with jobs and runs, besides Django's own permissions on rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.http import HttpRequest


def may_view_payload(request: HttpRequest) -> bool:
    """Whether arguments, results, logs and tracebacks are shown."""
    return _has(request, "view_payload")


def may_run(request: HttpRequest) -> bool:
    """Whether jobs may be run now; who may change jobs may."""
    return _has(request, "run_job") or _has(request, "change_job")


def may_manage(request: HttpRequest) -> bool:
    """Whether jobs may be paused, resumed and rescheduled; who may change jobs may."""
    return _has(request, "manage_job") or _has(request, "change_job")


def may_add(request: HttpRequest) -> bool:
    """Whether jobs may be added; who may only change those there are may not."""
    return _has(request, "manage_job") or _has(request, "add_job")


def _has(request: HttpRequest, codename: str) -> bool:
    return request.user.has_perm(f"django_jobs.{codename}")
