"""What somebody writes into the search box: plain words, and words with a prefix such as `queue:mail`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs.models import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

# What READY runs wait for, as choices beside the statuses.
WAITING = ("due", "deferred", "retrying", "blocked", "held", "broken")
# No run was enqueued earlier or will be later. Beyond, a time cannot be converted to another zone.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)
_TERM = re.compile(r'(?:(?P<name>[A-Za-z]+)(?P<path>\.[\w.-]+)?:)?(?:"(?P<quoted>[^"]*)"|(?P<bare>\S+))')
_DURATION = re.compile(r"(?P<way>[<>]?)=?(?P<count>\d{1,9}(?:\.\d{1,6})?)(?P<unit>ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
# Words of lists and pages beside the statuses' own.
_STATUSES = {
    "ready": "READY", "waiting": "due", "queued": "due", "success": "SUCCESSFUL", "succeeded": "SUCCESSFUL",
    "failure": "FAILED", "paused": "held", "canceled": "CANCELLED",
}  # fmt: skip
#: Every prefix, with an example of what follows it.
PREFIXES = {
    "arg": "4711", "error": "timeout", "queue": "mail", "func": "shop.orders", "job": "nightly", "run": "4711",
    "worker": "", "status": "failed", "tag": "import", "about": "shop.order:4711", "batch": "5b0f2d", "after": "10:00", "before": "2026-01-31", "took": ">5s",
    "attempt": ">1",
}  # fmt: skip
_FIELDS = {
    "error": "error", "queue": "queue", "func": "func_start", "job": "job_id", "run": "named",
    "worker": "worker_id", "tag": "tag", "about": "about",
    "batch": "batch",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """One term: what was written, its prefix (empty for a plain word), and the rest of it."""

    written: str
    prefix: str
    value: str


def terms(text: str) -> Iterator[Term]:
    """Yield the terms of a search. A prefix that is none, as in "shop.orders:pay", is a part of its word."""
    for found in _TERM.finditer(text):
        prefix = (found["name"] or "").lower()
        value = found["quoted"] if found["quoted"] is not None else found["bare"]
        if prefix == "arg" and found["path"]:
            yield Term(found[0], "arg", f"{found['path'][1:]}:{value}")
        elif prefix in PREFIXES and not found["path"] and value:
            yield Term(found[0], prefix, value)
        else:
            yield Term(found[0], "", found[0] if found["name"] else value)


def read(text: str, *, with_arguments: bool) -> dict[str, Any]:
    """Return the fields of `Criteria` that a search sets.

    A term whose value is none for its prefix, "took:long", counts as a plain word, and so does one of arguments
    where these may not be searched.
    """
    words: list[str] = []
    found: dict[str, Any] = {}
    for term in terms(text):
        set_by_it = {} if term.prefix == "arg" and not with_arguments else _read(term)
        found |= set_by_it
        if not set_by_it:
            words.append(term.written if term.prefix else term.value)
    return {**found, "text": " ".join(filter(None, words))} if words else found


def _read(term: Term) -> dict[str, Any]:
    """Return what a term sets; nothing for a plain word and for a value that is none."""
    match term.prefix:
        case "":
            return {}
        case "arg":
            return {"argument": term.value}
        case "status":
            status = _status(term.value)
            return {"status": status} if status else {}
        case "after" | "before":
            at = _moment(term.value)
            return {f"ended_{'since' if term.prefix == 'after' else 'until'}": at} if at else {}
        case "took" | "attempt":
            return _read_number(term)
    return {_FIELDS[term.prefix]: term.value}


def _read_number(term: Term) -> dict[str, Any]:
    number = _DURATION.fullmatch(term.value)
    if number is None:
        return {}
    sign = "<" if number["way"] == "<" else ""
    if term.prefix == "took":
        return {"took": f"{sign}{float(number['count']) * _SECONDS[number['unit']]:g}"}
    is_whole = not number["unit"] and "." not in number["count"]
    return {"attempts": sign + number["count"]} if is_whole else {}


def _status(word: str) -> str:
    word = word.lower()
    if word.upper() in Status.values:
        return word.upper()
    return word if word in WAITING else _STATUSES.get(word, "")


def _moment(text: str) -> datetime | None:
    """Return a time of today, or of yesterday where today's is still to come; or a day or time in full."""
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return local_time(text)
    hour, minute, second = (int(part or 0) for part in clock.groups())
    now = timezone.localtime()
    try:
        at = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
    except ValueError:
        return None
    return at if at <= now else at - timedelta(days=1)


def local_time(text: str) -> datetime | None:
    """Return the time that somebody wrote, of the reader's zone unless it has an offset; None for none."""
    try:
        at = datetime.fromisoformat(text)
        at = at if timezone.is_aware(at) else timezone.make_aware(at)
        return min(max(at, EARLIEST), LATEST)
    except (ValueError, OverflowError):
        return None
