"""What people are told, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from django_jobs.models import AlertState


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent.

    Attributes:
        kind: As of `AlertState`.
        subject: One line.
        body: Some lines.
        what: The function, or what else it is about.
        is_recovered: Whether it says that all is well again.
        count: How often it happened since the message before.
        run_id: The last run that it is about, or None.
        url: Where to look; "" where that is not known.
    """

    kind: str
    subject: str
    body: str
    what: str
    is_recovered: bool
    count: int
    run_id: int | None
    url: str


def about(row: AlertState, url: str) -> Message:
    """Return the message about something that is wrong.

    Args:
        row: The state, as it is now.
        url: Where the admin is, without a slash at the end; "" if nobody said.
    """
    count = row.count - row.told_count
    what = printable(row.subject)
    if row.kind == "failed":
        subject = f"{what} failed" + (f" {count:,} times" if count > 1 else "")
    elif row.kind in {"late", "longest"}:
        subject = f"{what} is late" if row.kind == "late" else f"{what} takes too long"
    else:
        subject = printable(row.text.partition(". ")[0])[:150]
    address = _address(row, url)
    lines = [printable(row.text)]
    if row.kind == "failed":
        lines.append(
            f"{count:,} {'run' if count == 1 else 'runs'} since {row.opened_at:%Y-%m-%d %H:%M:%S} UTC."
        )
    if row.run_id is not None:
        lines.append(f"The last one: run {row.run_id} (manage.py jobs show --run {row.run_id}).")
    if address:
        lines.append(address)
    return Message(row.kind, subject, "\n".join(lines), row.subject, False, count, row.run_id, address)


def recovered(kind: str, subject: str, count: int, url: str) -> Message:
    """Return the message that something is well again."""
    what = printable(subject)
    words = {
        "failed": f"{what} succeeded again",
        "late": f"{what} is no longer late",
        "longest": f"{what} no longer takes too long",
    }.get(kind, f"solved: {what}")
    body = (
        f"It had failed {count:,} {'time' if count == 1 else 'times'}."
        if kind == "failed"
        else "All is well again."
    )
    return Message(kind, words, body, subject, True, count, None, url)


def _address(row: AlertState, url: str) -> str:
    if not url:
        return ""
    path = f"run/{row.run_id}/change/" if row.run_id is not None else "dashboard/"
    return f"{url}/django_jobs/{path}"
