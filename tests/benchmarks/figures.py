"""Measured values, beside the reference of the same rounds and the target they must meet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True, kw_only=True)
class Figure:
    """One measured thing.

    Args:
        name: What was measured.
        unit: Of the values.
        values: One a round.
        reference: What else was measured in the same rounds; empty when nothing was.
        reference_values: One a round.
        at_least: Smallest median that is good enough.
        at_most: Largest median that is good enough.
        ratio_at_least: Smallest ratio to the reference that is good enough.
        ratio_at_most: Largest one.
        note: What a reader of the number must know.
    """

    name: str
    unit: str
    values: list[float]
    reference: str = ""
    reference_values: list[float] = field(default_factory=list)
    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Middle value of the rounds."""
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """Middle of the rounds' own ratios: a slow stretch of the machine slows both sides of one."""
        pairs = [(v, r) for v, r in zip(self.values, self.reference_values, strict=False) if r]
        return median(v / r for v, r in pairs) if pairs else None

    @property
    def target(self) -> str:
        """The target in words; empty without one."""
        words = [
            f"{sign}{limit:g}{of}"
            for sign, limit, of in (
                (">= ", self.at_least, ""),
                ("<= ", self.at_most, ""),
                (">= ", self.ratio_at_least, "x"),
                ("<= ", self.ratio_at_most, "x"),
            )
            if limit is not None
        ]
        return ", ".join(words)

    @property
    def is_met(self) -> bool:
        """Whether it is good enough."""
        ratio = self.ratio
        return not (
            (self.at_least is not None and self.median < self.at_least)
            or (self.at_most is not None and self.median > self.at_most)
            or (self.ratio_at_least is not None and (ratio is None or ratio < self.ratio_at_least))
            or (self.ratio_at_most is not None and (ratio is None or ratio > self.ratio_at_most))
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            **dataclasses.asdict(self),
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": len(self.values),
            "ratio": self.ratio,
            "target": self.target,
            "is_met": self.is_met if self.target else None,
        }


FIELDS = tuple(f.name for f in dataclasses.fields(Figure))


def from_dict(values: dict[str, Any]) -> Figure:
    """Return the figure that `as_dict` wrote."""
    return Figure(**{name: values[name] for name in FIELDS})


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile, from 1 to 99, of at least two values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def latencies(name: str, seconds: Sequence[float], *, p50: float | None, p99: float | None) -> list[Figure]:
    """Return the median, p95 and p99 of latencies, in milliseconds; the targets are milliseconds too."""
    note = f"{len(seconds)} samples"
    return [
        Figure(
            name=f"{name}, p{percent}",
            unit="ms",
            values=[percentile(seconds, percent) * 1000],
            at_most=limit,
            note=note,
        )
        for percent, limit in ((50, p50), (95, None), (99, p99))
    ]
