"""The chart of the dashboard and of a queue: one measure over the range, by outcome, queue, function or worker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import formats
from django.utils.translation import gettext as _

from django_jobs.admin.dashboard.chart_groups import DEPTH, MEASURES, STARTED, groups, groups_of
from django_jobs.admin.dashboard.labels import axis, clock, number
from django_jobs.admin.shared import charts, display
from django_jobs.models import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_jobs.admin.dashboard.viewer import Page


def chart(page: Page) -> dict[str, Any]:
    """Draw the chosen measure by the chosen groups, with a table of the numbers and links to the runs."""
    choices = groups_of(page.overview)
    what, by = page.viewer.choice("chart", MEASURES), page.viewer.choice("by", choices)
    measure = MEASURES[what]
    found = groups(page.overview, what, by)
    begins = page.overview.begins
    rows = found.rows or [[] for _at in begins]
    is_long = page.range.length > timedelta(days=1)
    ends = [*begins[1:], begins[-1] + page.range.step]
    show = (lambda value: display.duration(value)) if measure.is_time else _amount
    drawn = (
        charts.lines(rows) if measure.is_time else charts.bars([list(enumerate(values)) for values in rows])
    )
    columns: list[dict[str, Any]] = []
    for at, end, values, box, boxes in zip(begins, ends, rows, drawn.columns, drawn.bars, strict=True):
        url = _runs_url(page, what, at, end)
        columns.append(
            {
                "label": clock(at, with_day=is_long),
                "values": [show(value) for value in values],
                "readings": [
                    f"{show(value)} {name}" for value, name in zip(values, found.names, strict=True)
                ],
                "is_zero": not any(values),
                "is_partial": end > page.overview.now,
                "url": url,
                "box": box,
                "boxes": [
                    {"box": one, "url": _runs_url(page, what, at, end, found.filters[int(one.name)]) or url}
                    for one in boxes
                ],
            }
        )
    return {
        "drawn": drawn,
        "columns": columns,
        "is_partial": columns[-1]["is_partial"],
        "paths": _paths(drawn, is_partial=columns[-1]["is_partial"]),
        "series": [
            {"index": index, "label": label, "total": _total(what, [row[index] for row in rows])}
            for index, label in enumerate(found.names)
        ],
        "note": found.note,
        "is_ended": what == "ended" and by == "outcome",
        "ticks": [show(tick) for tick in drawn.ticks],
        "labels": axis(begins[0], ends[-1], with_day=is_long),
        "measures": [(name, one.label) for name, one in MEASURES.items()],
        "groups": choices.items(),
        "kept": page.viewer.choices(chart="", by="").items(),
        "title": page.range.each if what == "ended" else measure.label,
        "what": what,
        "by": by,
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
    }


def _paths(drawn: charts.Bars, *, is_partial: bool) -> list[dict[str, Any]]:
    """Return the lines; the way to a step that is not over is one of its own."""
    found = []
    for index, path in enumerate(drawn.paths if isinstance(drawn, charts.Lines) else ()):
        points = path.split(" ")
        last = points[-2:] if is_partial and len(points) > 1 else []
        found.append(
            {"index": index, "points": " ".join(points[: len(points) - bool(last)]), "is_partial": False}
        )
        if last:
            found.append({"index": index, "points": " ".join(last), "is_partial": True})
    return found


def _runs_url(
    page: Page, what: str, at: datetime, end: datetime, of_group: dict[str, str] | None = None
) -> str:
    """Return where a step leads: to the runs that ended or started in it, or to what waits now.

    Nobody knows what waited.
    """
    more = dict(of_group or {})
    if page.overview.queue_name is not None:
        more["queue"] = page.overview.queue_name
    if what == DEPTH:
        return page.viewer.list_url(Run, status="due", **more) if end > page.overview.now else ""
    name = "started" if what == STARTED else "ended"
    within = {f"{name}_from": at.isoformat(), f"{name}_until": end.isoformat()}
    return page.viewer.list_url(Run, **more, **within)


def _total(what: str, values: Sequence[float]) -> str:
    """Return what the legend says of a group: how much it was, or of what waits how much at most."""
    if MEASURES[what].is_time:
        return ""
    return _("at most %s") % _amount(max(values, default=0)) if what == DEPTH else _amount(sum(values))


def _amount(value: float) -> str:
    return number(int(value)) if value == int(value) else formats.number_format(round(value, 1), 1)
