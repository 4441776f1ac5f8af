"""The job that writes a report of what the database holds, and three that show failures and a limit."""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db.models import Count, Max, Sum
from django.template.loader import render_to_string
from django.utils import timezone

from django_jobs import Limit, Retry, cron, current_run, job, recurring
from documents.models import Chunk, Document
from mailings.models import Recipient

# Older files are removed: reports come every minute.
MOST_REPORTS = 20


@recurring(seconds=30, args=["html"], job_id="demo-report")
@cron("* * * * *", args=["csv"], job_id="demo-report-csv")
def write_report(kind: Literal["html", "csv"] = "html") -> dict[str, Any]:
    """Write what the database holds to a new file in `VAR_DIR/reports`, which keeps the last 20.

    The file appears whole or not at all.

    Args:
        kind: `"html"`, a page to read, or `"csv"`, one figure to a row.

    Returns:
        `path` of the file, and `rows`: how many rows its table has.

    Raises:
        ValueError: `kind` is neither.
    """
    now = timezone.now()
    figures = collect_figures()
    match kind:
        case "html":
            text, rows = (
                render_to_string("reports/report.html", {**figures, "now": now}),
                len(figures["kinds"]),
            )
        case "csv":
            text, rows = _write_csv(figures)
        case _:
            raise ValueError(f"kind is {kind!r}; it must be 'html' or 'csv'")
    path = settings.VAR_DIR / "reports" / f"report-{now:%Y%m%dT%H%M%S.%fZ}.{kind}"
    write_whole(path, text)
    # By time, which is first in their names.
    for old in sorted(path.parent.glob("report-*"))[:-MOST_REPORTS]:
        old.unlink(missing_ok=True)
    return {"path": str(path), "rows": rows}


@job(retry=Retry(max_attempts=4, delay=2))
async def ask_other_library(title: str) -> str:
    """Ask another library for a book; it only answers at the third attempt.

    Raises:
        ConnectionError: It does not answer yet.
    """
    await asyncio.sleep(0.5)
    run = current_run()
    if run and run.attempt < 3:
        raise ConnectionError("the other library does not answer")
    return f"{title} is there"


@job
def print_report(copies: int = 1) -> None:
    """Print the newest report; there is no printer, so that the admin has a failure to show.

    Raises:
        ConnectionError: Always.
    """
    raise ConnectionError(f"no printer for {copies} copies")


# There is one scanner, however many processes work.
@job(limit=Limit("scanner", concurrency=1))
def scan_book(title: str, pages: int = 12) -> int:
    """Scan a book, a page each half a second, and say each in the run's log.

    There is no scanner, so nothing is read: a limit, a progress and a live log are what it shows.

    Returns:
        How many pages it scanned.
    """
    run = current_run()
    for page in range(1, pages + 1):
        if run:
            # Sleeps, and wakes up when the run should end.
            run.wait(0.5)
            if run.is_cancelled:
                raise RuntimeError(f"stopped before page {page} of {title}")
            run.log("page %s of %s", page, title)
            run.set_progress(page, pages, title)
    return pages


def collect_figures() -> dict[str, Any]:
    """Count documents, chunks and bytes by kind, and recipients.

    Returns:
        `kinds`: a dict for each kind of document there is, by name, with `kind`, `documents`, `chunks`,
        `size_bytes` and `last_ingested_at`. `totals`: the same over all kinds. `recipients` and
        `subscribed`: counts.
    """
    # Two queries: counting chunks in the first would join them in, and count each document's bytes repeatedly.
    chunks = dict(Chunk.objects.values_list("document__kind").annotate(Count("pk")))
    kinds = [
        {**row, "chunks": chunks.get(row["kind"], 0)}
        for row in Document.objects.values("kind")
        .annotate(documents=Count("pk"), size_bytes=Sum("size_bytes"), last_ingested_at=Max("ingested_at"))
        .order_by("kind")
    ]
    totals = {name: sum(row[name] for row in kinds) for name in ("documents", "chunks", "size_bytes")}
    return {
        "kinds": kinds,
        "totals": totals
        | {"last_ingested_at": max((row["last_ingested_at"] for row in kinds), default=None)},
        "recipients": Recipient.objects.count(),
        "subscribed": Recipient.objects.filter(subscribed=True).count(),
    }


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader ever sees a part of it; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is only atomic within one file system.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=".", delete=False
    ) as file:
        unfinished = Path(file.name)
        try:
            file.write(text)
            file.close()
            unfinished.chmod(0o644)  # a temporary file is its owner's alone
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _write_csv(figures: dict[str, Any]) -> tuple[str, int]:
    rows = [
        (name, row["kind"], _plain(row[name]))
        for row in [*figures["kinds"], {"kind": "all", **figures["totals"]}]
        for name in ("documents", "chunks", "size_bytes", "last_ingested_at")
    ]
    rows += [
        ("recipients", "all", figures["recipients"]),
        ("recipients", "subscribed", figures["subscribed"]),
    ]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["figure", "of", "value"])
    writer.writerows(rows)
    return file.getvalue(), len(rows)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
