"""The keys that failed runs share, from the index of them alone: what it costs follows how many keys there are."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections

from django_jobs.storage.tables import RUN_TABLE

_OF_KEYS = f"FROM {RUN_TABLE} r WHERE r.status = 'FAILED'"
# From each key to the next one: no database skips along an index by itself for a DISTINCT.
_STATEMENT = (
    "WITH RECURSIVE found (error_key, place) AS ("  # noqa: S608
    f"SELECT * FROM (SELECT r.error_key, 1 {_OF_KEYS} AND r.error_key IS NOT NULL ORDER BY r.error_key LIMIT 1) a "
    f"UNION ALL SELECT (SELECT r.error_key {_OF_KEYS} AND r.error_key > found.error_key "
    "ORDER BY r.error_key LIMIT 1), place + 1 "
    "FROM found WHERE found.error_key IS NOT NULL AND place <= %s) "
    "SELECT error_key, "
    f"(SELECT r.id {_OF_KEYS} AND r.error_key = found.error_key ORDER BY r.id LIMIT 1), "
    f"(SELECT r.id {_OF_KEYS} AND r.error_key = found.error_key ORDER BY r.id DESC LIMIT 1) "
    "FROM found WHERE error_key IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class KeyExtent:
    """The first and the newest of the FAILED runs that share a key."""

    error_key: str
    first_id: int
    last_id: int


def extents(most: int, *, using: str) -> tuple[list[KeyExtent], bool]:
    """Return the keys of FAILED runs with one query, and whether there are more of them.

    Args:
        most: Keys to return.
        using: Alias of the database.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_STATEMENT, [most])
        found = [KeyExtent(*row) for row in cursor.fetchall() if row[1] is not None]
    return found[:most], len(found) > most
