"""What fails, grouped by exception and place, from a bounded look at the newest failed runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import TextField
from django.db.models.functions import Cast, Left, Right

from django_jobs.models import InStatus, Run, Status, jobs_database
from django_jobs.operations.run_query import UNSUCCESSFUL

if TYPE_CHECKING:
    from datetime import datetime

# Failed runs that are looked at, newest first: more would not make the page truer, only slower.
NEWEST = 1000
# Of an error's beginning, and of the end of what is kept of a run's attempts: there the last frames are.
MESSAGE, TAIL = 300, 2000
_FRAME = re.compile(r'File \\"((?:[^"\\]|\\\\)+)\\", line (\d+), in ([^\s\\]+)')
_CLASS = re.compile(r"[\w.]+(?=:|$)")


@dataclass(slots=True)
class Failure:
    """Runs that failed with one exception at one place.

    Attributes:
        exception: Its class; the error's first line where it begins with none.
        place: File, line and function that raised it; only the job's function where that is not known.
        func: The function of the newest.
        message: The newest run's error.
        count: How many were found.
        run_id: The newest run.
        last_at: When that ended.
    """

    exception: str
    place: str
    func: str
    message: str
    count: int
    run_id: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Failures:
    """What was found, the most frequent first, and whether there are older ones that were not looked at."""

    groups: list[Failure]
    count: int
    is_cut: bool


def since(moment: datetime) -> Failures:
    """Group the runs that failed since a time, among the newest failed ones, with one query."""
    using = jobs_database()
    runs = Run.objects.using(using).filter(InStatus(Status.FAILED))
    if connections[using].vendor == "sqlite":
        # PostgreSQL would multiply the two conditions, expect few rows, and read and sort all that failed.
        runs = runs.filter(InStatus(*UNSUCCESSFUL))
    rows = (
        runs.order_by("-pk")
        .annotate(message=Left("error", MESSAGE), tail=Right(Cast("errors", TextField()), TAIL))
        .values_list("pk", "func", "message", "tail", "finished_at")[: NEWEST + 1]
    )
    groups: dict[tuple[str, str], Failure] = {}
    count, is_cut = 0, False
    for looked_at, (pk, func, message, tail, finished_at) in enumerate(rows):
        if finished_at is not None and finished_at < moment:
            continue
        if looked_at == NEWEST:
            is_cut = True
            break
        count += 1
        key = exception_of(message), place_of(tail) or func
        found = groups.get(key)
        if found is None:
            groups[key] = Failure(*key, func, message, 1, pk, finished_at)
        else:
            found.count += 1
            if finished_at and found.last_at and finished_at > found.last_at:
                found.last_at, found.run_id, found.message = finished_at, pk, message
    ordered = sorted(groups.values(), key=lambda one: (-one.count, -one.run_id))
    return Failures(ordered, count, is_cut)


def exception_of(message: str) -> str:
    """Return the class that an error's line begins with, or that line."""
    line = message.partition("\n")[0]
    found = _CLASS.match(line)
    return found[0] if found else line[:80]


def place_of(tail: str | None) -> str:
    """Return where the last frame of a traceback is, from the end of the JSON that it is kept in."""
    frames = _FRAME.findall(tail or "")
    if not frames:
        return ""
    file, line, name = frames[-1]
    path = PurePath(file.replace("\\\\", "/"))
    return f"{'/'.join(path.parts[-2:])}:{line} {name}"
