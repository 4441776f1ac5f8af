"""How the tables are stored: what PostgreSQL is told of them, and what keeps a database from tidying up."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError, connections

from django_jobs.models import Pace, RunTag, Step
from django_jobs.storage.tables import (
    JOB_TABLE,
    LOG_TABLE,
    ROLLUP_TABLE,
    RUN_TABLE,
    TRIGGER_TABLE,
    WORKER_TABLE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

# A transaction that is older keeps all rows that were changed since.
OLD_SECONDS = 3600
# A table is bloated from so many dead rows on, if they are also this share of the living.
DEAD_ROWS, DEAD_SHARE = 50_000, 0.1
# And SQLite's write-ahead log from so many bytes on.
LOG_BYTES = 256 * 1024 * 1024
# What was found is so old at most where many ask: it changes slowly.
LOOK_SECONDS = 60.0
# By database: when a process looked last, and what it found.
_looks: dict[str, tuple[float, list[tuple[str, str, int]]]] = {}

# Vacuumed after so many dead rows, whatever the size of the table: the default waits for a fifth of it, which
# is a million dead entries at the head of each index beside five million runs. And without rests.
_EARLY = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_delay": "0",
}
_SMALL = {**_EARLY, "autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "1000"}
#: By table. Where rows are updated without a change of what is indexed, `fillfactor` leaves room on their page, so
#: that the update is HOT: progress of runs, heartbeats, counts.
SETTINGS: dict[str, dict[str, str]] = {
    RUN_TABLE: {"fillfactor": "90", **_EARLY},
    WORKER_TABLE: {"fillfactor": "50", **_SMALL},
    ROLLUP_TABLE: {"fillfactor": "70", **_SMALL},
    JOB_TABLE: {"fillfactor": "80", **_SMALL},
    TRIGGER_TABLE: {"fillfactor": "80", **_SMALL},
    LOG_TABLE: _SMALL,
    Step._meta.db_table: {"fillfactor": "85", **_EARLY},
    Pace._meta.db_table: _SMALL,
    RunTag._meta.db_table: _EARLY,
}


# How old the oldest transaction is, in seconds, and how the rows of tables were updated.
_OLDEST = (
    "SELECT EXTRACT(EPOCH FROM CLOCK_TIMESTAMP() - MIN(began)) FROM ("
    "SELECT xact_start AS began FROM pg_stat_activity WHERE datname = CURRENT_DATABASE() "
    "AND pid <> PG_BACKEND_PID() AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) "
    "AND backend_type = 'client backend' "
    "UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = CURRENT_DATABASE()) open"
)
_OLDEST_OF_MARIADB = (
    "SELECT TIMESTAMPDIFF(SECOND, MIN(trx_started), NOW()) FROM information_schema.innodb_trx "
    "WHERE trx_mysql_thread_id <> CONNECTION_ID()"
)
_UPDATES = (
    "SELECT relname, n_tup_upd, n_tup_hot_upd, n_dead_tup, n_live_tup FROM pg_stat_user_tables "
    "WHERE schemaname = CURRENT_SCHEMA() AND relname = ANY(%s)"
)


class Bloat(NamedTuple):
    """What one of our tables has that nobody can see."""

    table: str
    dead: int
    live: int


class Updates(NamedTuple):
    """How the rows of a table were updated since its statistics were reset."""

    table: str
    updates: int
    # Of those, the ones that touched no index.
    hot: int
    dead: int
    live: int


def statements(*, reset: bool = False) -> list[str]:
    """Return the statements that tell PostgreSQL how to store the tables, or that undo them."""
    found = []
    for table, settings in SETTINGS.items():
        if reset:
            found.append(f'ALTER TABLE "{table}" RESET ({", ".join(settings)})')
        else:
            said = ", ".join(f"{name} = {value}" for name, value in settings.items())
            found.append(f'ALTER TABLE "{table}" SET ({said})')
    return found


def apply(*, reset: bool = False, using: str) -> None:
    """Execute `statements`, each in a transaction of its own: it waits for a lock that no claim is kept by."""
    with connections[using].cursor() as cursor:
        for statement in statements(reset=reset):
            cursor.execute(statement)


def updates(*, using: str) -> list[Updates]:
    """Return how PostgreSQL updated the rows of our tables so far."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"{_UPDATES} ORDER BY n_tup_upd DESC", [list(SETTINGS)])
        return [Updates(*row) for row in cursor.fetchall()]


