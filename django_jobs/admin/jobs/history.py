"""The newest runs of jobs: their outcomes as a strip, how long they took as a picture, and a table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from django_jobs.admin.shared import addresses, charts, display, times
from django_jobs.models import Job, Run, Status, jobs_database
from django_jobs.operations.run_query import LARGE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import AdminSite
    from django.utils.safestring import SafeString

# Runs of the picture and of the numbers beside it, of the strip, of the table, and of a strip in the list of jobs.
RUNS, STRIP, TABLE, RECENT = 50, 20, 10, 10
# Besides its colour, a sign for each outcome: not everybody sees the colours.
_SIGNS = {
    "SUCCESSFUL": "✓",
    "FAILED": "✕",
    "CANCELLED": "⊘",
    "SKIPPED": "»",
    "RUNNING": "▸",
    "stopping": "▸",
}
# The picture has room for so many bars at least: a single one would be as wide as the page.
_LEAST_BARS = 25


def newest(job: Job) -> list[Run]:
    """Return a job's newest runs, the newest first; asked for once."""
    known: list[Run] | None = getattr(job, "_newest_runs", None)
    if known is None:
        known = list(
            Run.objects.using(jobs_database())
            .filter(job_id=job.pk)
            .order_by("-pk")
            .defer(*LARGE_COLUMNS)[:RUNS]
        )
        job._newest_runs = known  # kept with the row, for one page
    return known


def recent(jobs: Sequence[Job]) -> dict[str, list[Run]]:
    """Return the newest runs of each of some jobs, the oldest first, with two queries.

    Each of them is looked up in the index of its job, so they cost the same with any history.
    """
    using = jobs_database()
    runs = Run.objects.using(using).filter(job_id=OuterRef("pk")).order_by("-pk").values("pk")
    places = {f"run_{place}": Subquery(runs[place : place + 1]) for place in range(RECENT)}
    rows = Job.objects.using(using).filter(pk__in=[job.pk for job in jobs]).annotate(**places)
    ids = [pk for row in rows.values_list(*places) for pk in row if pk is not None]
    found: dict[str, list[Run]] = {}
    for run in Run.objects.using(using).filter(pk__in=ids).order_by("pk").defer(*LARGE_COLUMNS):
        found.setdefault(run.job_id, []).append(run)
    return found


def strip(site: AdminSite, runs: Sequence[Run], *, with_share: bool = False) -> SafeString:
    """Show the outcomes of some runs, the oldest first, with the share of those that succeeded."""
    return display.rendered(
        "job/strip.html", cells=[_cell(site, run) for run in runs], share=share(runs) if with_share else ""
    )


def share(runs: Sequence[Run]) -> str:
    """Return how many of those that succeeded or failed did succeed, in percent; empty where none did either."""
    ended = [run.status for run in runs if run.status in {Status.SUCCESSFUL, Status.FAILED}]
    return _("%d%%") % (100 * ended.count(Status.SUCCESSFUL) // len(ended)) if ended else ""


def history(site: AdminSite, job: Job) -> SafeString:
    """Show the newest runs, and a link to all."""
    runs = newest(job)
    return display.rendered(
        "job/history.html",
        strip=strip(site, list(reversed(runs[:STRIP]))) if runs else "",
        trend=_trend(site, [run for run in reversed(runs) if _seconds(run) is not None]),
        table=display.run_rows(site, runs[:TABLE]),
        every=display.list_link(site, _("All runs of this job"), job_id=str(job.pk)) if runs else "",
    )


def _cell(site: AdminSite, run: Run) -> dict[str, Any]:
    state = display.run_state(run)
    at = run.finished_at or run.started_at or run.enqueued_at
    words = [display.word(state), times.words(at), times.exact(at)]
    if _seconds(run) is not None:
        words.insert(1, display.run_duration(run))
    return {
        "url": addresses.of_row(site, Run, run.pk),
        "state": state.lower(),
        "sign": _SIGNS.get(state, "·"),
        "title": ", ".join(words),
    }


def _seconds(run: Run) -> float | None:
    """Return how long a finished run took; None for one that did not run, or has not ended."""
    if run.started_at is None or run.finished_at is None or run.status == Status.SKIPPED:
        return None
    return max(0.0, (run.finished_at - run.started_at).total_seconds())


def _trend(site: AdminSite, runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return the bars of the picture; None where there are too few runs to compare."""
    if len(runs) < 2:
        return None
    took = [_seconds(run) or 0.0 for run in runs]
    empty = max(0, _LEAST_BARS - len(runs))
    stacks = [[(run.status.lower(), max(seconds, 1e-6))] for run, seconds in zip(runs, took, strict=True)]
    drawn = charts.bars([*([] for _ in range(empty)), *stacks])
    ended = [run.finished_at for run in runs if run.finished_at]
    return {
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
        "lines": drawn.lines,
        "ticks": [display.duration(tick) for tick in drawn.ticks],
        "bars": [
            {
                "box": box,
                "column": column,
                "url": addresses.of_row(site, Run, run.pk),
                "title": f"{display.duration(seconds)}, {times.words(run.finished_at)}",  # type: ignore[arg-type] # it has ended
            }
            for run, seconds, (box,), column in zip(
                runs, took, drawn.bars[empty:], drawn.columns[empty:], strict=True
            )
        ],
        "labels": [times.short(ended[0]), times.short(ended[-1])]
        if not empty
        else ["", times.short(ended[-1])],
        "summary": _("median %(median)s, longest %(longest)s, last %(last)s")
        % {
            "median": display.duration(statistics.median(took)),
            "longest": display.duration(max(took)),
            "last": display.duration(took[-1]),
        },
    }
