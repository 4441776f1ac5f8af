"""Who may follow what happens to all jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

_PERMISSIONS = tuple(
    f"django_jobs.{verb}_{model}"
    for verb in ("view", "change")
    for model in ("run", "job", "worker", "queue")
)


def may_follow(user: User | AnonymousUser | None) -> bool:
    """Return whether a user is of the staff and may see any of our pages."""
    return bool(
        user is not None
        and user.is_active
        and user.is_staff
        and any(user.has_perm(permission) for permission in _PERMISSIONS)
    )
