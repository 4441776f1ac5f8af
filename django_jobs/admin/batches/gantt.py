"""When the runs of a batch waited and ran, a row for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils import timezone

from django_jobs.admin.shared import display
from django_jobs.models import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django_jobs.models import Batch, Run
    from django_jobs.operations.batches import Node

# Of a row's picture, in units of its own; what is shorter than a sliver is shown as one.
WIDTH, SLIVER = 1000, 4


@dataclass(frozen=True, slots=True)
class Row:
    """One run: from where it waited, and from where to where it ran; -1 where it did not."""

    run: Run
    state: str
    waited_x: int
    waited_width: int
    ran_x: int
    ran_width: int
    took: str

    @property
    def label(self) -> str:
        """Its state as a word with a colour."""
        return display.label(self.state)


def rows(batch: Batch, nodes: Sequence[Node]) -> list[Row]:
    """Return the rows of some runs, in the order in which they began."""
    now = timezone.now()
    ends_at = batch.ended_at or now
    length = max(0.001, (ends_at - batch.created_at).total_seconds())

    def place(moment: datetime) -> int:
        share = (moment - batch.created_at).total_seconds() / length
        return round(min(1.0, max(0.0, share)) * WIDTH)

    ordered = sorted((node.run for node in nodes), key=lambda run: (run.started_at or ends_at, run.pk))
    return [_row(run, now, place) for run in ordered]


def _row(run: Run, now: datetime, place: Callable[[datetime], int]) -> Row:
    waited_from = place(run.enqueued_at)
    waited_to = place(run.started_at or run.finished_at or now)
    ran_x = ran_width = -1
    if run.started_at is not None:
        end = now if run.status == Status.RUNNING else run.finished_at or run.started_at
        ran_x = min(waited_to, WIDTH - SLIVER)
        ran_width = max(SLIVER, place(end) - ran_x)
    return Row(
        run,
        display.run_state(run),
        waited_from,
        max(0, waited_to - waited_from),
        ran_x,
        ran_width,
        display.run_duration(run),
    )
