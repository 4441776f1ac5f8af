"""What a run of the benchmarks says about the machine it ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any

from tests.benchmarks import databases

PACKAGES = (
    "Django", "APScheduler", "django-apscheduler", "psycopg", "mysqlclient", "celery", "huey", "redis",
    "procrastinate", "django-tasks-db",
)  # fmt: skip


def describe(kinds: list[str]) -> dict[str, Any]:
    """Return versions, cores, and how long a fixed piece of Python takes here."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "databases": {kind: databases.version(kind) for kind in kinds},
        "database_settings": {kind: _settings(kind) for kind in kinds},
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "reference_loop_ms": reference_loop_ms(),
    }


def reference_loop_ms() -> float:
    """Return the milliseconds of a fixed piece of Python: how fast this machine is just now."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        total = 0
        for number in range(1_000_000):
            total += number & 7
        taken.append((time.perf_counter() - began) * 1000)
    return median(taken)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _settings(kind: str) -> dict[str, str]:
    match kind:
        case "sqlite":
            return {"journal_mode": "WAL", "synchronous": "NORMAL", "transaction_mode": "IMMEDIATE"}
        case "postgresql":
            names = ("fsync", "synchronous_commit", "shared_buffers", "wal_sync_method")
            statement = "SHOW {}"
        case _:
            names = ("innodb_flush_log_at_trx_commit", "sync_binlog", "innodb_buffer_pool_size")
            statement = "SELECT @@{}"
    connection = databases.server(kind)
    try:
        cursor = connection.cursor()
        found = {}
        for name in names:
            cursor.execute(statement.format(name))
            found[name] = str(cursor.fetchone()[0])
        return found
    finally:
        connection.close()
