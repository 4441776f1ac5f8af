"""What runs say while they execute: lines, and the chunks of them that are stored before an attempt has ended.

An attempt that ends leaves its whole log in `Run.log`, and its chunks are deleted. Chunks that stay are of
attempts whose process was killed, or that were handed back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef
from django.utils import timezone

from django_jobs.conf import LOG_LEVELS
from django_jobs.models import LogChunk, Run
from django_jobs.registry.log_lines import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_jobs.storage.records import ClaimedRun

LEVELS = LOG_LEVELS
_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00) (?:(DEBUG|WARNING|ERROR|CRITICAL) )?(.*)", re.DOTALL
)
# Chunks without a run that are deleted by one statement.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines of one attempt to store.

    Attributes:
        run: As claimed.
        lines: As `line_of` makes them.
        level: The highest of their levels.
    """

    run: ClaimedRun
    lines: Sequence[str]
    level: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log; a text of several lines is one.

    Attributes:
        at: When it was said; None where the line does not say.
        level: One of LEVELS.
        text: What was said.
        raw: As it is stored.
    """

    at: datetime | None
    level: str
    text: str
    raw: str


def parse(text: str) -> list[Line]:
    """Return the lines of a stored log."""
    whole: list[str] = []
    for part in text.split("\n") if text else ():
        if whole and not _LINE.match(part) and not part.startswith("... cut at "):
            # A line of its own in a text of several.
            whole[-1] += "\n" + part
        else:
            whole.append(part)
    lines = []
    for raw in whole:
        found = _LINE.match(raw)
        if found is None:
            lines.append(Line(None, PLAIN, raw, raw))
        else:
            at, level, said = found.groups()
            lines.append(Line(datetime.fromisoformat(at), level or PLAIN, said, raw))
    return lines


def matching(lines: Iterable[Line], least: str, search: str = "") -> list[Line]:
    """Return the lines of some level or a higher one that have a text in them, in any case."""
    levels, text = LEVELS[LEVELS.index(least) :], search.casefold()
    return [line for line in lines if line.level in levels and text in line.text.casefold()]


def append(chunks: Sequence[Chunk], *, using: str) -> None:
    """Store lines of attempts that are under way, in one statement."""
    now = timezone.now()
    LogChunk.objects.using(using).bulk_create(
        LogChunk(
            run_id=chunk.run.id,
            attempt=chunk.run.attempt,
            fence=chunk.run.fence,
            written_at=now,
            level=chunk.level,
            text="\n".join(chunk.lines),
        )
        for chunk in chunks
    )


def fold(runs: Iterable[ClaimedRun], *, using: str) -> None:
    """Delete the chunks of attempts whose whole log is in `Run.log` by now."""
    for run in runs:
        LogChunk.objects.using(using).filter(run_id=run.id, fence=run.fence).delete()


def read(run: Run, *, using: str) -> str:
    """Return all that is known of what a run said, with one query: of its last attempt, and of others that died."""
    chunks = LogChunk.objects.using(using).filter(run_id=run.pk).order_by("pk").values_list("text", flat=True)
    # Those of an attempt that has just ended may not be deleted yet.
    parts = [text for text in chunks if text not in run.log]
    if not parts:
        return run.log
    # By their first line's time, as which each begins.
    return "\n".join(sorted([*parts, run.log] if run.log else parts, key=_moment))


def _moment(text: str) -> str:
    found = _LINE.match(text[:40])
    return found.group(1) if found else ""


def prune(*, using: str) -> int:
    """Delete chunks whose runs were deleted, up to some hundred; return how many."""
    chunks = LogChunk.objects.using(using)
    gone = chunks.filter(~Exists(Run.objects.using(using).filter(pk=OuterRef("run_id"))))
    pks = list(gone.values_list("pk", flat=True)[:BATCH])
    if pks:
        chunks.filter(pk__in=pks).delete()
    return len(pks)
