"""When a run waited and was tried, a row for each attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_jobs.admin.runs.timeline import Attempt, attempts, name_of
from django_jobs.admin.shared import display
from django_jobs.models import FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.utils.functional import _StrOrPromise

    from django_jobs.models import Run

# Width of a row's picture, in units of its own; what is shorter than a sliver is shown as one.
WIDTH, SLIVER = 1000, 4
WORDS: dict[str, _StrOrPromise] = {
    "waiting": gettext_lazy("Waiting"),
    "retry": gettext_lazy("Waiting for a retry"),
    "running": gettext_lazy("Running"),
    "failed": gettext_lazy("Failed"),
    "successful": gettext_lazy("Successful"),
    "cancelled": gettext_lazy("Cancelled"),
    "skipped": gettext_lazy("Skipped"),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a row: from where, how wide, what it is, and how long it took."""

    x: int
    width: int
    state: str
    took: str

    @property
    def title(self) -> str:
        """The text of its tooltip."""
        return f"{WORDS.get(self.state, self.state)}: {self.took}"


@dataclass(frozen=True, slots=True)
class Row:
    """An attempt, with the wait before it; or the wait that goes on."""

    label: str
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Gantt:
    """The rows, how long all of it took, and the words of what is in them."""

    rows: list[Row]
    length: str
    legend: list[dict[str, Any]]


def of_run(run: Run) -> Gantt | None:
    """Return the picture of a run; None where no time has passed."""
    tried = [(attempt, attempt.started) for attempt in attempts(run) if attempt.started is not None]
    # The first attempt began before that where a person enqueued it again.
    start = min([run.enqueued_at, *(began for _attempt, began in tried)])
    end = run.finished_at or timezone.now()
    length = (end - start).total_seconds()
    if length <= 0:
        return None

    def place(at: datetime) -> int:
        return max(0, min(WIDTH, round(WIDTH * (at - start).total_seconds() / length)))

    rows, before, state = [], start, "waiting"
    for attempt, began in tried:
        until = attempt.finished or end
        segments = _wait(before, began, state, place)
        rows.append(Row(name_of(attempt), [*segments, _ran(attempt, began, until, place)]))
        before, state = max(before, until), "retry"
    if run.status not in FINISHED and not (rows and rows[-1].segments[-1].state == "running"):
        rows.append(Row(str(WORDS[state]), _wait(before, end, state, place)))
    found = {segment.state for row in rows for segment in row.segments}
    legend = [{"state": state, "word": word} for state, word in WORDS.items() if state in found]
    return Gantt(rows, display.duration(length), legend)


def _wait(since: datetime, until: datetime, state: str, place: Callable[[datetime], int]) -> list[Segment]:
    x, width = place(since), place(until) - place(since)
    return [Segment(x, width, state, display.between(since, until))] if width > 0 else []


def _ran(attempt: Attempt, since: datetime, until: datetime, place: Callable[[datetime], int]) -> Segment:
    x = min(place(since), WIDTH - SLIVER)
    return Segment(x, max(SLIVER, place(until) - x), attempt.state, display.between(since, until))
