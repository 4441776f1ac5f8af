"""Values as a raw cursor has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from typing import Any


def read_time(value: datetime | str, zone: tzinfo = UTC) -> datetime:
    """Return an aware time: a raw one is text on SQLite, and without a zone on SQLite and MariaDB.

    Args:
        value: As a cursor has it.
        zone: That of the connection, which a time without one is in.
    """
    if zone is not UTC:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    if isinstance(value, str):
        # All in one call, which is faster than `replace`; what came from a child process has a zone.
        return datetime.fromisoformat(value if value[-6:-5] == "+" else f"{value}+00:00")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def read_json(value: Any) -> Any:
    """Return what a JSON column holds: text on SQLite and MariaDB."""
    return json.loads(value) if isinstance(value, str) else value
