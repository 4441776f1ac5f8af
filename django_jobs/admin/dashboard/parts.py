"""The dashboard's parts, each a function that returns what its template shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.admin.dashboard import chart, now, past, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django_jobs.admin.dashboard.viewer import Page

# In the order of the page. Each is rendered by the template of its name, into `data-live-part`.
PARTS: Mapping[str, Callable[[Page], dict[str, Any]]] = {
    "problems": problems.problems,
    "counts": now.counts,
    "chart": chart.chart,
    "running": now.running,
    "firings": now.firings,
    "queues": now.queues,
    "errors": past.errors,
    "workers": now.workers,
    "functions": past.functions,
    "durations": past.durations,
}
