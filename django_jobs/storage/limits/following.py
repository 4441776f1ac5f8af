"""The next runs of a key begin in the transaction that ends others: no notice and no claim in between.

As many as have ended of the key, and no more than its limit has room for: so no more of it run after that
transaction than before, whoever else claims or ends runs of it meanwhile, and nobody need count them.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections

from django_jobs.registry.limits import digest
from django_jobs.storage import fences
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.limits import edits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from django_jobs.storage.backends.claiming import Scope
    from django_jobs.storage.records import ClaimedRun

# What goes by more than how many run.
_OTHER_ORDERS = ("in_order", "every", "by_turns")


@dataclass(slots=True)
class Follower:
    """A worker that takes the runs that follow those whose ends it writes.

    Attributes:
        worker_id: Of its row.
        scope: Which runs it claims.
        room: How many it takes at most.
        fence: Of what it takes.
        runs: What it has taken; committed with the ends.
        uncounted: Those of them that carry another limit than the run that they follow, and are to be counted
            as after a claim.
    """

    worker_id: str
    scope: Scope
    room: int
    fence: int = field(default_factory=fences.new_fence)
    runs: list[ClaimedRun] = field(default_factory=list)
    uncounted: list[ClaimedRun] = field(default_factory=list)


_follower: ContextVar[Follower | None] = ContextVar("follower", default=None)


@contextmanager
def followed_by(follower: Follower) -> Iterator[None]:
    """Have a worker take the runs that follow those whose ends are written meanwhile."""
    token = _follower.set(follower)
    try:
        yield
    finally:
        _follower.reset(token)


def follow(
    limits: Mapping[str, Mapping[str, Any]], ended: Mapping[str, int], *, using: str
) -> dict[str, int]:
    """Claim the next runs of some keys for whoever ends runs of them, in the transaction that ends those.

    Args:
        limits: Keys, each with its limit as it holds now.
        ended: How many runs of each have ended.
        using: Alias of the database.

    Returns:
        How many of each key; keys without are left out.
    """
    follower = _follower.get()
    if follower is None:
        return {}
    room = follower.room
    wanted: dict[str, tuple[int, int]] = {}
    for key, limit in limits.items():
        if room > 0 and limit["concurrency"] and limit.keys().isdisjoint(_OTHER_ORDERS):
            wanted[key] = limit["concurrency"], min(room, ended[key])
            room -= wanted[key][1]
    if not wanted:
        return {}
    # Once: what it takes is known by its fence.
    follower.room = 0
    backend = backend_of(connections[using])
    taken: dict[str, int] = {}
    for run in backend.follow(follower.worker_id, follower.fence, follower.scope, wanted):
        limit = edits.applied(run.options["limit"])
        key = digest(limit["key"])
        taken[key] = taken.get(key, 0) + 1
        (follower.runs if limit == limits[key] else follower.uncounted).append(run)
    return taken
