"""Moments, days, lengths of time and time zones as JSON has them, and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from django_jobs.codec.zones import zone_key
from django_jobs.exceptions import UnknownTrigger

MAX_INTERVAL = timedelta(days=36525)  # 100 years


def encode_moment(moment: datetime | None) -> str | None:
    """Write a moment as RFC 9557 does: `2026-11-24T03:30:00+01:00[Europe/Berlin]`."""
    if moment is None:
        return None
    key = zone_key(moment.tzinfo)
    return moment.isoformat() + (f"[{key}]" if key else "")


def decode_moment(text: str) -> datetime:
    """Return the moment that `encode_moment` wrote."""
    stamp, _, key = text.removesuffix("]").partition("[")
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        raise UnknownTrigger(f"a stored trigger has a naive datetime, {text}")
    if not key:
        return moment
    wall = moment.replace(tzinfo=ZoneInfo(key))
    # The second of two equal times when the clocks go back differs by its offset only.
    return wall if wall.utcoffset() == moment.utcoffset() else wall.replace(fold=1)


def decode_optional(text: str | None) -> datetime | None:
    """Return the moment that `encode_moment` wrote, or None."""
    return None if text is None else decode_moment(text)


def encode_day(day: date | None) -> str | None:
    """Write a day as ISO 8601 does."""
    if isinstance(day, datetime):
        day = day.date()
    return None if day is None else day.isoformat()


def in_seconds(length: timedelta) -> int | float:
    """Return a length in seconds, as an int where they are whole."""
    seconds = length.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def check_in_calendar(moment: datetime) -> None:
    """Refuse a moment that UTC has no year for.

    Raises:
        ValueError: It is before year 1 or after year 9999 in UTC.
    """
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(
            f"{moment.isoformat()} is out of the calendar, which in UTC is years 1 to 9999"
        ) from None


def check_aware(name: str, moment: datetime) -> None:
    """Refuse a datetime of which nobody knows which moment it is.

    Raises:
        ValueError: It is naive.
    """
    if moment.utcoffset() is None:
        raise ValueError(
            f"{moment.isoformat()} is naive, so it is unclear which moment is meant; "
            f"pass django.utils.timezone.make_aware({name})"
        )


def zone_name(zone: tzinfo) -> str:
    """Return the name of a zone, or its offset: `Europe/Berlin`, `+01:00`.

    Raises:
        UnknownTrigger: It has neither.
    """
    key = zone_key(zone)
    if key is not None:
        return key
    if isinstance(zone, timezone):
        # "+00:00" would also be read, but every page shows this one.
        return "UTC" if zone == UTC else datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
    raise UnknownTrigger(
        f"the time zone {zone!r} has no name that can be stored; "
        "use zoneinfo.ZoneInfo('Area/City') or datetime.timezone.utc"
    )


# Names of whatever zone a host has: another host would fire at another time.
_HOSTS_OWN = {"localtime", "posixrules", "factory", "local"}


def check_zone(zone: tzinfo) -> None:
    """Refuse a zone that means something else on another host.

    Raises:
        ValueError: It is one.
    """
    key = zone_key(zone) or ""
    if key.lower() in _HOSTS_OWN:
        raise ValueError(
            f"the time zone {key!r} is another one on each host; name the one that you mean, as 'Europe/Berlin'"
        )


def named_zone(name: str) -> tzinfo:
    """Return the zone of a `zone_name`.

    Raises:
        UnknownTrigger: This host does not know it.
    """
    if name == "UTC":
        return UTC
    if name[:1] in {"+", "-"}:
        zone = datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo
        if zone is not None:
            return zone
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise UnknownTrigger(f"the time zone {name!r} is not known on this host") from error


def zone_of(zone: str | tzinfo) -> tzinfo:
    """Return the zone that a caller chose, as the clock will read it.

    Raises:
        ValueError: It is not known, or another one on each host.
        TypeError: It is neither a name nor a tzinfo.
    """
    if not isinstance(zone, str | tzinfo):
        raise TypeError(f"the time zone must be a name, as 'Europe/Berlin', or a tzinfo, not {zone!r}")
    found = named_zone(zone_name(zone) if isinstance(zone, tzinfo) else zone)
    check_zone(found)
    return found
