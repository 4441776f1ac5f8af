"""How `manage.py jobs` writes: tables, JSON, colours and progress."""

from __future__ import annotations

import json
import shutil
import sys
import time
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_jobs import codec
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.core.management.base import OutputWrapper
    from django.core.management.color import Style

T = TypeVar("T")

_BAR = 30
# Columns that yield become no narrower than this.
NARROW = 12
# A text that does nothing to a terminal.
safe = printable
# The colour of each status, as a role of Django's styles.
ROLES = {
    "running": "MIGRATE_HEADING",
    "successful": "SUCCESS",
    "paused": "WARNING",
    "cancelled": "WARNING",
    "skipped": "WARNING",
    "broken": "ERROR",
    "failed": "ERROR",
}


class Terminal:
    """Writes what actions have to say.

    Args:
        stdout: For what was asked for.
        stderr: For progress and for what went wrong.
        style: Django's colours; its words are plain where `is_coloured` is False.
        is_json: Whether to write JSON in place of text.
        is_coloured: Whether to use colours at all.
    """

    def __init__(
        self,
        stdout: OutputWrapper,
        stderr: OutputWrapper,
        style: Style,
        *,
        is_json: bool = False,
        is_coloured: bool = False,
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._style = style
        self.is_json = is_json
        self._is_coloured = is_coloured
        self._has_progress = False

    def say(self, text: str, role: str = "") -> None:
        """Write a line, unless JSON is written."""
        if not self.is_json:
            self._stdout.write(self.coloured(text, role))

    def raw(self, text: str) -> None:
        """Write a line whatever else is written."""
        self._stdout.write(text)

    def complain(self, text: str) -> None:
        """Write a line about what went wrong."""
        self._stderr.write(text)

    def json(self, value: Any) -> None:
        """Write JSON, if that was asked for."""
        if self.is_json:
            self._stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    def coloured(self, text: str, role: str) -> str:
        """Return a text in the colour of one of Django's roles, as `SUCCESS`; without role as it is."""
        return str(getattr(self._style, role)(text)) if role and self._is_coloured else text

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[str]],
        roles: Sequence[str] = (),
        *,
        has_heads: bool = True,
        yielding: Sequence[str] = (),
    ) -> None:
        """Write rows under headings; a terminal cuts what is wider than it, a file or a pipe does not.

        So that the line fits, columns that may yield are first made narrower, one after the other, and then
        left out.

        Args:
            heads: One for each column.
            rows: Texts.
            roles: The colour of each row's first cell.
            has_heads: Whether to write the headings; not for the rest of a long table.
            yielding: Headings of the columns that may yield to others, the least important first.
        """
        cells = [[safe(cell) or "-" for cell in row] for row in rows]
        widths = [max(width(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
        room = shutil.get_terminal_size().columns if self._stdout.isatty() else None
        if room is not None and _length(widths) > room:
            shown = _fitted(widths, [heads.index(name) for name in yielding], room)
            heads = [heads[i] for i in shown]
            cells = [[_shortened(row[i], limit) for i, limit in shown.items()] for row in cells]
            widths = [max(width(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
        if has_heads:
            self.say(_line(heads, widths, room), "MIGRATE_HEADING")
        for index, row in enumerate(cells):
            line = _line(row, widths, room)
            first = len(row[0])
            role = roles[index] if roles else ""
            self.say(self.coloured(line[:first], role) + line[first:])

    def watch(self, draw: Callable[[], None], seconds: float | None) -> None:
        """Draw something, and with some seconds again and again in its place, until the person interrupts it."""
        while True:
            if seconds is not None and self._stdout.isatty():
                # Clear the screen, and go to its beginning.
                self._stdout.write("\x1b[H\x1b[2J\x1b[3J", ending="")
            draw()
            self._stdout.flush()
            if seconds is None:
                return
            try:
                time.sleep(seconds)
            except KeyboardInterrupt:
                return

    def details(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write names and values, those without a value left out."""
        shown = [(name, value) for name, value in pairs if value]
        longest = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            indent = "\n" + " " * (longest + 2)
            text = safe(value, keep_lines=True).replace("\n", indent)
            self.say(f"{self.coloured(name.ljust(longest), 'MIGRATE_LABEL')}  {text}")

    def progress(self, things: Sequence[T]) -> Iterator[T]:
        """Yield things, and show how many are done, where a person looks on and there are several."""
        is_shown = len(things) > 1
        for index, thing in enumerate(things):
            if is_shown:
                self.progress_text(_bar(index, len(things)))
            yield thing
        if is_shown:
            self.progress_text(_bar(len(things), len(things)))
            self.end_progress()

    def progress_text(self, text: str) -> None:
        """Show how far the work has come, in place of what was shown of that before; to people only."""
        if self._stderr.isatty():
            # Without Django's red, which is for errors.
            self._stderr.write(f"\r{text}", style_func=lambda text: text, ending="")
            self._stderr.flush()
            self._has_progress = True

    def end_progress(self) -> None:
        """Leave the line of progress, if there is one."""
        if self._has_progress:
            self._stderr.write("", ending="\n")
            self._has_progress = False

    def confirm(self, question: str, *, is_sure: bool) -> bool:
        """Ask a person; without one who could answer, only those who are sure may go on.

        Raises:
            EOFError: Nobody could answer.
        """
        if is_sure:
            return True
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _bar(done: int, total: int) -> str:
    filled = _BAR * done // total
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}"


def ids_from(words: Sequence[str]) -> list[str]:
    """Return ids as they were given; `-` stands for the lines of standard input."""
    ids: list[str] = []
    for word in words:
        ids += [codec.storable(line.strip()) for line in sys.stdin if line.strip()] if word == "-" else [word]
    return list(dict.fromkeys(ids))


def width(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    padded = [cell + " " * (wide - width(cell)) for cell, wide in zip(cells, widths, strict=True)]
    line = "  ".join(padded).rstrip()
    if room is None or width(line) <= room:
        return line
    while width(line) >= room:
        line = line[:-1]
    return f"{line}…"


def _length(widths: Iterable[int]) -> int:
    """Return how long a line of columns is."""
    return sum(wide + 2 for wide in widths) - 2


def _fitted(widths: Sequence[int], yielding: Sequence[int], room: int) -> dict[int, int]:
    """Return the columns that are shown, and how wide each may be, for lines that fit if that can be."""
    limits = dict(enumerate(widths))
    for index in yielding:
        excess = _length(limits.values()) - room
        if excess > 0 and limits[index] > NARROW:
            limits[index] = max(NARROW, limits[index] - excess)
    for index in yielding:
        if _length(limits.values()) > room:
            del limits[index]
    return limits


def _shortened(text: str, limit: int) -> str:
    """Return a text of at most so many columns; of a function's path the end, which says more."""
    if width(text) <= limit:
        return text
    is_path = ":" in text and " " not in text
    while width(text) >= limit:
        text = text[1:] if is_path else text[:-1]
    return f"…{text}" if is_path else f"{text}…"


def moment(text: str | None) -> str:
    """Return an ISO time to the second, in the project's time zone."""
    at = parse_datetime(text) if text else None
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}" if isinstance(at, datetime) else ""


def duration(seconds: float | None) -> str:
    """Return a duration with as much precision as its size deserves."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    units: list[tuple[int, str]] = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    rest, words = int(seconds), []
    for size, unit in units:
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2])


def compact(value: Any) -> str:
    """Return JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def sum_up(pairs: Iterable[tuple[int, str]], joint: str = ", ") -> str:
    """Return "2 paused, 1 broken", without what there is none of."""
    return joint.join(f"{count:,} {word}" for count, word in pairs if count)


def progress_of(progress: dict[str, Any] | None) -> str:
    """Return the progress that a run reported, such as "3 of 4 (75%) copying"."""
    if not progress:
        return ""
    done, total, message = progress.get("done"), progress.get("total"), progress.get("message") or ""
    share = f" ({done / total:.0%})" if total and isinstance(done, int | float) else ""
    of = f" of {total:g}" if total is not None else ""
    return f"{done:g}{of}{share} {message}".rstrip()
