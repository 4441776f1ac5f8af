"""Columns of the rows that statements join, in their order."""

from __future__ import annotations

from django_jobs.models import RAN_BINS, WAITED_BINS

# Names and SQL types of rows that update statements join; the types are PostgreSQL's words.
FINISHED_COLUMNS = (
    ("id", "bigint"), ("attempt", "int"), ("fence", "bigint"), ("worker_id", "text"), ("status", "text"),
    ("retry_in", "float8"), ("started_at", "timestamptz"), ("finished_at", "timestamptz"),
    ("result", "text"), ("error", "text"), ("errors", "jsonb"), ("log", "text"), ("progress", "jsonb"),
    ("error_key", "text"),
)  # fmt: skip
PLAIN_COLUMNS = ("status", "started_at", "finished_at", "result", "error", "errors", "log")
MOVED_COLUMNS = (("id", "text"), ("next_run_time", "timestamptz"))
LAST_RUN_COLUMNS = (("id", "text"), ("run_id", "bigint"))
# What a row of statistics is of, and what is added up in it.
ROLLUP_KEY = (
    ("size_seconds", "int"), ("begins_at", "timestamptz"), ("func", "text"), ("queue_name", "text"),
    ("outcome", "text"),
)  # fmt: skip
ROLLUP_SUMS = (
    ("runs", "bigint"), ("ran_seconds", "float8"), ("waited_seconds", "float8"), ("started", "int"),
    *((name, "int") for name in (*RAN_BINS, *WAITED_BINS)),
)  # fmt: skip
