"""The page of a day: which jobs fire in which of its hours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.utils import formats, timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext

from django_jobs import triggers
from django_jobs.admin.dashboard.labels import number
from django_jobs.admin.dashboard.upcoming import is_frequent
from django_jobs.admin.dashboard.viewer import Viewer
from django_jobs.admin.shared import charts, display
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, Run, jobs_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

# Jobs that are looked at, the next ones first, and firings that are looked for: a trigger is asked for each.
MOST_JOBS, MOST_FIRINGS = 2000, 2000
# Times of one job that are written out in an hour.
TIMES = 6
# Days ahead that can be chosen.
AHEAD = timedelta(days=366)


@dataclass(slots=True)
class Line:
    """One job in one hour."""

    job: Job
    schedule: str
    times: list[datetime] = field(default_factory=list)


@dataclass(slots=True)
class Day:
    """What fires in a day.

    Attributes:
        hours: By the hour, in the zone of the page, its jobs by the time of their first firing in it.
        frequent: Jobs that fire every few minutes, with their schedules; they are in no hour.
        is_cut: Whether there was too much to look at.
    """

    hours: dict[int, list[Line]]
    frequent: list[tuple[Job, str]]
    is_cut: bool = False


def of_day(begins_at: datetime, ends_at: datetime) -> Day:
    """Return what fires in a day, with one query.

    Args:
        begins_at: When it begins, or now: what is past has fired.
        ends_at: When it ends.
    """
    jobs: Any = Job.objects.using(jobs_database()).active().order_by("next_run_time", "pk")
    shown = ("pk", "name", "func", "next_run_time", "job_state")
    found = list(jobs.filter(next_run_time__lt=ends_at).only(*shown)[: MOST_JOBS + 1])
    day = Day({}, [], is_cut=len(found) > MOST_JOBS)
    left = MOST_FIRINGS
    for job in found[:MOST_JOBS]:
        if left == 0:
            # Nothing would be shown of what follows.
            day.is_cut = True
            break
        try:
            trigger = triggers.loads(job.job_state)
        except UnknownTrigger:
            continue
        schedule = triggers.describe(trigger)
        if is_frequent(job):
            day.frequent.append((job, schedule))
            continue
        of_hours: dict[int, Line] = {}
        for at in _firings(trigger, job.next_run_time, begins_at, ends_at):
            if left == 0:
                day.is_cut = True
                break
            left -= 1
            hour = timezone.localtime(at).hour
            of_hours.setdefault(hour, Line(job, schedule)).times.append(at)
        for hour, line in of_hours.items():
            day.hours.setdefault(hour, []).append(line)
    for lines in day.hours.values():
        lines.sort(key=lambda line: line.times[0])
    return day


def _firings(trigger: Any, next_at: datetime, begins_at: datetime, ends_at: datetime) -> Iterator[datetime]:
    """Yield when a job fires in a time, from its next firing on."""
    at: datetime | None = next_at
    if next_at < begins_at:
        # From the moment before it: it may fire when that time begins.
        before = triggers.local(trigger, begins_at - timedelta(microseconds=1))
        at = trigger.get_next_fire_time(before, before)
        if next_at >= timezone.now():
            at = at if at is None or at >= next_at else next_at
    while at is not None and at < ends_at:
        if at >= begins_at:
            yield at
        at = triggers.following(trigger, at)


class CalendarMixin(ModelAdmin):
    """Adds the page of a day."""

    def get_urls(self) -> list[URLPattern]:
        """Add its address."""
        return [self.page_at("calendar/", self.calendar_view, "job_calendar"), *super().get_urls()]

    def calendar_view(self, request: HttpRequest) -> HttpResponse:
        """Show what fires in the hours of a day: `?day=2026-12-01&from=2&until=4`, by default all of today."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        viewer = Viewer(request, self.admin_site)
        now = timezone.now()
        first, end = _hour(request.GET.get("from", ""), 0), _hour(request.GET.get("until", ""), 24)
        if first >= end:
            first, end = 0, 24
        chosen = _chosen_day(request.GET.get("day", ""), end)
        begins_at = timezone.make_aware(datetime.combine(chosen, time()))
        ends_at = timezone.make_aware(datetime.combine(chosen + timedelta(days=1), time()))
        day = of_day(max(begins_at, now), ends_at)
        counts = {hour: sum(len(line.times) for line in lines) for hour, lines in day.hours.items()}
        most = max(counts.values(), default=0)
        hours = [
            {
                "label": f"{hour:02}:00",
                "count": number(counts.get(hour, 0)),
                "share": charts.share(counts.get(hour, 0), most),
                "lines": [self._line(viewer, line) for line in day.hours.get(hour, ())],
            }
            for hour in range(first, end)
            if begins_at + timedelta(hours=hour + 1) > now
        ]
        context = {
            "title": gettext("Calendar"),
            "day": chosen,
            "first": first,
            "end": end,
            "choices": range(25),
            "before": _url(chosen - timedelta(days=1), first, end) if chosen > timezone.localdate() else "",
            "after": _url(chosen + timedelta(days=1), first, end),
            "runs_url": viewer.list_url(Run, ended_from=begins_at.isoformat()) if begins_at < now else "",
            "hours": hours,
            "is_empty": not any(hour["lines"] for hour in hours),
            "frequent": [
                (viewer.link(Job, job.pk, display.cut(job.pk, 60)), schedule)
                for job, schedule in day.frequent
            ],
            "is_cut": day.is_cut,
        }
        return self.wide_page(request, "job/calendar.html", **context)

    def _line(self, viewer: Viewer, line: Line) -> dict[str, Any]:
        return {
            "job": viewer.link(Job, line.job.pk, display.cut(line.job.pk, 60)),
            "func": line.job.func,
            "schedule": line.schedule,
            "times": [formats.time_format(timezone.localtime(at), "H:i") for at in line.times[:TIMES]],
            "more": max(0, len(line.times) - TIMES),
        }


def _chosen_day(text: str, end: int) -> date:
    """Return the day of an address, unless it is past or far away.

    Without one it is today, or tomorrow where the hour at which the chosen ones end is over.
    """
    today = timezone.localdate()
    if not text and end <= timezone.localtime().hour:
        return today + timedelta(days=1)
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    return found if found is not None and today <= found <= today + AHEAD else today


def _hour(text: str, otherwise: int) -> int:
    return (
        int(text) if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 24 else otherwise
    )


def _url(day: date, first: int, end: int) -> str:
    return f"?day={day.isoformat()}&from={first}&until={end}"
