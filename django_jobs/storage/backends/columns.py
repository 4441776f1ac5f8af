"""Columns of the rows that statements insert, return and join, in their order."""

from __future__ import annotations

from django_jobs.models import RAN_BINS, WAITED_BINS

# What a worker needs to know of a run that it claimed, in the order of `ClaimedRun`'s fields.
CLAIMED_COLUMNS = (
    "id", "job_id", "func", "payload", "signature", "queue_name", "priority", "options",
    "kind", "attempt", "rescues", "unique_key", "errors", "name", "worker_id", "run_after",
)  # fmt: skip

INSERTED_COLUMNS = (
    "job_id", "name", "func", "payload", "signature", "queue_name", "priority", "options", "kind",
    "status", "scheduled_at", "unique_key", "error", "worker_id", "attempt",
)  # fmt: skip

# Names and SQL types of rows that update statements join; the types are PostgreSQL's words.
FINISHED_COLUMNS = (
    ("id", "bigint"), ("attempt", "int"), ("worker_id", "text"), ("status", "text"),
    ("retry_in", "float8"), ("started_at", "timestamptz"), ("finished_at", "timestamptz"),
    ("result", "text"), ("error", "text"), ("errors", "jsonb"), ("log", "text"), ("progress", "jsonb"),
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
    ("runs", "bigint"), ("ran_seconds", "float8"), ("waited_seconds", "float8"),
    *((name, "int") for name in (*RAN_BINS, *WAITED_BINS)),
)  # fmt: skip
