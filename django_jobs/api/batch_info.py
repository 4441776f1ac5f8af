"""What `get_batch` returns: a plain dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from django_jobs.models import Run, Status

if TYPE_CHECKING:
    from datetime import datetime

    from django_jobs.models import Batch


class BatchInfo(TypedDict):
    """One batch, as `JsonResponse` can send it. Times are ISO 8601 in UTC, or None where they have not come."""

    id: str
    name: str
    status: str  # open, running, cancelling, successful, failed, cancelled
    total: int  # runs so far
    unfinished: int
    successful: int
    failed: int
    cancelled: int
    skipped: int
    created_at: str
    closed_at: str | None
    ended_at: str | None
    jobs: dict[str, str]  # the jobs that its end added: "end", "success", "failure" to their ids


def of_row(row: Batch) -> BatchInfo:
    """Return a batch as a plain dict."""
    return BatchInfo(
        id=row.key,
        name=row.name,
        status=row.state,
        total=row.total,
        unfinished=row.total - row.ended_runs,
        successful=row.successful,
        failed=row.failed,
        cancelled=row.cancelled,
        skipped=row.skipped,
        created_at=row.created_at.isoformat(),
        closed_at=iso(row.closed_at),
        ended_at=iso(row.ended_at),
        jobs=dict(row.callback_jobs or {}),
    )


def failure_of(row: Batch, *, using: str) -> str:
    """Say in a line what failed of a batch, and the first that did."""
    counts = [
        f"{count} {word}" for word in ("failed", "cancelled", "skipped") if (count := getattr(row, word))
    ]
    first = Run.objects.using(using).filter(batch_id=row.pk, status=Status.FAILED).order_by("pk").first()
    of = f"; the first is run {first.pk} ({first.name}): {first.error}" if first is not None else ""
    return f"of its {row.total} runs {', '.join(counts)}{of}"


def iso(moment: datetime | None) -> str | None:
    """Return a time as a dict has it."""
    return moment.isoformat() if moment else None
