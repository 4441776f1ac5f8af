"""The parts of the dashboard that look back over its range: outcomes, durations, functions, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from django_jobs.admin.dashboard import labels
from django_jobs.admin.dashboard.labels import number
from django_jobs.admin.shared import charts, display, times
from django_jobs.models import BIN_ENDS, Run, Status
from django_jobs.operations import failures

if TYPE_CHECKING:
    from django_jobs.admin.dashboard.viewer import Page
    from django_jobs.operations.failures import Failure
    from django_jobs.storage.statistics import Durations, Summary

FUNCTIONS = 8
PERCENTILES = (50, 90, 95, 99)


def durations(page: Page) -> dict[str, Any]:
    """Show how long runs took, and had waited."""
    total = page.overview.total
    return {
        "percentiles": PERCENTILES,
        "rows": [
            _percentiles("ran", _("Run time"), total.ran),
            _percentiles("waited", _("Waiting time"), total.waited),
        ],
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
    }


def _percentiles(name: str, label: str, found: Durations) -> dict[str, Any]:
    span = charts.span(found.bins)
    drawn = charts.bars([[(name, found.bins[index])] for index in span])
    ends = [display.duration(BIN_ENDS[min(index, len(BIN_ENDS) - 1)]) for index in span]
    return {
        "name": name,
        "label": label,
        "mean": display.duration(found.mean),
        "values": [(percent, display.duration(found.percentile(percent))) for percent in PERCENTILES],
        "columns": [
            {"box": column, "boxes": boxes, "title": _("up to %(time)s: %(count)s") % {"time": end, "count": number(count)}}
            for column, boxes, end, count in zip(
                drawn.columns, drawn.bars, ends, (found.bins[index] for index in span), strict=True
            )
        ],
        "first": ends[0] if ends else "",
        "last": ends[-1] if ends else "",
        "count": found.count,
    }  # fmt: skip


def functions(page: Page) -> dict[str, Any]:
    """Show the slowest functions, and those that fail most."""
    found = {name: summary for name, summary in page.overview.by_function.items() if name}
    slowest = [name for name, one in found.items() if one.ran.count]
    slowest.sort(key=lambda name: (-(found[name].ran.percentile(95) or 0), name))
    failing = [name for name, one in found.items() if one.outcomes.get(Status.FAILED)]
    failing.sort(key=lambda name: (-found[name].outcomes[Status.FAILED], name))
    longest = found[slowest[0]].ran.percentile(95) if slowest else None
    return {
        "slowest": [_function(page, name, found[name], longest or 0) for name in slowest[:FUNCTIONS]],
        "failing": [_function(page, name, found[name], longest or 0) for name in failing[:FUNCTIONS]],
    }


def _function(page: Page, name: str, summary: Summary, longest: float) -> dict[str, Any]:
    failed = summary.outcomes.get(Status.FAILED, 0)
    ended = summary.outcomes.get(Status.SUCCESSFUL, 0) + failed
    slow = summary.ran.percentile(95)
    within = page.overview.within
    return {
        "name": name,
        "url": page.viewer.list_url(Run, func=name, **within),
        "failed_url": page.viewer.list_url(Run, func=name, status=Status.FAILED, **within),
        "runs": number(ended),
        "failed": number(failed),
        "failed_percent": labels.percent(failed, ended),
        "failed_share": charts.share(failed, ended),
        "median": display.duration(summary.ran.percentile(50)),
        "slow": display.duration(slow),
        "share": charts.share(slow or 0, longest),
    }


def errors(page: Page) -> dict[str, Any]:
    """Show what fails where, how often and when last, with a way to its runs and to retry them all."""
    found = page.overview.failures
    return {
        "rows": [_error(page, one) for one in found.groups],
        "more": found.more,
        "unkeyed": found.unkeyed,
        "is_cut": found.is_cut,
        "count": number(failures.NEWEST_IN_BRIEF),
        "url": page.viewer.errors_url(range=page.range.name),
    }


def _failed(page: Page, **more: str) -> dict[str, str]:
    """Return the filters of runs that failed within the range."""
    return {"status": Status.FAILED.value, **page.overview.within, **more}


def _error(page: Page, one: Failure) -> dict[str, Any]:
    alike = _failed(page, failure=one.key)
    return {
        "exception": one.exception,
        "place": one.place,
        "func": one.func,
        "message": display.cut(one.message, 160),
        "url": page.viewer.list_url(Run, **alike),
        "retry_url": page.viewer.bulk_url(**alike, do="retry"),
        "run": page.viewer.link(Run, one.run_id, one.run_id),
        "count": number(one.count),
        "is_least": one.is_least,
        "last": times.relative(one.last_at, page.overview.now),
    }
