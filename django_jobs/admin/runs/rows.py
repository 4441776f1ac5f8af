"""The rows of the list of runs: one line each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Left

from django_jobs import codec
from django_jobs.admin.runs import timeline
from django_jobs.admin.shared import display, times
from django_jobs.exceptions import BadPayload
from django_jobs.models import Run, jobs_database
from django_jobs.operations.run_query import LARGE_COLUMNS
from django_jobs.storage.queues import obstacles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.models import RunQuerySet

# Columns that the list does not load; of some it loads the beginning.
HIDDEN = (*LARGE_COLUMNS, "signature", "error", "progress")
# How much of an error and of arguments is loaded. Longer arguments are not shown: they would have to be read in
# full for their secrets to be found.
ERROR_LENGTH, PAYLOAD_LENGTH = 500, 1000
# Of a value among the arguments.
VALUE_LENGTH = 60
# What `add_immediate_job` names a job that was given no id.
_RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True, kw_only=True)
class Row:
    """What one line shows.

    Attributes:
        run: The run, without its large columns.
        url: Its page.
        module, name: Of its function.
        job_id: Its job's id; empty where that is random, and says nothing.
        arguments: Them on one line, without their secrets; empty where there are none, or may not be seen.
        state: What it is, or waits for, as `display.STATES` has it.
        attempt: "2/4", or "2" where there is no limit; empty before the first.
        at: When it ended, began, or is to begin: what is the last thing known of it.
        took: How long its last attempt took.
        error: The error's first line.
        error_start: More of it, for who points at it.
    """

    run: Run
    url: str
    module: str
    name: str
    job_id: str
    arguments: str
    state: str
    attempt: str
    at: str
    took: str
    error: str
    error_start: str


def with_beginnings(runs: RunQuerySet, *, with_payload: bool) -> RunQuerySet:
    """Load what `rows` needs of some runs."""
    beginnings = {"error_start": Left("error", ERROR_LENGTH)}
    if with_payload:
        beginnings["payload_start"] = Left("payload", PAYLOAD_LENGTH + 1)
    found: Any = runs.annotate(**beginnings).defer(*HIDDEN)
    return found  # type: ignore[no-any-return] # an annotated queryset of the same class


def rows(runs: Sequence[Run], url_of: Callable[[Run], str]) -> list[Row]:
    """Return the lines of some runs that `with_beginnings` loaded, with three queries where one is due."""
    # The list has loaded the error's beginning; asking for all of it would be a query for each row.
    for run in runs:
        run.error = getattr(run, "error_start", "") or ""
    due = {(run.queue_name, run.func) for run in runs if run.state == "ready"}
    why = obstacles(due, using=jobs_database())
    return [_row(run, url_of(run), why.get((run.queue_name, run.func), "")) for run in runs]


def _row(run: Run, url: str, obstacle: str) -> Row:
    module, _, name = run.func.rpartition(":")
    first, _, _rest = run.error.partition("\n")
    return Row(
        run=run,
        url=url,
        module=module,
        name=name,
        job_id="" if _RANDOM.fullmatch(run.job_id) else run.job_id,
        arguments=_arguments(run),
        state=display.label(display.waiting_state(run, obstacle)),
        attempt=_attempt(run),
        at=times.relative(display.last_known(run)),
        took=display.run_duration(run) if run.started_at else "",
        error=first,
        error_start=run.error,
    )


def _attempt(run: Run) -> str:
    number, most = timeline.tried(run)
    if not run.attempt:
        return ""
    return f"{number}/{most}" if most else str(run.attempt)


def _arguments(run: Run) -> str:
    payload = getattr(run, "payload_start", "") or ""
    if not payload:
        return ""
    if len(payload) > PAYLOAD_LENGTH:
        return "…"
    try:
        args, kwargs = codec.display_arguments(payload, sensitive=run.sensitive)
    except BadPayload:
        return ""
    words = [_short(value) for value in args]
    return ", ".join([*words, *(f"{name}={_short(value)}" for name, value in kwargs.items())])


def _short(value: Any) -> str:
    return display.cut(json.dumps(value, ensure_ascii=False, default=str), VALUE_LENGTH)
