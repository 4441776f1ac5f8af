"""What a run has kept so far, for people: its steps, loops and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django_jobs import codec
from django_jobs.api.batch_info import iso
from django_jobs.models import StepKind, jobs_database
from django_jobs.storage import events, steps

if TYPE_CHECKING:
    from django_jobs.models import Run, Step

# Rows that are shown of one run, the newest.
MOST_SHOWN = 200
HIDDEN = "********"


class StepInfo(TypedDict):
    """A step, a loop or a wait of a run. Times are ISO 8601 in UTC, or None."""

    kind: str  # step, loop, sleep, event
    name: str
    occurrence: int  # 1 for the first of its name
    state: str  # done, timed out, waiting, failed (it is tried again), running
    attempt: int  # of the run, that it was last written in
    tries: int  # that failed, of a step with a retry of its own
    started_at: str | None
    finished_at: str | None
    until: str | None  # when a sleep ends, or a wait at the latest
    error: str
    value: (
        Any  # what it returned, or the payload of an event, in JSON's types without secrets; None for a loop
    )
    done: int | None  # rows of a loop
    failed: list[list[str]]  # of a loop: primary key and error of each row


def of_run(run: Run) -> list[StepInfo]:
    """Return what a run keeps, in its order, with one query; the newest `MOST_SHOWN`."""
    hidden = {name for name in run.sensitive if isinstance(name, str)}
    rows = steps.of_run(run.pk, most=MOST_SHOWN, using=jobs_database())
    return [_info(row, hidden) for row in rows]


def _info(step: Step, hidden: set[str]) -> StepInfo:
    # As arguments are: what an event brings is one.
    value = None if step.value is None else codec.redact(codec.plain(step.value), hidden)
    state: dict[str, Any] = {}
    if step.kind == StepKind.LOOP:
        state, value = value if isinstance(value, dict) else {}, None
    return StepInfo(
        kind=step.kind,
        name=step.name,
        occurrence=step.occurrence + 1,
        state=_state(step),
        attempt=step.attempt,
        tries=step.tries,
        started_at=iso(step.started_at),
        finished_at=iso(step.finished_at),
        until=None if step.finished_at else iso(step.until),
        error="" if step.error == events.TIMED_OUT else step.error,
        value=HIDDEN if step.name in hidden and value is not None else value,
        done=state.get("done"),
        failed=state.get("failed") or [],
    )


def _state(step: Step) -> str:
    if step.finished_at is not None:
        return "timed out" if step.error == events.TIMED_OUT else "done"
    if step.kind in {StepKind.SLEEP, StepKind.EVENT}:
        return "waiting"
    return "failed" if step.error else "running"
