"""How pages show moments: exactly, or how far away they are, such as "in 5 minutes"."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

if TYPE_CHECKING:
    from datetime import tzinfo

    from django.utils.functional import _StrPromise
    from django.utils.safestring import SafeString

EMPTY = "-"
# What `JobContext.log` begins a line with.
_LINE_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", re.MULTILINE)
# Up to which distance a unit is counted in, its length, and its words before and after now. Each is one
# sentence of its own: many languages bend the unit by what stands before it.
_UNITS: tuple[tuple[timedelta, timedelta, _StrPromise, _StrPromise], ...] = (
    (
        timedelta(seconds=90),
        timedelta(seconds=1),
        ngettext_lazy("%(count)d second ago", "%(count)d seconds ago", "count"),
        ngettext_lazy("in %(count)d second", "in %(count)d seconds", "count"),
    ),
    (
        timedelta(minutes=90),
        timedelta(minutes=1),
        ngettext_lazy("%(count)d minute ago", "%(count)d minutes ago", "count"),
        ngettext_lazy("in %(count)d minute", "in %(count)d minutes", "count"),
    ),
    (
        timedelta(hours=36),
        timedelta(hours=1),
        ngettext_lazy("%(count)d hour ago", "%(count)d hours ago", "count"),
        ngettext_lazy("in %(count)d hour", "in %(count)d hours", "count"),
    ),
    (
        timedelta(days=60),
        timedelta(days=1),
        ngettext_lazy("%(count)d day ago", "%(count)d days ago", "count"),
        ngettext_lazy("in %(count)d day", "in %(count)d days", "count"),
    ),
    (
        timedelta(days=730),
        timedelta(days=30.44),
        ngettext_lazy("%(count)d month ago", "%(count)d months ago", "count"),
        ngettext_lazy("in %(count)d month", "in %(count)d months", "count"),
    ),
    (
        timedelta.max,
        timedelta(days=365.25),
        ngettext_lazy("%(count)d year ago", "%(count)d years ago", "count"),
        ngettext_lazy("in %(count)d year", "in %(count)d years", "count"),
    ),
)


def words(at: datetime, now: datetime | None = None) -> str:
    """Say how far away a moment is: "now", "in 5 minutes", "3 days ago"."""
    distance = at - (now or timezone.now())
    size = abs(distance)
    if size < timedelta(seconds=1):
        return _("now")
    for limit, unit, past, future in _UNITS:
        if size < limit:
            text = past if distance < timedelta(0) else future
            return str(text % {"count": round(size / unit)})
    raise AssertionError("the last unit has no limit")


def exact(at: datetime) -> str:
    """Show a moment to the second, as the language writes it, in the zone of the page."""
    local = timezone.localtime(at)
    return f"{formats.date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S} {local.tzname()}"


def short(at: datetime) -> str:
    """Show a moment to the minute in the zone of the page; the day only where it is not today."""
    local = timezone.localtime(at)
    clock = formats.time_format(local, "H:i")
    if local.date() == timezone.localdate():
        return clock
    return f"{formats.date_format(local, 'SHORT_DATE_FORMAT')} {clock}"


def plain(at: datetime) -> str:
    """Show a moment to the second in the zone of the page, which it names, for texts that stay."""
    local = timezone.localtime(at)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def in_zones(at: datetime, zone: tzinfo | None) -> str:
    """Show a moment as `both` does, and in a job's own zone where the clocks there say something else."""
    there = at.astimezone(zone) if zone else timezone.localtime(at)
    if there.utcoffset() == timezone.localtime(at).utcoffset():
        return both(at)
    return format_html('{} <span class="jobs-more">{} {}</span>', both(at), f"{there:%H:%M:%S}", zone)


def in_text(text: str) -> str:
    """Show the times at the beginning of a log's lines in the zone of the page."""
    return _LINE_TIME.sub(_local_time, text)


def _local_time(found: re.Match[str]) -> str:
    local = timezone.localtime(datetime.fromisoformat(found[0]))
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def relative(at: datetime | None, now: datetime | None = None) -> str:
    """Show how far away a moment is, with the exact time on hover; `-` for none."""
    if at is None:
        return EMPTY
    return _time(at, exact(at), words(at, now))


def moment(at: datetime | None) -> str:
    """Show a moment to the second, in the zone of the page; `-` for none."""
    if at is None:
        return EMPTY
    return _time(at, exact(at), f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}")


def both(at: datetime | None, now: datetime | None = None) -> str:
    """Show a moment to the second and, below it, how far away it is; `-` for none."""
    if at is None:
        return EMPTY
    return format_html('{}<span class="jobs-more">{}</span>', moment(at), words(at, now))


def _time(at: datetime, title: str, text: str) -> SafeString:
    return format_html(
        '<time class="jobs-moment" datetime="{}" title="{}">{}</time>', at.isoformat(), title, text
    )
