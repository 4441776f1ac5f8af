"""Numbers and times as the dashboard writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import formats, timezone

if TYPE_CHECKING:
    from datetime import datetime

# Parts of an axis, with a label at each end of them.
PARTS_OF_AXIS = 4


def number(count: int) -> str:
    """Show a number with its separators."""
    return formats.number_format(count, use_l10n=True, force_grouping=True)


def rate(per_minute: float) -> str:
    """Show how many there are per minute."""
    return formats.number_format(round(per_minute, 1), 1)


def percent(part: float, whole: float) -> str:
    """Show a part in percent of a whole, without the sign; 0 where there is none."""
    return formats.number_format(round(100 * part / whole, 1) if whole else 0, 1)


def axis(begins_at: datetime, ends_at: datetime, *, with_day: bool) -> list[str]:
    """Return the labels of an axis of time."""
    length = ends_at - begins_at
    return [
        clock(begins_at + length * index / PARTS_OF_AXIS, with_day=with_day)
        for index in range(PARTS_OF_AXIS + 1)
    ]


def clock(at: datetime, *, with_day: bool) -> str:
    """Show the time of the day, and the day where it matters."""
    local = timezone.localtime(at)
    time = formats.time_format(local, "H:i")
    return f"{formats.date_format(local, 'MONTH_DAY_FORMAT')} {time}" if with_day else time
