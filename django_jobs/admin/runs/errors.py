"""The page of errors: one row for each exception and place, with ways to its runs and to retry them all."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from django_jobs.admin.dashboard.labels import number
from django_jobs.admin.dashboard.ranges import RANGES
from django_jobs.admin.runs.bulk_page import actions_for
from django_jobs.admin.shared import charts, display, times
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.models import Status, jobs_database
from django_jobs.operations import failures
from django_jobs.operations.run_query.search_words import local_time

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from django_jobs.operations.failures import Failure

# Errors on the page, functions of each that are named, and steps of the pictures.
MOST, FUNCTIONS, STEPS = 50, 3, 30
DEFAULT_RANGE = "day"


class ErrorsMixin(ModelAdmin):
    """Adds the page of errors."""

    def get_urls(self) -> list[URLPattern]:
        """Add its address."""
        return [self.page_at("errors/", require_safe(self.errors_view), "run_errors"), *super().get_urls()]

    def errors_view(self, request: HttpRequest) -> HttpResponse:
        """Show what failed within a range, or since a time."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        now = timezone.now()
        chosen, since = _time(request, now)
        length = max(now - since, timedelta(minutes=1))
        steps = [since + length * index / STEPS for index in range(STEPS)]
        found = failures.since(since, most=MOST, steps=steps, using=jobs_database())
        failed = {"status": Status.FAILED.value, "ended_from": since.isoformat()}
        context = {
            "title": gettext("Errors"),
            "ranges": [
                {"name": name, "label": one.label, "is_chosen": name == chosen}
                for name, one in RANGES.items()
            ],
            "since": f"{timezone.localtime(since):%Y-%m-%dT%H:%M}",
            "rows": [self._row(request, one, failed) for one in found.groups],
            "found": found,
            "newest": number(failures.NEWEST),
            "list_url": self.address("run_changelist", **failed),
            "export_url": self.address("run_export", "csv", **failed),
            "width": charts.WIDTH,
            "height": charts.HEIGHT,
        }
        return self.wide_page(request, "run/errors.html", **context)

    def _row(self, request: HttpRequest, one: Failure, failed: dict[str, str]) -> dict[str, Any]:
        alike = {**failed, "failure": one.key}
        retry_url = self.address("run_bulk", **alike, do="retry")
        return {
            "failure": one,
            "message": one.message.removeprefix(f"{one.exception}: ").partition("\n")[0],
            "url": self.address("run_changelist", **alike),
            "all_url": self.address("run_changelist", failure=one.key),
            "retry_url": retry_url if "retry" in actions_for(request) else "",
            "run_url": self.address("run_change", one.run_id),
            "functions": [name for name, _count in one.functions.most_common(FUNCTIONS)],
            "more_functions": max(0, len(one.functions) - FUNCTIONS),
            "first": times.relative(one.first_at),
            "last": times.relative(one.last_at),
            "spark": charts.sparkline(one.points),
            "text": _as_text(one),
        }


def _time(request: HttpRequest, now: datetime) -> tuple[str, datetime]:
    """Return the name of the chosen range, "" for a time of one's own, and when it begins."""
    since = local_time(request.GET.get("since", ""))
    if since is not None:
        return "", min(since, now)
    chosen = request.GET.get("range", "")
    chosen = chosen if chosen in RANGES else DEFAULT_RANGE
    return chosen, now - RANGES[chosen].length


def _as_text(one: Failure) -> str:
    """Return an error as text to put into a ticket."""
    lines = [
        f"{one.exception} at {one.place}",
        display.cut(one.message, failures.MESSAGE),
        f"{'at least ' if one.is_least else ''}{one.count} failed, last {times.plain(one.last_at)} (run {one.run_id})",
        f"first {times.plain(one.first_at)}" if one.first_at else "",
        f"functions: {', '.join(sorted(one.functions))}",
        f"django_jobs {one.version}" if one.version else "",
    ]
    return "\n".join(filter(None, lines))
