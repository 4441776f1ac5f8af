"""Counts of runs: written as runs end (`counting`), and read by pages and exporters (`reading`); and how many wait (`depth`)."""

from __future__ import annotations

from django_jobs.storage.statistics.counting import (
    flush,
    flush_if_due,
    note_attempts,
    note_ended,
    seconds_until_due,
)
from django_jobs.storage.statistics.depth import deepest, deepest_by_queue
from django_jobs.storage.statistics.reading import (
    NOTHING,
    Durations,
    MonthTotals,
    Point,
    Summary,
    by_function,
    by_function_and_queue,
    by_queue,
    merge,
    month_so_far,
    totals,
)
from django_jobs.storage.statistics.series import series, series_by, step_times
from django_jobs.storage.statistics.steps import floor

__all__ = [
    "NOTHING",
    "Durations",
    "MonthTotals",
    "Point",
    "Summary",
    "by_function",
    "by_function_and_queue",
    "by_queue",
    "deepest",
    "deepest_by_queue",
    "floor",
    "flush",
    "flush_if_due",
    "merge",
    "month_so_far",
    "note_attempts",
    "note_ended",
    "seconds_until_due",
    "series",
    "series_by",
    "step_times",
    "totals",
]
