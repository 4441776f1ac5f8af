"""The runs that match, as CSV or JSON, a few at a time: however many they are, few are in memory."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, StreamingHttpResponse
from django.utils import timezone

from django_jobs import codec
from django_jobs.admin.runs.retry_with_changes import may_see_payload
from django_jobs.exceptions import BadPayload
from django_jobs.models import Run, jobs_database
from django_jobs.operations import selection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from django.http import HttpRequest, HttpResponse

    from django_jobs.admin.runs.page import RunAdmin
    from django_jobs.operations.selection import Selection

# Runs in memory at once; with arguments, results and logs each may have some megabytes.
SMALL_BATCH, BATCH = 20, 1000
TIMES = ("scheduled_at", "enqueued_at", "run_after", "started_at", "finished_at")
PLAIN = (
    "id", "job_id", "name", "func", "kind", "status", "queue_name", "priority", "attempt", "rescues",
    "worker_id", *TIMES, "error",
)  # fmt: skip
# Only for those who may see them.
PAYLOAD = ("args", "kwargs", "result", "errors", "log")
STORED = ("payload", "options", "result", "errors", "log")
# What a spreadsheet would take for a formula, or for the end of a cell.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - some read the wide forms as well


def view(admin: RunAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Send the runs that match the address' filters as a file."""
    if not admin.has_view_or_change_permission(request):
        raise PermissionDenied
    if kind not in _WRITERS:
        raise Http404
    using = jobs_database()
    wanted = selection.of_query(request.GET).asked_for(request.GET.get("q", ""), using=using)
    write, content_type = _WRITERS[kind]
    parts = write(_batches(wanted, using, with_payload=may_see_payload(request)), may_see_payload(request))
    # Under ASGI an iterator that is not asynchronous would be read to its end first.
    body = _asynchronously(parts) if isinstance(request, ASGIRequest) else parts
    stamp = timezone.localtime().strftime("%Y-%m-%d-%H%M")
    return StreamingHttpResponse(
        body,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="runs-{stamp}.{kind}"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )  # type: ignore[return-value]


async def _asynchronously(parts: Iterator[str]) -> AsyncIterator[str]:
    def take() -> str | None:
        return next(parts, None)

    while (part := await sync_to_async(take)()) is not None:
        yield part


def _batches(wanted: Selection, using: str, *, with_payload: bool) -> Iterator[list[dict[str, Any]]]:
    size = SMALL_BATCH if with_payload else BATCH
    columns = [*PLAIN, *(STORED if with_payload else ())]
    for ids, _way in selection.walk(wanted, size=size, newest_first=True, using=using):
        if ids:
            rows = Run.objects.using(using).filter(pk__in=ids).order_by("-pk").values(*columns)
            yield [_row(row, with_payload=with_payload) for row in rows]


def _row(row: dict[str, Any], *, with_payload: bool) -> dict[str, Any]:
    """Return what is exported of a run, without its secrets."""
    shown = {name: row[name] for name in PLAIN}
    for name in TIMES:
        shown[name] = row[name].isoformat() if row[name] else None
    if not with_payload:
        return shown
    options = row["options"] if isinstance(row["options"], dict) else {}
    try:
        args, kwargs = codec.display_arguments(row["payload"], sensitive=options.get("sensitive") or ())
    except BadPayload:
        args, kwargs = [], {}
    return {
        **shown,
        "args": args,
        "kwargs": kwargs,
        "result": codec.plain(row["result"]),
        "errors": row["errors"] or [],
        "log": row["log"],
    }


def _json(batches: Iterator[list[dict[str, Any]]], with_payload: bool) -> Iterator[str]:
    yield "["
    comma = ""
    for batch in batches:
        text = ",\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in batch)
        yield f"{comma}\n{text}"
        comma = ","
    yield "\n]\n"


class _Lines:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        """Return the text."""
        return text


def _csv(batches: Iterator[list[dict[str, Any]]], with_payload: bool) -> Iterator[str]:
    columns: Sequence[str] = [*PLAIN, *PAYLOAD] if with_payload else PLAIN
    writer: Any = csv.writer(_Lines())
    # With its mark spreadsheets know that it is UTF-8.
    yield "\ufeff" + writer.writerow(columns)
    for batch in batches:
        yield "".join(writer.writerow([_cell(row[name]) for name in columns]) for row in batch)


def _cell(value: Any) -> Any:
    """Return what a cell shows: numbers as they are, and no text that a spreadsheet would execute."""
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.replace("\x00", "\\x00")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


_WRITERS: dict[str, tuple[Callable[[Iterator[list[dict[str, Any]]], bool], Iterator[str]], str]] = {
    "csv": (_csv, "text/csv; charset=utf-8"),
    "json": (_json, "application/json"),
}
