"""Sorted numbers, such as a cron field's, as the steps and ranges that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def step_of(values: Sequence[int], low: int, high: int) -> int:
    """Return n if the values are every nth of the range; otherwise 0."""
    if len(values) < 2:
        return 0
    step = values[1] - values[0]
    return step if list(values) == list(range(low, high + 1, step)) else 0


def _dash(first: str, last: str) -> str:
    return f"{first}-{last}"


def spell_runs(
    values: Sequence[int], name: Callable[[int], str], to: Callable[[str, str], str] = _dash
) -> list[str]:
    """Name values, with three or more in a row as a range."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words: list[str] = []
    for run in runs:
        words += [to(name(run[0]), name(run[-1]))] if len(run) > 2 else [name(value) for value in run]
    return words
