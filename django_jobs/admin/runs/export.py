"""The runs that match as CSV or JSON. However many they are, few of them are in memory at a time."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from django_jobs import codec
from django_jobs.admin.runs.list import criteria_of
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.admin.shared.permissions import may_view_payload
from django_jobs.exceptions import BadPayload
from django_jobs.models import Run, jobs_database
from django_jobs.operations import run_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from django_jobs.operations.run_query import Criteria

# Runs in memory at the same time; with arguments, results and logs each may have some megabytes.
SMALL_BATCH, BATCH = 20, 1000
TIMES = ("scheduled_at", "enqueued_at", "run_after", "started_at", "finished_at")
PLAIN = (
    "id", "job_id", "name", "func", "kind", "status", "queue_name", "priority", "attempt", "rescues",
    "worker_id", "about", *TIMES, "error",
)  # fmt: skip
COLUMNS = (*PLAIN, "tags")
# Only for those who may see them.
PAYLOAD = ("args", "kwargs", "result", "errors", "log")
STORED = ("payload", "result", "errors", "log")
# What a spreadsheet would take for a formula, or for the end of a cell.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - some read the wide forms as well


class ExportMixin(ModelAdmin):
    """Adds the files of the runs that match."""

    def get_urls(self) -> list[URLPattern]:
        """Add their addresses."""
        view = require_GET(self.export_view)
        return [self.page_at("export/<slug:kind>/", view, "run_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Send the runs that match the filters of the address as a file."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        if kind not in _WRITERS:
            raise Http404
        using = jobs_database()
        criteria = criteria_of(request)
        write, content_type = _WRITERS[kind]
        with_payload = may_view_payload(request)
        parts = write(_batches(criteria, using, with_payload=with_payload), with_payload)
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


def _batches(criteria: Criteria, using: str, *, with_payload: bool) -> Iterator[list[dict[str, Any]]]:
    size = SMALL_BATCH if with_payload else BATCH
    columns = [*PLAIN, "options", *(STORED if with_payload else ())]
    for ids, _way in run_query.walk(criteria, size=size, newest_first=True, using=using):
        if ids:
            rows = Run.objects.using(using).filter(pk__in=ids).order_by("-pk").values(*columns)
            yield [_row(row, with_payload=with_payload) for row in rows]


def _row(row: dict[str, Any], *, with_payload: bool) -> dict[str, Any]:
    """Return what is exported of a run, without its secrets."""
    shown = {name: row[name] for name in PLAIN}
    for name in TIMES:
        shown[name] = row[name].isoformat() if row[name] else None
    options = row["options"] if isinstance(row["options"], dict) else {}
    shown["tags"] = list(options.get("tags") or ())
    if not with_payload:
        return shown
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
    columns: Sequence[str] = [*COLUMNS, *PAYLOAD] if with_payload else COLUMNS
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
