"""Numbers to the geometry of pictures; the templates draw them.

Pictures are stretched to the width that there is, so they have no text in them: labels are the page's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

WIDTH, HEIGHT = 1000, 200
# Between bars, of the width of one.
GAP = 0.2
# What is there shows, however little it is beside the rest.
LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a bar. Coordinates grow to the right and downwards."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars side by side, each of boxes on top of each other.

    Attributes:
        bars: The boxes of each, the lowest first; none for what is zero.
        columns: Each bar's whole column, for what shows when it is pointed at.
        ticks: What the axis says, the highest first.
        lines: Where lines go across, one for each tick.
    """

    bars: list[list[Box]]
    columns: list[Box]
    ticks: list[int]
    lines: list[float]


def bars(series: Sequence[Sequence[tuple[str, int]]]) -> Bars:
    """Stack named numbers, a bar for each sequence of them.

    Args:
        series: Not negative; the first of each is the lowest box.
    """
    ticks = scale(max((sum(value for _, value in stack) for stack in series), default=0))
    top = ticks[0]
    step = WIDTH / max(1, len(series))
    columns = [Box("", round(index * step, 2), 0, round(step, 2), HEIGHT) for index in range(len(series))]
    drawn = []
    for column, stack in zip(columns, series, strict=True):
        boxes: list[Box] = []
        ground = float(HEIGHT)
        for name, value in stack:
            if value <= 0:
                continue
            height = min(max(LEAST, value / top * HEIGHT), ground)
            ground -= height
            left = column.x + step * GAP / 2
            boxes.append(
                Box(name, round(left, 2), round(ground, 2), round(step * (1 - GAP), 2), round(height, 2))
            )
        drawn.append(boxes)
    lines = [round(HEIGHT * (1 - tick / top), 2) for tick in ticks]
    return Bars(drawn, columns, ticks, lines)


def scale(highest: int) -> list[int]:
    """Return round numbers for an axis from some above `highest` down to 0, all equally far apart."""
    if highest <= 0:
        return [1, 0]
    power = 10 ** floor(log10(highest))
    # Two steps of 1, 2 or 5 times a power of ten, or one where that would be half a run.
    top = next(factor * power for factor in (1, 2, 4, 10) if factor * power >= highest)
    return [top, top // 2, 0] if top % 2 == 0 else [top, 0]


def share(part: float, whole: float) -> float:
    """Return a part of a whole as a width of 0 to 100; what is there is never nothing."""
    if part <= 0 or whole <= 0:
        return 0.0
    return round(min(100.0, max(2.0, part / whole * 100)), 1)


def marks(moments: Sequence[datetime], begins_at: datetime, ends_at: datetime) -> list[float]:
    """Return where moments lie on a line of WIDTH; those before are at its beginning, later ones left out."""
    length = (ends_at - begins_at).total_seconds()
    found = [
        max(0.0, (moment - begins_at).total_seconds()) / length for moment in moments if moment <= ends_at
    ]
    return sorted({round(place * WIDTH, 1) for place in found})


def span(bins: Sequence[int]) -> range:
    """Return the indexes from the first bin with something in it to the last."""
    filled = [index for index, count in enumerate(bins) if count]
    return range(filled[0], filled[-1] + 1) if filled else range(0)
