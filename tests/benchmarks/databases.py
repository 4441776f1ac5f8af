"""Databases of a measurement's own: made before it, dropped after it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("sqlite", "postgresql", "mariadb")
WORDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
ROOT = Path(__file__).parent.parent.parent


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return Django's settings of a database: defaults, and WAL on SQLite."""
    match kind:
        case "sqlite":
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": name,
                "OPTIONS": {
                    "timeout": 20,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                },
            }
        case "postgresql":
            return {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": name,
                "HOST": os.environ.get("PGHOST") or "127.0.0.1",
                "PORT": os.environ.get("PGPORT") or "5432",
                "USER": os.environ.get("PGUSER") or "postgres",
                "PASSWORD": os.environ.get("PGPASSWORD", ""),
            }
        case "mariadb":
            return {
                "ENGINE": "django.db.backends.mysql",
                "NAME": name,
                "HOST": os.environ.get("MARIADB_HOST") or "127.0.0.1",
                "PORT": os.environ.get("MARIADB_PORT") or "3306",
                "USER": os.environ.get("MARIADB_USER") or "root",
                "PASSWORD": os.environ.get("MARIADB_PASSWORD", ""),
                "OPTIONS": {"charset": "utf8mb4"},
            }
        case _:
            raise ValueError(f"the database must be one of {', '.join(KINDS)}, not {kind!r}")


def server(kind: str) -> Any:
    """Connect to a database server, in autocommit, with the driver alone."""
    about = describe(kind, "")
    if kind == "postgresql":
        import psycopg

        return psycopg.connect(
            host=about["HOST"], port=about["PORT"], user=about["USER"], password=about["PASSWORD"],
            dbname="postgres", autocommit=True, connect_timeout=3,
        )  # fmt: skip
    import MySQLdb

    return MySQLdb.connect(
        host=about["HOST"], port=int(about["PORT"]), user=about["USER"], password=about["PASSWORD"],
        autocommit=True, connect_timeout=3,
    )  # fmt: skip


def why_not(kind: str) -> str:
    """Return why a kind of database cannot be measured here; empty when it can."""
    if kind == "sqlite":
        return ""
    try:
        server(kind).close()
    except Exception as error:  # noqa: BLE001 - whatever its driver raises, or that it is not there
        return f"{type(error).__name__}: {error}".strip()
    return ""


def version(kind: str) -> str:
    """Return what the database says of itself."""
    if kind == "sqlite":
        import sqlite3

        return sqlite3.sqlite_version
    connection = server(kind)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT version()")
        return str(cursor.fetchone()[0]).split(" on ")[0]
    finally:
        connection.close()


@contextmanager
def empty(kind: str) -> Iterator[str]:
    """Make an empty database for the time being; yield its name."""
    if kind == "sqlite":
        directory = tempfile.mkdtemp(prefix="bench_jobs_")
        try:
            yield str(Path(directory) / "db.sqlite3")
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return
    name = f"bench_{uuid.uuid4().hex[:12]}"
    _on_server(kind, f"CREATE DATABASE {name}")
    try:
        yield name
    finally:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        _on_server(kind, f"DROP DATABASE {name}{force}")


def _on_server(kind: str, statement: str) -> None:
    connection = server(kind)
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()


@contextmanager
def migrated(kind: str, *, two: bool = False) -> Iterator[dict[str, str]]:
    """Make one database, or two, with our tables; yield the environment that names them."""
    with empty(kind) as name, empty(kind) as other:
        env = environment(kind, name)
        for each in (name, other) if two else (name,):
            command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
            subprocess.run(command, env={**env, "BENCH_NAME": each}, check=True, cwd=ROOT)
        yield {**env, "BENCH_OTHER_NAME": other} if two else env


def environment(kind: str, name: str) -> dict[str, str]:
    """Return the environment of a process that works on a database."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("DJANGO_JOBS_")},
        "BENCH_KIND": kind,
        "BENCH_NAME": name,
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
