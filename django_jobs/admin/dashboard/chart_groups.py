"""What the chart draws: each measure, and its values step by step for each of the chosen groups."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs.admin.dashboard.labels import clock, number
from django_jobs.admin.shared import display
from django_jobs.models import Status, jobs_database
from django_jobs.operations import worker_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from django.utils.functional import _StrOrPromise

    from django_jobs.admin.dashboard.overview import Overview
    from django_jobs.storage.statistics import Point, Summary

# Groups with a colour of their own; the rest together is one more.
SHOWN = 5
OTHER = ""
OUTCOMES = (Status.FAILED, Status.SUCCESSFUL)


@dataclass(frozen=True, slots=True)
class Measure:
    """Something to draw.

    Attributes:
        label: What it is called.
        value: Its value in a step, from what ended in it and the seconds that the step has.
        is_time: Whether values are seconds, which do not add up: lines instead of bars.
    """

    label: _StrOrPromise
    value: Callable[[Summary, float], float]
    is_time: bool = False


# What waits is counted by queue alone, and apart from what ends.
DEPTH, STARTED = "depth", "started"
MEASURES: dict[str, Measure] = {
    "ended": Measure(gettext_lazy("Ended"), lambda summary, _seconds: summary.ended),
    STARTED: Measure(gettext_lazy("Started"), lambda summary, _seconds: summary.started),
    DEPTH: Measure(gettext_lazy("Waiting"), lambda _summary, _seconds: 0),
    # Runs that are running or waiting, on average: the time that they spent so, by the time there was.
    "running": Measure(gettext_lazy("Running on average"), lambda summary, seconds: summary.ran.seconds / seconds),
    "waiting": Measure(gettext_lazy("Waiting on average"), lambda summary, seconds: summary.waited.seconds / seconds),
    "wait-50": Measure(gettext_lazy("Median wait"), lambda summary, _seconds: summary.waited.percentile(50) or 0, is_time=True),
    "wait-95": Measure(gettext_lazy("95th percentile wait"), lambda summary, _seconds: summary.waited.percentile(95) or 0, is_time=True),
    "ran-50": Measure(gettext_lazy("Median run time"), lambda summary, _seconds: summary.ran.percentile(50) or 0, is_time=True),
    "ran-95": Measure(gettext_lazy("95th percentile run time"), lambda summary, _seconds: summary.ran.percentile(95) or 0, is_time=True),
}  # fmt: skip
GROUPS: dict[str, _StrOrPromise] = {
    "outcome": gettext_lazy("by outcome"),
    "queue": gettext_lazy("by queue"),
    "func": gettext_lazy("by function"),
    "worker": gettext_lazy("by worker"),
}
# The column of counts, and what the list of runs calls it.
_COLUMNS = {"queue": "queue_name", "func": "func"}
_FILTERS = {"queue": "queue", "func": "func", "worker": "worker_id"}


@dataclass(frozen=True, slots=True)
class Groups:
    """What is drawn.

    Attributes:
        names: Of the groups.
        rows: The value of each of them in each step.
        filters: Of the list of runs, for those of each group; None where it has none.
        note: What has to be said of the numbers.
    """

    names: list[str]
    rows: list[list[float]]
    filters: list[dict[str, str] | None] = field(default_factory=list)
    note: str = ""


def groups_of(overview: Overview) -> dict[str, _StrOrPromise]:
    """Return what the chart can tell apart: one queue is not told by queues."""
    return {name: label for name, label in GROUPS.items() if overview.queue_name is None or name != "queue"}


def groups(overview: Overview, what: str, by: str) -> Groups:
    """Return a measure of `MEASURES` by one of `GROUPS`."""
    measure = MEASURES[what]
    if what == DEPTH:
        return _depths(overview, by)
    if by == "outcome" and what == "ended":
        rows = [
            [float(point.summary.outcomes.get(status, 0)) for status in OUTCOMES] for point in overview.points
        ]
        names = [str(display.STATES[status]) for status in OUTCOMES]
        return Groups(names, rows, [{"status": status.value} for status in OUTCOMES])
    if by == "outcome":
        values = _values(overview.points, measure, overview)
        if what == STARTED:
            values = _added(values, _running(overview, "").get("", ()))
        return Groups([str(measure.label)], [[value] for value in values], [{}])
    return _by_worker(overview, measure) if by == "worker" else _by_column(overview, what, by)


def _by_column(overview: Overview, what: str, by: str) -> Groups:
    measure, points = MEASURES[what], overview.points_by(_COLUMNS[by])
    found = {name: _values(series, measure, overview) for name, series in points.items()}
    totals = {name: float(sum(point.summary.ended for point in series)) for name, series in points.items()}
    if what == STARTED:
        for name, values in _running(overview, by).items():
            found[name] = _added(found.get(name, [0.0] * len(values)), values)
        totals = {name: sum(values) for name, values in found.items()}
    return _shown(found, totals, measure, by)


def _by_worker(overview: Overview, measure: Measure) -> Groups:
    found = worker_points.by_worker(
        overview.begins,
        overview.until,
        is_past=overview.range.until is not None,
        queue_name=overview.queue_name,
        using=jobs_database(),
    )
    values = {name: _values(series, measure, overview) for name, series in found.points.items()}
    totals = {
        name: float(sum(max(point.summary.ended, point.summary.started) for point in series))
        for name, series in found.points.items()
    }
    note = ""
    if found.since is not None:
        note = _("Workers are told apart among the last %(count)s runs that were added, since %(time)s.") % {
            "count": number(worker_points.NEWEST),
            "time": clock(found.since, with_day=True),
        }
    return _shown(values, totals, measure, "worker", labels=found.names, note=note)


def _shown(
    found: Mapping[str, Sequence[float]],
    totals: Mapping[str, float],
    measure: Measure,
    by: str,
    *,
    labels: Mapping[str, str] | None = None,
    note: str = "",
) -> Groups:
    """Choose the groups with most in them, and add the others up where that says something."""
    first = sorted((name for name in found if name), key=lambda name: (-totals[name], name))[:SHOWN]
    series = {name: list(found[name]) for name in first}
    if not measure.is_time and (rest := [name for name in found if name not in first]):
        series[OTHER] = [sum(values) for values in zip(*(found[name] for name in rest), strict=True)]
    names = [(labels or {}).get(name, name) or _("Others") for name in series]
    rows = [list(values) for values in zip(*series.values(), strict=True)]
    return Groups(names, rows, [{_FILTERS[by]: name} if name else None for name in series], note)


def _depths(overview: Overview, by: str) -> Groups:
    """Return how much waited: in the queues with most of it and in the others, or in all together."""
    total = overview.depths
    if by != "queue":
        return Groups([str(MEASURES[DEPTH].label)], [[float(depth)] for depth in total], [{}])
    found = overview.depths_by_queue()
    first = sorted(found, key=lambda name: (-max(found[name], default=0), name))[:SHOWN]
    series = {name: found[name] for name in first}
    if len(found) > SHOWN:
        # Each is the most of its step, so these may be a little less than what is left of the total.
        shown = [sum(values) for values in zip(*series.values(), strict=True)]
        series[OTHER] = [max(0, whole - part) for whole, part in zip(total, shown, strict=True)]
    names = [name or _("Others") for name in series]
    rows = zip(*series.values(), strict=True) if series else [()] * len(total)
    filters = [{"queue": name} if name else None for name in series]
    return Groups(names, [[float(value) for value in values] for values in rows], filters)


def _values(points: Iterable[Point], measure: Measure, overview: Overview) -> list[float]:
    seconds = overview.range.step.total_seconds()
    return [measure.value(point.summary, seconds) for point in points]


def _running(overview: Overview, by: str) -> dict[str, list[float]]:
    """Count when those began that still run, which are counted with the others as they end."""
    found: dict[str, list[float]] = {}
    for started_at, queue_name, func in overview.started:
        name = {"queue": queue_name, "func": func}.get(by, "")
        values = found.setdefault(name, [0.0] * len(overview.begins))
        index = _step(overview.begins, started_at)
        if index >= 0 and started_at < overview.until:
            values[index] += 1
    return found


def _step(begins: Sequence[datetime], at: datetime) -> int:
    return bisect_right(begins, at) - 1


def _added(values: Sequence[float], more: Sequence[float]) -> list[float]:
    return [one + other for one, other in zip(values, more, strict=True)] if more else list(values)
