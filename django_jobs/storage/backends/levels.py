"""The priorities of runs that are ready, for a database that does not skip from one to the next in its index."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# All that READY runs were seen with in this process, in order.
_seen: tuple[int, ...] = (0,)


def priorities(connection: BaseDatabaseWrapper) -> tuple[int, ...]:
    """Return the priorities of READY runs, and perhaps some that no run has any more.

    Asks whether there are any between those that are known: each is one look into the index, while a DISTINCT
    walks all READY runs.
    """
    global _seen
    while True:
        known = _seen
        gaps = " UNION ALL ".join(_first_between(low, high) for low, high in pairwise([None, *known, None]))
        with connection.cursor() as cursor:
            cursor.execute(gaps)
            found = {priority for (priority,) in cursor.fetchall()}
        if not found:
            return known
        # What another thread finds meanwhile may be forgotten, and is found again.
        _seen = tuple(sorted({*known, *found}))


def _first_between(low: int | None, high: int | None) -> str:
    above = "" if low is None else f" AND priority > {low}"
    below = "" if high is None else f" AND priority < {high}"
    return (
        f"(SELECT priority FROM {RUN_TABLE} FORCE INDEX (django_jobs_run_ready) "  # noqa: S608
        f"WHERE status = 'READY'{above}{below} ORDER BY priority DESC LIMIT 1)"
    )
