"""How many runs of a key may run at the same time, over all processes: see `Limit`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django_jobs.registry.keys import KeyFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of the columns, on every database; as a concurrency, any number.
MOST = 2**31 - 1
_RATE = re.compile(r"(?P<count>\d{1,9})/(?P<number>\d{0,6})(?P<unit>[smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Limit:
    """How many runs of a key may run at the same time, over all processes, hosts and engines.

    Runs beyond it wait, and are in nobody's way meanwhile. A run that waits for its retry or for its time
    holds nothing. Jobs whose limits come to the same key share it, whatever their functions are.

    Give a `concurrency`, a `rate`, or both.

    Args:
        key: A format of the call's arguments, such as "shop:{shop.pk}", see `KeyFormat`; a plain text is one
            key for all calls.
        concurrency: Runs of a key that may run at the same time, at least 1; None for any number.
        rate: Starts of a key in a time, as "100/m" or "5/30s", with s, m, h and d. They are spread evenly:
            between two starts is at least the time divided by the number. None for any rate.
        in_order: Run them strictly in the order in which they were added, whatever their priorities are, and
            one after the other: the next waits while the one before may still be retried. Needs a
            `concurrency` of 1. Defaults to False.
        when_full: What becomes of a run when as many run as may: "wait", or "skip", which ends it as SKIPPED.
            Defaults to "wait".

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range, or the key is not a format.
    """

    key: str
    concurrency: int | None = field(default=None, kw_only=True)
    rate: str | None = field(default=None, kw_only=True)
    in_order: bool = field(default=False, kw_only=True)
    when_full: str = field(default="wait", kw_only=True)
    format: KeyFormat = field(init=False, repr=False, compare=False)
    # Seconds between two starts; 0 without a rate.
    every: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "format", KeyFormat(self.key))
        seen.any = True
        object.__setattr__(self, "every", 0.0 if self.rate is None else seconds_between(self.rate))
        if self.concurrency is None and self.rate is None:
            raise TypeError(f"the limit {self.key!r} limits nothing: give it a concurrency, a rate, or both")
        if self.concurrency is not None:
            self._check_concurrency(self.concurrency)
        if not isinstance(self.in_order, bool):
            raise TypeError(f"in_order must be True or False, not {self.in_order!r}")
        if self.when_full not in {"wait", "skip"}:
            raise ValueError(f'when_full must be "wait" or "skip", not {self.when_full!r}')
        if self.in_order and self.rate is not None:
            raise ValueError("in_order=True takes no rate")
        if self.in_order and (self.concurrency != 1 or self.when_full != "wait"):
            raise ValueError(
                'in_order=True needs concurrency=1 and when_full="wait": one runs, and the others wait'
            )

    @staticmethod
    def _check_concurrency(value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"concurrency must be a whole number, not {value!r}")
        if not 1 <= value <= MOST:
            raise ValueError(f"concurrency must be at least 1 and at most {MOST}, not {value}")


def seconds_between(rate: object) -> float:
    """Return the seconds between two starts of a rate.

    Raises:
        TypeError: It is no string.
        ValueError: It is no rate.
    """
    if not isinstance(rate, str):
        raise TypeError(f'rate must be a string such as "100/m", not {type(rate).__name__}')
    match = _RATE.fullmatch(rate)
    if match is None or not int(match["count"]) or match["number"] == "0":
        raise ValueError(f'rate must be starts in a time, such as "100/m" or "5/30s", not {rate!r}')
    return int(match["number"] or 1) * _SECONDS[match["unit"]] / int(match["count"])


class _Seen:
    """Whether this process has seen a limit: without one nobody looks for what waits for it."""

    any = False


seen = _Seen()


def limit_to_json(limit: Limit, key: str) -> dict[str, Any]:
    """Return what a run keeps of its limit.

    Args:
        limit: The limit.
        key: As made of the call's arguments.
    """
    kept: dict[str, Any] = {"key": key, "name": limit.key, "concurrency": limit.concurrency or MOST}
    if limit.every:
        kept["every"] = limit.every
    if limit.in_order:
        kept["in_order"] = True
    if limit.when_full != "wait":
        kept["when_full"] = limit.when_full
    return kept


def turns_key(queue_name: str, priority: int, options: Mapping[str, Any]) -> str:
    """Return what a run's row has of its fair key: runs that take turns as one have the same.

    Those of another priority or queue are apart, as claims see them. So are those of another limit: a key that
    is full must not hold up what is beside it.
    """
    limit = options.get("limit") or {}
    return digest("\0".join((queue_name, str(priority), options["fair_key"], limit.get("key", ""))))


@lru_cache(maxsize=4096)
def digest(key: str) -> str:
    """Return what a run's row has of a key for an index: keys of the same characters have the same."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
