"""What happened to a run, in order: enqueued, waited, each attempt, finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from django_jobs.admin.shared import display, times
from django_jobs.models import BLOCKED_STATES, FINISHED, Run, Status
from django_jobs.storage.records import INTERRUPTED, PROGRESSED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime


@dataclass(slots=True, kw_only=True)
class Step:
    """One entry of the timeline."""

    # "moment", "waited", "attempt", "gap" or "end", for the look of it.
    kind: str
    title: str
    # A status in lower case, or "waiting"; decides the colour.
    state: str = ""
    at: str = ""
    took: str = ""
    worker: str = ""
    error: str = ""
    traceback: str = ""
    is_open: bool = False


@dataclass(slots=True)
class Attempt:
    """One attempt, as far as the row knows."""

    number: Any
    started: datetime | None
    finished: datetime | None
    worker_id: str
    state: str
    error: str = ""
    traceback: str = ""


def attempts(run: Run) -> list[Attempt]:
    """Return the attempts of a run that are known, oldest first."""
    entries = run.errors if isinstance(run.errors, list) else [run.errors] if run.errors else []
    found = [_failed(entry) for entry in entries]
    if run.status == Status.RUNNING:
        found.append(Attempt(run.attempt, run.started_at, None, run.worker_id, "running"))
    elif (
        run.status in FINISHED
        and run.started_at is not None
        # One that was handed back has the number of the next.
        and not any(one.number == run.attempt and one.error not in {INTERRUPTED, PROGRESSED} for one in found)
    ):
        found.append(
            Attempt(
                run.attempt, run.started_at, run.finished_at, run.worker_id, run.status.lower(), run.error
            )
        )
    return found


def _failed(entry: Any) -> Attempt:
    if not isinstance(entry, dict):
        return Attempt(None, None, None, "", "failed", str(entry))
    return Attempt(
        entry.get("attempt"),
        _time(entry.get("started_at")),
        _time(entry.get("finished_at")),
        str(entry.get("worker_id") or ""),
        "failed",
        str(entry.get("error") or ""),
        str(entry.get("traceback") or ""),
    )


def _time(text: Any) -> datetime | None:
    try:
        at = parse_datetime(text)
    except (TypeError, ValueError):
        return None
    return at if at is not None and timezone.is_aware(at) else None


def steps(run: Run, workers: Mapping[str, str], *, with_payload: bool, obstacle: str = "") -> Iterator[Step]:
    """Yield the entries of a run's timeline.

    Args:
        run: The run.
        workers: What to show for the workers that it names, by their ids.
        with_payload: Whether tracebacks are shown.
        obstacle: Why it does not begin, if it is due, as `storage.queues.obstacle` says; or if it waits for
            something else, what that is.
    """
    if run.scheduled_at is not None:
        yield Step(kind="moment", title=_("Scheduled for"), at=times.both(run.scheduled_at))
    yield Step(kind="moment", title=_("Enqueued"), at=times.both(run.enqueued_at))
    before: datetime | None = run.scheduled_at or run.enqueued_at
    number = 0
    tried = attempts(run)
    for attempt in tried:
        if isinstance(attempt.number, int) and attempt.number > number + 1:
            yield Step(kind="gap", title=_("Attempts in between were handed back, or are not kept"))
        number = attempt.number if isinstance(attempt.number, int) else number
        if before is not None and attempt.started is not None:
            yield Step(
                kind="waited",
                title=_("Waited"),
                took=display.between(before, attempt.started),
                state="waiting",
            )
        yield _step(attempt, workers, with_payload=with_payload, is_last=attempt is tried[-1])
        before = attempt.finished
    yield from _end(run, obstacle)


def name_of(attempt: Attempt) -> str:
    """Return what an attempt is called."""
    return _("Attempt") if attempt.number is None else _("Attempt %s") % attempt.number


def _step(attempt: Attempt, workers: Mapping[str, str], *, with_payload: bool, is_last: bool) -> Step:
    end = timezone.now() if attempt.state == "running" else attempt.finished
    return Step(
        kind="attempt",
        title=name_of(attempt),
        state=attempt.state,
        at=times.both(attempt.started) if attempt.started else "",
        took=display.between(attempt.started, end) if attempt.started and end else "",
        worker=workers.get(attempt.worker_id, attempt.worker_id),
        error=display.cut(attempt.error),
        traceback=display.cut(attempt.traceback, 2 * display.MAX_CHARACTERS) if with_payload else "",
        is_open=is_last and attempt.state == "failed",
    )


def tried(run: Run) -> tuple[int, int | None]:
    """Return how often a run's function was called as its retry policy counts, and how often it may be."""
    policy = run.said.get("retry")
    most = policy.get("max_attempts") if isinstance(policy, dict) else None
    return max(0, run.attempt - run.rescues), most if isinstance(most, int) else None


def _waits_until(run: Run) -> str:
    number, most = tried(run)
    if not number or most is None or number >= most:
        return _("Waits until")
    return _("Waits for attempt %(number)d of %(most)d, until") % {"number": number + 1, "most": most}


def _end(run: Run, obstacle: str) -> Iterator[Step]:
    state = display.run_state(run)
    if run.status in FINISHED:
        total = display.between(run.enqueued_at, run.finished_at)
        title = str(display.STATES[run.status])
        yield Step(kind="end", title=title, state=state.lower(), at=times.both(run.finished_at), took=total)
    elif state in {"paused", "broken"}:
        title = _("Held until its job is resumed, or this run is retried.")
        yield Step(kind="end", title=title, state=state)
    elif state in BLOCKED_STATES:
        yield Step(kind="end", title=obstacle or str(display.STATES[state]), state=state)
    elif state == "deferred":
        yield Step(kind="end", title=_waits_until(run), state=state, at=times.both(run.run_after))
    elif run.status == Status.READY:
        yield Step(
            kind="end",
            title={
                "paused": _("Waits: its queue is paused"),
                "unserved": _("Waits: no live worker serves its queue"),
                "unknown": _("Waits for a process that knows %s") % run.func,
            }.get(obstacle, _("Waits for a worker")),
            state="ready",
            took=display.between(run.run_after, timezone.now()),
        )
    elif state == "stopping":
        yield Step(kind="end", title=_("Was asked to stop"), state=state)
