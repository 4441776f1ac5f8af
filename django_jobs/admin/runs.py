"""Admin pages of runs: the queue and its history, of which there may be millions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q
from django.db.models.functions import Left
from django.urls import path
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_jobs import codec, queue, wakeup
from django_jobs.admin import display, paging
from django_jobs.admin.steering import SteeredAdmin
from django_jobs.live import views as live_views
from django_jobs.manager import get_job_manager
from django_jobs.models import (
    DEFAULT_QUEUE_NAME,
    FINISHED,
    UNFINISHED,
    InStatus,
    Job,
    Kind,
    Queue,
    Run,
    Status,
    Worker,
    jobs_database,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest, QueryDict
    from django.urls import URLPattern

# Columns that the list does not show, and that can be large.
BIG = ("payload", "signature", "options", "result", "error", "errors", "log", "progress")
# States of one index, which SQLite uses only when it is asked for all of them.
UNSUCCESSFUL = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)
ERROR_LENGTH = 120


class StatusFilter(admin.SimpleListFilter):
    """By status, through the indexes of each."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer every status."""
        return Status.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Select with the status as a literal."""
        value = self.value()
        if value not in Status.values:
            return queryset
        status = Status(value)
        if status in UNSUCCESSFUL:
            queryset = queryset.filter(InStatus(*UNSUCCESSFUL))
        return queryset.filter(InStatus(status))


class KindFilter(admin.SimpleListFilter):
    """By how the job came to be."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer every kind."""
        return Kind.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Select by kind."""
        return queryset.filter(kind=self.value()) if self.value() in Kind.values else queryset


class AgeFilter(admin.SimpleListFilter):
    """By when a run was added."""

    title = _("enqueued")
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer what operators look at."""
        return [("hour", _("Last hour")), ("today", _("Today")), ("week", _("Last 7 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Select what is young enough."""
        now = timezone.localtime()
        moments: dict[str | None, datetime] = {
            "hour": now - timedelta(hours=1),
            "today": now.replace(hour=0, minute=0, second=0, microsecond=0),
            "week": now - timedelta(days=7),
        }
        moment = moments.get(self.value())
        if moment is None:
            return queryset
        if _is_search(request.GET):
            # Bounded by the newest rows. Of two lower bounds SQLite would choose the first.
            return queryset.filter(enqueued_at__gte=moment)
        return paging.since(queryset, moment)


class QueueFilter(admin.SimpleListFilter):
    """By queue."""

    title = _("queue")
    parameter_name = "queue"
    # Newest runs that are asked for the names of their queues.
    LOOKED_AT = 1000

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the queues that jobs, operators and the newest runs name, without a look at all history."""
        names = {DEFAULT_QUEUE_NAME, *Queue.objects.values_list("name", flat=True)}
        names.update(Job.objects.order_by().values_list("queue_name", flat=True).distinct())
        names.update(Run.objects.order_by("-pk").values_list("queue_name", flat=True)[: self.LOOKED_AT])
        if self.value():
            names.add(str(self.value()))
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Select by name."""
        name = self.value()
        return queryset.filter(queue_name=name) if name else queryset


class RunList(ChangeList):
    """The list of runs: newest first whatever is asked, without the large columns."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Refuse other orders: each would sort the whole table."""
        return ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Bound the rows that a filter without an index looks at."""
        runs: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if not self.query and _is_search(request.GET):
            runs = paging.newest(runs)
        runs = runs.annotate(error_start=Left("error", ERROR_LENGTH + 1))
        return runs.defer(*BIG)


@admin.register(Run)
class RunAdmin(SteeredAdmin):
    """Runs: what waits, what runs and what became of the rest."""

    list_display = ["number", "call", "state", "enqueued_in", "started_by", "took", "beginning_of_error"]
    list_display_links = ["number", "call"]
    list_filter = [StatusFilter, AgeFilter, KindFilter, QueueFilter]
    list_per_page = 100
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER
    paginator = paging.CappedPaginator
    ordering = ["-pk"]
    # What `get_search_results` does with it is ours; stock admin shows the field only for some.
    search_fields = ["=job_id", "^func"]
    search_help_text = _(
        "By a job's id or a run's number, or by the beginning of a function's name. Names, kinds, queues "
        "and successes are looked for among the newest 200,000 runs, unless another status or a job narrows them."
    )
    actions = ["cancel", "retry", "delete_selected"]
    buttons = {"cancel": _("Cancel"), "retry": _("Retry")}
    readonly_fields = [
        "number", "job", "state", "enqueued", "scheduled", "waits_until", "waited", "started", "finished",
        "took", "worker", "done_so_far", "arguments", "policy", "returned", "last_error", "attempts",
        "written_log",
    ]  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        """Add the address that live pages ask."""
        changes = self.admin_site.admin_view(live_views.changes)
        return [path("changes/", changes, name="django_jobs_changes"), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `RunList` does."""
        return RunList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow no filters from the address but our own: each other would read the whole table."""
        return lookup in {"status", "since", "kind", "queue", "job_id", "worker_id"}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Search by id first, which is cheap, then by the beginning of a function's name."""
        term = search_term.strip()
        if not term:
            return queryset, False
        is_wanted = Q(job_id=term)
        # Nineteen digits are more than a row's number can have on some databases.
        if term.isascii() and term.isdecimal() and len(term) < 19:
            is_wanted |= Q(pk=int(term))
        found = queryset.filter(is_wanted)
        if found.exists():
            return found, False
        by_name = queryset.filter(func__startswith=term)
        return (paging.newest(by_name) if _is_search(request.GET) else by_name), False

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Any:
        """Show what the run has come to so far."""
        if obj is None:
            return [(None, {"fields": ["number"]})]
        first: list[Any] = [("number", "state"), "job", "func"]
        first += ["last_error"] if obj.error else []
        first += ["done_so_far"] if obj.progress else []
        due = ["scheduled"] if obj.scheduled_at else []
        due += ["enqueued"]
        due += ["waits_until"] if obj.status == Status.READY else ["waited"]
        times: list[Any] = [due]
        times += [("started", "took", "finished")] if obj.started_at or obj.finished_at else []
        call = ["arguments", "returned"] if obj.result is not None else ["arguments"]
        how = [("kind", "queue_name", "priority"), ("attempt", "rescues", "worker"), "policy"]
        return [
            (None, {"fields": first}),
            (_("Times"), {"fields": times}),
            (_("Call"), {"fields": [*call, *how]}),
            *([(_("Attempts that failed"), {"fields": ["attempts"]})] if obj.errors else []),
            *([(_("Log"), {"fields": ["written_log"]})] if obj.log else []),
        ]

    def fitting(self, obj: Run) -> Sequence[str]:
        """Offer to end what is unfinished, and to retry what failed or is held."""
        is_held = obj.status == Status.READY and obj.run_after is None
        can_end = obj.status in UNFINISHED and not obj.cancel_requested
        can_retry = obj.status in UNSUCCESSFUL or is_held
        return [name for name, fits in (("cancel", can_end), ("retry", can_retry)) if fits]

    # Columns and fields

    @admin.display(description=_("run"))
    def number(self, run: Run) -> str:
        """Show its number without separators, to be searched for."""
        return str(run.pk)

    @admin.display(description=_("job"))
    def call(self, run: Run) -> str:
        """Show the job's id and the function, which together say what it is."""
        return format_html('{}<span class="jobs-more">{}</span>', run.job_id, run.func)

    @admin.display(description=_("status"))
    def state(self, run: Run) -> str:
        """Show the status, or what it waits for."""
        return display.label(display.run_state(_with_short_error(run)))

    @admin.display(description=_("enqueued"))
    def enqueued(self, run: Run) -> str:
        """Show when it was added."""
        return display.moment(run.enqueued_at)

    @admin.display(description=_("enqueued"))
    def enqueued_in(self, run: Run) -> str:
        """Show when it was added, and to which queue."""
        return format_html(
            '{}<span class="jobs-more">{}</span>',
            display.moment(run.enqueued_at),
            gettext("queue %s") % run.queue_name,
        )

    @admin.display(description=_("scheduled for"))
    def scheduled(self, run: Run) -> str:
        """Show the firing that it stands for."""
        return display.moment(run.scheduled_at)

    @admin.display(description=_("not before"))
    def waits_until(self, run: Run) -> str:
        """Show from when it may run."""
        if run.run_after is not None:
            return display.moment(run.run_after)
        return gettext("Held until its job is resumed, or this run is retried.")

    @admin.display(description=_("started"))
    def started(self, run: Run) -> str:
        """Show when its last attempt began."""
        return display.moment(run.started_at)

    @admin.display(description=_("started"))
    def started_by(self, run: Run) -> str:
        """Show when its last attempt began, which one it was, and whose."""
        if not run.attempt:
            return display.moment(run.started_at)
        words = {"number": run.attempt, "worker": run.worker_id or "?"}
        return format_html(
            '{}<span class="jobs-more">{}</span>',
            display.moment(run.started_at),
            gettext("attempt %(number)d on %(worker)s") % words,
        )

    @admin.display(description=_("waited"))
    def waited(self, run: Run) -> str:
        """Show the time from being due to its last attempt."""
        return display.between(run.scheduled_at or run.enqueued_at, run.started_at)

    @admin.display(description=_("finished"))
    def finished(self, run: Run) -> str:
        """Show when it ended."""
        return display.moment(run.finished_at)

    @admin.display(description=_("took"))
    def took(self, run: Run) -> str:
        """Show how long its last attempt took."""
        return display.run_duration(run)

    @admin.display(description=_("error"))
    def beginning_of_error(self, run: Run) -> str:
        """Show as much of the error as fits a row."""
        return display.cut(getattr(run, "error_start", "") or "", ERROR_LENGTH) or display.EMPTY

    @admin.display(description=_("job"))
    def job(self, run: Run) -> str:
        """Link to its job, if that is still there, and to the runs beside it."""
        name: str = run.job_id
        if Job.objects.filter(pk=run.job_id).exists():
            name = display.link(self.admin_site, Job, run.job_id, run.job_id)
        every = display.list_link(self.admin_site, gettext("all runs of this job"), job_id=run.job_id)
        return format_html('{}<span class="jobs-more">{}</span>', name, every)

    @admin.display(description=_("worker"))
    def worker(self, run: Run) -> str:
        """Link to the worker that has or had it, if its row is still there."""
        if not run.worker_id:
            return display.EMPTY
        if Worker.objects.filter(pk=run.worker_id).exists():
            return display.link(self.admin_site, Worker, run.worker_id, run.worker_id)
        return run.worker_id

    @admin.display(description=_("progress"))
    def done_so_far(self, run: Run) -> str:
        """Show how far it has come, as a bar where the whole is known."""
        progress = run.progress
        if not isinstance(progress, dict):
            return display.pretty(progress)
        done, total = progress.get("done"), progress.get("total")
        return display.rendered(
            "run/progress.html",
            done=done,
            total=total,
            message=progress.get("message") or "",
            has_bar=all(isinstance(n, int | float) and n >= 0 for n in (done, total)),
        )

    @admin.display(description=_("arguments"))
    def arguments(self, run: Run) -> str:
        """Show the arguments without their secrets."""
        return display.arguments(run)

    @admin.display(description=_("options"))
    def policy(self, run: Run) -> str:
        """Show retry, timeout and the like."""
        return display.policy(run)

    @admin.display(description=_("result"))
    def returned(self, run: Run) -> str:
        """Show what the function returned."""
        return display.block(display.pretty(codec.plain(run.result)))

    @admin.display(description=_("error"))
    def last_error(self, run: Run) -> str:
        """Show the last error."""
        return format_html('<p class="jobs-problem">{}</p>', display.cut(run.error))

    @admin.display(description=_("attempts"))
    def attempts(self, run: Run) -> str:
        """Show every attempt that failed or was lost, with its traceback folded."""
        entries = run.errors if isinstance(run.errors, list) else [run.errors]
        return display.rendered("run/attempts.html", attempts=[_attempt(entry) for entry in entries])

    @admin.display(description=_("log"))
    def written_log(self, run: Run) -> str:
        """Show what the function logged."""
        return display.rendered("run/log.html", log=run.log)

    # Actions

    @admin.action(permissions=["change"], description=_("Cancel selected runs"))
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Cancel waiting runs, and ask running ones to stop."""
        self.carry_out(
            request,
            queryset,
            _cancel,
            done=lambda n: (
                ngettext(
                    "%d run was cancelled; if it was running, it was asked to stop.",
                    "%d runs were cancelled; those that were running were asked to stop.",
                    n,
                )
                % n
            ),
            log=gettext("Cancelled."),
        )

    @admin.action(permissions=["change"], description=_("Retry selected runs"))
    def retry(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Make runs READY that ended without success, or that are held."""
        self.carry_out(
            request,
            queryset,
            _retry,
            done=lambda n: ngettext("%d run is tried again.", "%d runs are tried again.", n) % n,
            log=gettext("Retried."),
        )

    def why_not_deleted(self, obj: Run) -> str:
        """Keep what is unfinished: work that was accepted is not lost by a click."""
        return "" if obj.status in FINISHED else gettext("is unfinished: cancel it first")

    def remove(self, objects: Sequence[Run]) -> None:
        """Delete runs, unless one was retried this instant."""
        Run.objects.finished().filter(pk__in=[run.pk for run in objects]).delete()


def _is_search(asked: QueryDict) -> bool:
    """Return whether rows must be looked at one by one, for want of an index that narrows them."""
    if asked.get("status") in {*UNFINISHED, *UNSUCCESSFUL} or "job_id" in asked:
        return False
    is_plenty = asked.get("status") == Status.SUCCESSFUL
    return is_plenty or not {"kind", "queue", "worker_id", "q"}.isdisjoint(asked)


def _with_short_error(run: Run) -> Run:
    # The list has loaded the error's beginning; asking for all of it would be a query for each row.
    if "error" in run.get_deferred_fields():
        run.error = getattr(run, "error_start", "")
    return run


def _cancel(run: Run) -> str:
    return "" if get_job_manager().cancel_run(run.pk) else gettext("is finished")


def _retry(run: Run) -> str:
    if get_job_manager().retry_run(run.pk):
        return ""
    # Held, as a run that is paused or broken is: a broken immediate job has no other page to mend it on.
    using = jobs_database()
    if queue.release(Q(pk=run.pk), using=using):
        wakeup.tell(wakeup.RUNS, using=using)
        return ""
    return gettext("did not end without success, or its job was added anew")


def _attempt(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        return {"error": str(entry)}
    started, finished = _time(entry.get("started_at")), _time(entry.get("finished_at"))
    return {
        "number": entry.get("attempt"),
        "worker_id": entry.get("worker_id"),
        "started": display.moment(started),
        "took": display.between(started, finished),
        "error": entry.get("error"),
        "traceback": entry.get("traceback"),
    }


def _time(text: Any) -> datetime | None:
    try:
        at = parse_datetime(text)
    except (TypeError, ValueError):
        return None
    return at if at is not None and timezone.is_aware(at) else None
