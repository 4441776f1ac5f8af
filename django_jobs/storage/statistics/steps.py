"""Time is cut into steps: multiples of a length in the days of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from django_jobs.storage.statistics.rows import DAY

FIRST = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


def floor(moment: datetime, seconds: int, zone: tzinfo) -> datetime:
    """Return when the step began that a moment is in.

    Args:
        moment: Aware.
        seconds: Length of a step: a part of a day, or whole days.
        zone: Steps of less than a day are counted from its midnights, by its clocks; longer ones from one of them.

    Returns:
        A time of that zone.
    """
    local = moment.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if seconds >= DAY:
        # Several days from a day that is the same for everybody.
        return midnight - timedelta(days=(midnight.toordinal() - FIRST) % (seconds // DAY))
    passed = (local.hour * 60 + local.minute) * 60
    # By the clock: at a time that comes twice, the second one has the same step.
    return midnight + timedelta(seconds=passed - passed % seconds)


def begins(begin: float, end: float, seconds: int, zone: tzinfo, *, most: int) -> list[int]:
    """Return when each step begins, in seconds since 1970, from the one that has `begin` to the one before `end`.

    Raises:
        ValueError: There are more than `most`.
    """
    at = floor(datetime.fromtimestamp(begin, UTC), seconds, zone)
    found = [int(at.timestamp())]
    while True:
        # Of a zone, so by its clocks: a day may have 23 hours, or 25.
        at += timedelta(seconds=seconds)
        if at.timestamp() >= end:
            return found
        if at.timestamp() > found[-1]:
            found.append(int(at.timestamp()))
        if len(found) > most:
            raise ValueError(f"more than {most} points are too many: take a longer step")
