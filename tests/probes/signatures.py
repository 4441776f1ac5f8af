"""Functions with all kinds of parameters, to be called from forms."""
# ruff: noqa: TC001, TC003 - forms read the hints when the program runs

from __future__ import annotations

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType
from uuid import UUID

from django_jobs import Retry, job
from tests.probes.models import Mark

if TYPE_CHECKING:
    from nowhere import Missing

Cents = NewType("Cents", int)


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@job
def bare():
    """Take nothing."""


@job
def scalars(
    text: str,
    count: int,
    share: float,
    flag: bool,
    amount: Decimal,
    day: date,
    at: datetime,
    clock: time,
    pause: timedelta,
    key: UUID,
    kind: Literal["a", 1, True],
    size: Size,
    where: Path,
    cents: Annotated[Cents, "of a euro"],
):
    """Take one of each.

    More words that nobody lists.
    """


@job
def collections(
    numbers: list[int],
    names: set[str],
    pair: tuple[int, str],
    table: dict[str, float],
    anything: Any,
    either: int | str,
):
    pass


@job(queue_name="slow", priority=7, max_instances=2, retry=Retry(max_attempts=4, delay=5), sensitive=["pin"])
def defaults(
    text="plain", count: int = 5, flag: bool = True, note: str | None = None, size: Size = Size.LARGE,
    tags: list[str] = ["a"], pin: int = 1234, *, api_key: str = "s3cret", limit: int | None = 10,  # noqa: B006 - a default of this kind is what is tested
):  # fmt: skip
    pass


@job
def rest(first: int, second: int = 2, *args: Any, **kwargs: Any):
    pass


@job
def optional(count: int | None, note: str | None):
    pass


@job
def awkward(job_id: str, max_instances: int = 3, note: str = ""):
    pass


@job
def by_position(first: int, second: int = 2, /):
    pass


@job
def impossible(*, job_id: str):
    pass


@job
def unknown_hints(value: Missing, count: int = 3):
    pass


@job
def of_a_row(mark: Mark):
    pass


@job
def raw(data: bytes, seconds: float = 1.5):
    """Take <b>raw</b> bytes."""
