"""The names of time zones, where they mean the same on every host."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from datetime import tzinfo


def zone_key(zone: tzinfo | None) -> str | None:
    """Return the name of a zone in the IANA database; None for a zone without one."""
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)  # zoneinfo's, pytz's
    if not isinstance(key, str):
        return None
    try:
        ZoneInfo(key)
    except (LookupError, ValueError, OSError):
        return None  # such as "local", which means something else on the next host
    return key
