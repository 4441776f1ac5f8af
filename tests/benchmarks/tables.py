"""Figures as lines of text."""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.figures import Figure

HEADINGS = ("what", "median", "min - max", "unit", "reference", "its median", "ratio", "target", "")


def say(text: str = "") -> None:
    """Write a line to the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def number(value: float) -> str:
    """Return three digits of a small number, and all whole ones of a large one."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table."""
    rows = [HEADINGS, *[_row(figure) for figure in figures]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    notes = [f"- {figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([lines[0], rule, *lines[1:], *([""] if notes else []), *notes])


def _row(figure: Figure) -> tuple[str, ...]:
    has_reference = bool(figure.reference_values)
    spread = f"{number(min(figure.values))} - {number(max(figure.values))}" if len(figure.values) > 1 else ""
    return (
        figure.name,
        number(figure.median),
        spread,
        figure.unit,
        figure.reference if has_reference else "",
        number(median(figure.reference_values)) if has_reference else "",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.target,
        "" if not figure.target else "ok" if figure.is_met else "MISSED",
    )
