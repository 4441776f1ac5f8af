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
# An axis ends at one of these times a power of ten.
FACTORS = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10, 12)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a bar. Coordinates grow to the right and downwards."""

    name: str | int
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
    ticks: list[float]
    lines: list[float]


def bars(series: Sequence[Sequence[tuple[str | int, float]]]) -> Bars:
    """Stack named numbers, a bar for each sequence of them.

    Args:
        series: Not negative; the first of each is the lowest box.
    """
    ticks = scale(max((sum(value for _, value in stack) for stack in series), default=0))
    top = ticks[0]
    columns, step = _columns(len(series))
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
    return Bars(drawn, columns, ticks, _across(ticks))


@dataclass(frozen=True, slots=True)
class Lines(Bars):
    """Lines from step to step.

    Attributes:
        paths: The points of each, as SVG has them.
    """

    paths: list[str]


def lines(rows: Sequence[Sequence[float]]) -> Lines:
    """Draw a line for each place in rows of the same length."""
    ticks = scale(max((max(row, default=0) for row in rows), default=0))
    columns, step = _columns(len(rows))
    paths = [
        " ".join(
            f"{column.x + step / 2:.1f},{HEIGHT * (1 - value / ticks[0]):.1f}"
            for column, value in zip(columns, values, strict=True)
        )
        for values in zip(*rows, strict=True)
    ]
    return Lines([[] for _row in rows], columns, ticks, _across(ticks), paths)


def sparkline(values: Sequence[float]) -> str:
    """Return the points of a line through numbers that are not negative, as SVG has them; empty for zeros."""
    highest = max(values, default=0)
    if highest <= 0:
        return ""
    step = WIDTH / max(1, len(values) - 1)
    # Lines are as thick as they are also at the top and the bottom.
    room = HEIGHT - 20
    return " ".join(
        f"{index * step:.0f},{10 + room * (1 - value / highest):.0f}" for index, value in enumerate(values)
    )


def _columns(count: int) -> tuple[list[Box], float]:
    step = WIDTH / max(1, count)
    return [Box("", round(index * step, 2), 0, round(step, 2), HEIGHT) for index in range(count)], step


def _across(ticks: Sequence[float]) -> list[float]:
    return [round(HEIGHT * (1 - tick / ticks[0]), 2) for tick in ticks]


def scale(highest: float) -> list[float]:
    """Return round numbers for an axis from some above `highest` down to 0, all equally far apart.

    Whole numbers where the highest is one.
    """
    if highest <= 0:
        return [1, 0]
    power = 10.0 ** floor(log10(highest))
    # The nearest of these above it: an axis that is half empty shows little.
    tops = [factor * power for factor in FACTORS if factor * power >= highest * (1 - 1e-9)]
    if highest != int(highest):
        return [tops[0], tops[0] / 2, 0]
    if highest == 1:
        return [1, 0]
    top = next(round(top) for top in tops if top == round(top) and round(top) % 2 == 0)
    return [top, top // 2, 0]


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
