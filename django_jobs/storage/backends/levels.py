"""The priorities and queues of READY runs, for a database that does not skip from one to the next in its index."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from django.db.backends.base.base import BaseDatabaseWrapper

# All that READY runs were seen with in this process, in order.
_seen: tuple[int, ...] = (0,)
# The queues that they were in when it last looked.
_queues: tuple[str, ...] = ()


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


def ready_queues(connection: BaseDatabaseWrapper, where: str, params: Sequence[Any]) -> list[str]:
    """Return the queues that have READY runs.

    Asks for the next one behind each that is known. So all are found when nothing new is, in whatever order the
    database has their names.

    Args:
        connection: To the database.
        where: Which queues; a condition that begins with AND.
        params: Of that.
    """
    global _queues
    next_one = (
        f"(SELECT queue_name FROM {RUN_TABLE} FORCE INDEX (django_jobs_run_queue) "  # noqa: S608
        "WHERE status = 'READY' AND queue_name > %s ORDER BY queue_name LIMIT 1)"
    )
    while True:
        known = _queues
        found_ones = " UNION ALL ".join([next_one] * (len(known) + 1))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT queue_name, TRUE{where} FROM ({found_ones}) n",  # noqa: S608
                [*params, "", *known],
            )
            found = dict(cursor.fetchall())
        if found.keys() <= set(known):
            return [name for name, is_wanted in found.items() if is_wanted]
        # What another thread finds meanwhile may be forgotten, and is found again.
        _queues = tuple(found)