def oldest_seconds(*, using: str) -> float | None:
    """Return the age of the oldest transaction that keeps rows from being removed, if that is old; else None.

    Of PostgreSQL, sessions of other roles are seen only with the rights of `pg_read_all_stats`; of MariaDB with
    PROCESS.
    """
    connection = connections[using]
    statement = {"postgresql": _OLDEST, "mysql": _OLDEST_OF_MARIADB}.get(connection.vendor)
    if statement is None:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            (seconds,) = cursor.fetchone()
    except DatabaseError:
        if connection.vendor == "postgresql":
            raise
        # Without the right to look at other sessions.
        return None
    return _if_old(seconds)


def _if_old(seconds: Any) -> float | None:
    return float(seconds) if seconds is not None and seconds > OLD_SECONDS else None


def oldest_and_bloated(*, using: str) -> tuple[float | None, list[Bloat]]:
    """Return `oldest_seconds`, and which of our tables have many rows that nobody can see; with one query.

    Of PostgreSQL alone are tables known.
    """
    if connections[using].vendor != "postgresql":
        return oldest_seconds(using=using), []
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT o.seconds, u.* FROM ({_OLDEST}) o (seconds) LEFT JOIN ({_UPDATES}) u ON TRUE",  # noqa: S608
            [list(SETTINGS)],
        )
        rows = cursor.fetchall()
    tables = [Updates(*row[1:]) for row in rows if row[1] is not None]
    return _if_old(rows[0][0]), bloated(tables)


def bloated(tables: Iterable[Updates]) -> list[Bloat]:
    """Return which tables have many rows that nobody can see."""
    return [
        Bloat(one.table, one.dead, one.live)
        for one in tables
        if one.dead > DEAD_ROWS and one.dead > DEAD_SHARE * one.live
    ]


def log_bytes(*, using: str) -> int:
    """Return the size of SQLite's write-ahead log, if that is large: a reader keeps it from being written back."""
    connection = connections[using]
    if connection.vendor != "sqlite":
        return 0
    size = _size_of(f"{connection.settings_dict['NAME']}-wal")
    return size if size > LOG_BYTES else 0


def _size_of(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def problems(*, using: str) -> Iterator[tuple[str, str, int]]:
    """Yield the code, text and count of what keeps the tables from being tidy, with at most one query."""
    seconds, tables = oldest_and_bloated(using=using)
    if seconds is not None:
        text = (
            f"a transaction is open for {seconds / 3600:.1f} hours: rows that were changed since cannot be removed, "
            "and claims read them. End it, or have the database end such ones (see docs/performance.md)"
        )
        yield "old_transaction", text, 1
    if size := log_bytes(using=using):
        text = (
            f"the write-ahead log of the database has {size // 1024 // 1024:,} MB: a reader that does not end keeps it "
            "from being written back"
        )
        yield "old_transaction", text, 1
    for table, dead, live in tables:
        text = f"{table} has {dead:,} dead rows beside {live:,}: vacuum it, and see `manage.py jobs tune`"
        yield "bloated_table", text, dead


def recent_problems(*, using: str) -> list[tuple[str, str, int]]:
    """Return what `problems` found, asking the database at most once a minute for each process."""
    at, found = _looks.get(using, (-math.inf, []))
    if time.monotonic() - at > LOOK_SECONDS:
        found = list(problems(using=using))
        _looks[using] = time.monotonic(), found
    return found


def is_tunable(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a database takes settings for single tables."""
    return connection.vendor == "postgresql"
