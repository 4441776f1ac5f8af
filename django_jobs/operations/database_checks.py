"""System checks that ask the jobs' database: what only it can say."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.db import connections

from django_jobs import conf
from django_jobs.models import Run, Worker, missing_tables
from django_jobs.storage import projects, table_health, transactions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

# Looks at whose connection serves a statement: a pooler in transaction mode may have several to choose from.
LOOKS = 5


def ask(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    """Yield what is wrong with a database that the jobs' tables are in."""
    yield from check_character_set(connection)
    yield from check_pooler(connection)
    yield from check_other_projects(connection)
    yield from check_table_health(connection)


def check_character_set(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    """W008: MariaDB's columns take any character."""
    if connection.vendor != "mysql":
        return
    table = Run._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT character_set_name FROM information_schema.columns WHERE table_schema = DATABASE() "
            "AND table_name = %s AND character_set_name IS NOT NULL AND character_set_name <> 'utf8mb4'",
            [table],
        )
        names = sorted(name for (name,) in cursor.fetchall())
    if names:
        yield Warning(
            f"The runs' table has the character set {', '.join(names)}, which has no emoji and no rare characters: "
            "a job with one in its arguments cannot be added, and one with one in its result fails.",
            hint=f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4; so with the other tables.",
            id="django_jobs.W008",
        )


def check_pooler_settings(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    """W006, without asking the database: where settings say that a pooler is there, they say how long work waits."""
    is_pooled = connection.vendor == "postgresql" and connection.settings_dict.get(
        "DISABLE_SERVER_SIDE_CURSORS"
    )
    if is_pooled and not _has_poll_seconds():
        yield Warning(
            "DISABLE_SERVER_SIDE_CURSORS says that the jobs' database is behind a pooler in transaction mode. It "
            "passes no notices on: processes find each other's work when they look, every "
            f"{conf.KEYS['POLL_SECONDS'].default:g} seconds.",
            hint='Set DJANGO_JOBS["POLL_SECONDS"] to what new work may wait, or give the jobs a direct connection.',
            id="django_jobs.W006",
        )


def _has_poll_seconds() -> bool:
    raw = getattr(settings, "DJANGO_JOBS", None)
    return isinstance(raw, dict) and "POLL_SECONDS" in raw


def check_pooler(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    """W006: a pooler in transaction mode is before the database, and the settings are not made for one."""
    if connection.vendor != "postgresql" or not shares_connections(connection):
        return
    lacks = []
    if not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        lacks.append(f'set DATABASES[{connection.alias!r}]["DISABLE_SERVER_SIDE_CURSORS"] = True')
    if not _has_poll_seconds():
        lacks.append(
            'set DJANGO_JOBS["POLL_SECONDS"] to what new work may wait '
            f"({conf.KEYS['POLL_SECONDS'].default:g} by default): it passes no notices on"
        )
    if lacks:
        yield Warning(
            "The jobs' database is behind a pooler in transaction mode, such as PgBouncer, and the settings are "
            "those of a direct connection.",
            hint=f"Behind it, {'; and '.join(lacks)}. Or give the jobs a direct connection.",
            id="django_jobs.W006",
        )


def shares_connections(connection: BaseDatabaseWrapper) -> bool:
    """Return whether clients of a PostgreSQL database take turns with its connections, as behind a pooler.

    A pooler tells its clients numbers of processes that it made up. In transaction mode two clients that are
    connected at the same time are then served by one process of PostgreSQL's.
    """
    with closing(_direct(connection.alias)) as first, closing(_direct(connection.alias)) as second:
        if _process_of(first) == _told_process(first):
            return False
        return any(_process_of(first) == _process_of(second) for _ in range(LOOKS))


def _direct(alias: str) -> BaseDatabaseWrapper:
    """Return a connection of its own: of Django's pool it would be somebody's."""
    made = connections.create_connection(alias)
    options = {name: value for name, value in made.settings_dict["OPTIONS"].items() if name != "pool"}
    made.settings_dict = {**made.settings_dict, "OPTIONS": options}
    return made


def _process_of(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (process,) = cursor.fetchone()
    return int(process)


def _told_process(connection: BaseDatabaseWrapper) -> int:
    raw: Any = connection.connection
    return int(raw.info.backend_pid)


def check_table_health(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    """W011: nothing keeps the database from removing old rows."""
    for _code, text, _count in table_health.problems(using=connection.alias):
        yield Warning(
            f"{text[0].upper()}{text[1:]}.", hint="See docs/performance.md, Tables.", id="django_jobs.W011"
        )


def check_other_projects(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    """W010: nobody else's workers are at work on the jobs' tables."""
    columns = {field.column for field in Worker._meta.local_fields}
    if missing_tables(connection.alias) or not columns <= _columns_there(connection):
        # Migrations are to be applied first, which W003 says.
        return
    found = projects.others(connection.alias, transactions.database_now(connection.alias))
    if refusal := projects.refusal(found):
        yield Warning(
            f"{refusal[0].upper()}{refusal[1:]}.",
            hint="See docs/deployment.md, Two projects in one database.",
            id="django_jobs.W010",
        )


def _columns_there(connection: BaseDatabaseWrapper) -> set[str]:
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, Worker._meta.db_table)
    return {column.name for column in described}
