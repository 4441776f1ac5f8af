"""What runs came to, how long they ran and how long they waited: counts by time, function and queue."""

from __future__ import annotations

from django_jobs.storage.statistics import (
    Durations,
    Point,
    Summary,
    by_function,
    by_function_and_queue,
    by_queue,
    merge,
    series,
    totals,
)

__all__ = [
    "Durations",
    "Point",
    "Summary",
    "by_function",
    "by_function_and_queue",
    "by_queue",
    "merge",
    "series",
    "totals",
]
