"""A job's newest runs: their outcomes as a strip, how long they took as a picture, and a table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from django_jobs.admin.shared import display, times
from django_jobs.models import Run, Status
from django_jobs.operations.run_query import LARGE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import AdminSite
    from django.utils.safestring import SafeString

    from django_jobs.models import Job

RUNS = 20
# Besides its colour, a sign for each outcome: not everybody sees the colours.
_SIGNS = {
    "SUCCESSFUL": "✓",
    "FAILED": "✕",
    "CANCELLED": "⊘",
    "SKIPPED": "»",
    "RUNNING": "▸",
    "stopping": "▸",
}
# Of the picture, in its own units: one bar with its gap, and the height that the longest run has.
_BAR, _HEIGHT = 10, 40


def newest(job: Job) -> list[Run]:
    """Return a job's newest runs, the newest first; asked for once."""
    known: list[Run] | None = getattr(job, "_newest_runs", None)
    if known is None:
        known = list(Run.objects.filter(job_id=job.pk).order_by("-pk").defer(*LARGE_COLUMNS)[:RUNS])
        job._newest_runs = known  # kept with the row, for one page
    return known


def history(site: AdminSite, job: Job) -> SafeString:
    """Show the newest runs, and a link to all."""
    runs = newest(job)
    return display.rendered(
        "job/history.html",
        cells=[_cell(site, run) for run in reversed(runs)],
        trend=_trend([run for run in reversed(runs) if _seconds(run) is not None]),
        table=display.run_rows(site, runs),
        every=display.list_link(site, _("All runs of this job"), job_id=str(job.pk)) if runs else "",
    )


def _cell(site: AdminSite, run: Run) -> dict[str, Any]:
    state = display.run_state(run)
    at = run.finished_at or run.started_at or run.enqueued_at
    words = [str(display.STATES.get(state, state)), times.words(at), times.exact(at)]
    if _seconds(run) is not None:
        words.insert(1, display.run_duration(run))
    return {
        "url": _url(site, run),
        "state": state.lower(),
        "sign": _SIGNS.get(state, "·"),
        "title": ", ".join(words),
    }


def _url(site: AdminSite, run: Run) -> str:
    try:
        return reverse(f"{site.name}:django_jobs_run_change", args=[quote(run.pk)])
    except NoReverseMatch:
        return ""


def _seconds(run: Run) -> float | None:
    """Return how long a finished run took; None for one that did not run, or has not ended."""
    if run.started_at is None or run.finished_at is None or run.status == Status.SKIPPED:
        return None
    return max(0.0, (run.finished_at - run.started_at).total_seconds())


def _trend(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return the bars of the picture; None where there are too few runs to compare."""
    if len(runs) < 2:
        return None
    took = [_seconds(run) or 0.0 for run in runs]
    longest = max(took)
    heights = [max(1, round(_HEIGHT * seconds / longest)) if longest else 1 for seconds in took]
    return {
        "width": _BAR * len(runs),
        "height": _HEIGHT,
        "bars": [
            {
                "x": _BAR * index + 1,
                "y": _HEIGHT - height,
                "width": _BAR - 2,
                "height": height,
                "state": run.status.lower(),
                "title": f"{display.duration(seconds)}, {times.words(run.finished_at)}",  # type: ignore[arg-type] # it has ended
            }
            for index, (run, seconds, height) in enumerate(zip(runs, took, heights, strict=True))
        ],
        "summary": _("median %(median)s, longest %(longest)s, last %(last)s")
        % {
            "median": display.duration(statistics.median(took)),
            "longest": display.duration(longest),
            "last": display.duration(took[-1]),
        },
    }
