"""Admin pages of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, F
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from django_jobs import triggers
from django_jobs.admin.jobs import change_words, history, schedule_form
from django_jobs.admin.jobs.add import AddableAdmin
from django_jobs.admin.jobs.edit import EditableAdmin
from django_jobs.admin.jobs.history import BIG
from django_jobs.admin.shared import display, permissions, times
from django_jobs.admin.shared.actions import ActionsAdmin
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError, UnknownTrigger
from django_jobs.models import Job, Run, Status
from django_jobs.scheduler import schedule_edits
from django_jobs.scheduler.declarations import retry_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

# django-apscheduler's words on a job's page: it has no catalogues, so ours translate them.
gettext_noop("Unique id for this job.")
# What a person may change of a declared job.
OVERRIDABLE = {
    "trigger": _("trigger"),
    "next_run_time": _("next run"),
    "queue_name": _("queue"),
    "priority": _("priority"),
    "max_instances": _("max instances"),
    "retry": _("retry"),
    "paused": _("paused"),
}


class StatusFilter(admin.SimpleListFilter):
    """By whether a job fires."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the three states."""
        return [(state, display.STATES[state]) for state in ("scheduled", "paused", "broken")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Apply the selection of that name."""
        jobs: Any = queryset
        match self.value():
            case "scheduled":
                return jobs.active()  # type: ignore[no-any-return]
            case "paused":
                return jobs.paused()  # type: ignore[no-any-return]
            case "broken":
                return jobs.broken()  # type: ignore[no-any-return]
        return queryset


class QueueFilter(admin.SimpleListFilter):
    """By the queue that a job's runs wait in."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Offer the queues of the jobs there are."""
        names = Job.objects.order_by("queue_name").values_list("queue_name", flat=True).distinct()
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Select by name."""
        name = self.value()
        return queryset.filter(queue_name=name) if name else queryset


class JobList(ChangeList):
    """The list of jobs, without their arguments."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Leave out what the list does not show, and what can be large."""
        jobs = super().get_queryset(request, exclude_parameters)
        return jobs.defer("payload", "signature", "options")


@admin.register(Job)
class JobAdmin(AddableAdmin, EditableAdmin, ActionsAdmin):
    """Jobs: what fires when, and how it went last."""

    list_display = [
        "label", "state", "next_firing", "last_outcome", "last_duration", "queue_name", "priority"
    ]  # fmt: skip
    list_display_links = ["label"]
    list_filter = [StatusFilter, "kind", QueueFilter]
    list_per_page = 50
    search_fields = ["id", "name", "func"]
    search_help_text = _("By part of the id, name or function.")
    ordering = [F("next_run_time").asc(nulls_last=True), "pk"]
    actions = ["run_now", "pause", "resume", "back_to_declaration", "delete_selected"]
    buttons = {
        "run_now": _("Run now"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "back_to_declaration": _("Back to declaration"),
    }
    readonly_fields = [
        "summary", "problem", "schedule", "next_firings", "arguments", "hidden_arguments", "policy", "retry",
        "misfire_grace", "created", "last_runs", "declaration", "tags",
    ]  # fmt: skip

    class Media:
        css = {"all": ["django_jobs/admin.css", "django_jobs/jobs.css"]}

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Allow to run jobs now."""
        return permissions.may_run(request)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Allow to pause, resume and reschedule jobs."""
        return permissions.may_manage(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Leave out what no page of a job shows of its last run."""
        jobs = super().get_queryset(request).select_related("last_run")
        return jobs.defer(*(f"last_run__{name}" for name in BIG))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List them as `JobList` does."""
        return JobList

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> Any:
        """Put a broken job's reason first, and leave empty times out."""
        first: list[Any] = ["summary"]
        if obj and obj.broken_reason:
            first.append("problem")
        first += [("id", "name"), "func"]
        if obj and obj.declared is not None:
            first.append("declaration")
        policy = ("max_instances", "coalesce", "misfire_grace")
        arguments = "arguments" if permissions.may_view_payload(request) else "hidden_arguments"
        tags = ["tags"] if obj and obj.tags else []
        return [
            (None, {"fields": first}),
            (_("Schedule"), {"fields": ["schedule", "next_firings", policy, "created"]}),
            (_("Last runs"), {"fields": ["last_runs"]}),
            (
                _("Call"),
                {"fields": [arguments, *tags, ("kind", "queue_name", "priority"), "retry", "policy"]},
            ),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the link to the form of the schedule, for those who may use it."""
        obj = kwargs.get("obj")
        if obj is not None and self.has_manage_permission(request):
            url = reverse(f"{self.admin_site.name}:django_jobs_job_schedule", args=[quote(obj.pk)])
            context["more_tools"] = [{"url": url, "label": gettext("Edit schedule")}]
        return super().render_change_form(request, context, *args, **kwargs)

    def fitting(self, obj: Job) -> Sequence[str]:
        """Offer to pause what fires, to resume what does not, and to undo what differs from the code."""
        names = ["run_now", "pause" if obj.status == "scheduled" else "resume"]
        return [*names, "back_to_declaration"] if obj.overridden else names

    def why_not_deleted(self, obj: Job) -> str:
        """Keep what would come back with the next start of a process."""
        if obj.declared is None:
            return ""
        return gettext("is declared in code and would come back: pause it, or remove its declaration")

    # Columns and fields

    @admin.display(description=_("job"), ordering="id")
    def label(self, job: Job) -> str:
        """Show the id and the function, and a name where it was given one."""
        has_name = job.name != job.func.rpartition(":")[2]
        more = f"{job.name} · {job.func}" if has_name else job.func
        return format_html('{}<span class="jobs-more">{}</span>', job.id, more)

    @admin.display(description=_("status"))
    def state(self, job: Job) -> str:
        """Show whether it fires, and what differs from its declaration."""
        label = display.label(job.status)
        names = _named(name for name in job.overridden if name != "paused")
        if not names:
            return label
        return format_html('{}<span class="jobs-more">{}</span>', label, gettext("overridden: %s") % names)

    @admin.display(description=_("what is wrong"))
    def problem(self, job: Job) -> str:
        """Say why it does not fire, and what to do."""
        return format_html(
            '<p class="jobs-problem">{}</p><p>{}</p>',
            job.broken_reason,
            gettext(
                "The job is kept, and fires nothing until it can be read. Where the code changed, deploy "
                "code that knows it; where the row was signed with another SECRET_KEY, run "
                "“manage.py jobs resign”. Then press “Resume”. Removing the job is safe, too: its "
                "history stays."
            ),
        )

    @admin.display(description=_("declaration"))
    def declaration(self, job: Job) -> str:
        """Say that the code declares it, and what a person changed since, beside what the code says."""
        if not job.overridden:
            return gettext("Declared in code.")
        changed = [(OVERRIDABLE[name], _declared_value(job, name)) for name in job.overridden]
        return format_html(
            '<p>{}</p><ul class="jobs-overrides">{}</ul>',
            gettext("Declared in code, and overridden; deploys leave what was changed alone:"),
            format_html_join("", "<li>{}{}</li>", changed),
        )

    @admin.display(description=_("trigger"))
    def schedule(self, job: Job) -> str:
        """Show the trigger in words."""
        return change_words.trigger(job)

    @admin.display(description=_("status"))
    def summary(self, job: Job) -> str:
        """Show what it does now, did last, and does next."""
        runs = history.newest(job)
        running = sum(run.status == Status.RUNNING for run in runs)
        words = ngettext("%d run under way", "%d runs under way", running) % running
        return display.rendered(
            "job/status.html",
            state=self.state(job),
            running=words if running else "",
            paused=times.both(job.paused_at) if job.paused_at else "",
            paused_by=job.paused_by,
            next=times.both(None if job.broken_reason else job.next_run_time),
            previous=_outcome(runs[0]) if runs else gettext("None yet"),
        )

    @admin.display(description=_("next run"), ordering="next_run_time")
    def next_firing(self, job: Job) -> str:
        """Show when it fires next, and its trigger."""
        at = times.relative(None if job.broken_reason else job.next_run_time)
        return format_html('{}<span class="jobs-more">{}</span>', at, self.schedule(job))

    @admin.display(description=_("next firings"))
    def next_firings(self, job: Job) -> str:
        """Show the next few times."""
        try:
            firings = _firings(job)
        except UnknownTrigger as error:
            return gettext("The stored trigger cannot be read: %s") % error
        if not firings:
            return gettext("None while it is %s.") % str(display.STATES[job.status]).lower()
        return format_html(
            '<ol class="jobs-firings">{}</ol>',
            format_html_join("", "<li>{}</li>", ((times.both(time),) for time in firings)),
        )

    @admin.display(description=_("last outcome"))
    def last_outcome(self, job: Job) -> str:
        """Show how the newest run went, and when."""
        return _outcome(job.last_run) if job.last_run else display.EMPTY

    @admin.display(description=_("took"))
    def last_duration(self, job: Job) -> str:
        """Show how long the newest run took."""
        return display.run_duration(job.last_run) if job.last_run else display.EMPTY

    @admin.display(description=_("arguments"))
    def arguments(self, job: Job) -> str:
        """Show the arguments without their secrets."""
        return display.arguments(job)

    @admin.display(description=_("arguments"))
    def hidden_arguments(self, job: Job) -> str:
        """Say that they are for others to see."""
        return gettext("Shown to those who may view arguments and results.")

    @admin.display(description=_("retry"))
    def retry(self, job: Job) -> str:
        """Show after what a failed attempt is followed by another."""
        return change_words.retry(retry_of(job.options))

    @admin.display(description=_("options"))
    def policy(self, job: Job) -> str:
        """Show retry, timeout and the like."""
        return display.policy(job)

    @admin.display(description=_("tags"))
    def tags(self, job: Job) -> str:
        """Show its tags."""
        return display.tags(job)

    @admin.display(description=_("misfire grace time"))
    def misfire_grace(self, job: Job) -> str:
        """Show how late it may fire."""
        if job.misfire_grace_time is None:
            return gettext("No limit: it runs however late.")
        return display.duration(job.misfire_grace_time)

    @admin.display(description=_("created"))
    def created(self, job: Job) -> str:
        """Show since when it exists."""
        return display.moment(job.created_at)

    @admin.display(description=_("last runs"))
    def last_runs(self, job: Job) -> str:
        """Show the newest runs, and a link to all."""
        return history.history(self.admin_site, job)

    # Actions

    @admin.action(permissions=["run"], description=_("Run selected jobs now"))
    def run_now(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Run jobs now, besides their schedule."""

        def act(job: Job) -> str:
            try:
                get_job_manager().run_job(job.pk)
            except JobLookupError:
                return gettext("is gone")
            return ""

        self.carry_out(
            request,
            queryset,
            act,
            done=lambda n: ngettext("%d job runs now.", "%d jobs run now.", n) % n,
            log=gettext("Run now."),
        )

    @admin.action(permissions=["manage"], description=_("Pause selected jobs"))
    def pause(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Keep jobs from firing until they are resumed."""
        who = request.user.get_username()

        def act(job: Job) -> str:
            if job.paused_at is not None:
                return gettext("is paused already")
            return "" if get_job_manager().pause_job(job.pk, by=who) else gettext("is gone")

        self.carry_out(
            request,
            queryset,
            act,
            done=lambda n: ngettext("%d job was paused.", "%d jobs were paused.", n) % n,
            log=change_words.told(gettext("Paused.")),
        )

    @admin.action(permissions=["manage"], description=_("Resume selected jobs"))
    def resume(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Let paused jobs fire again; broken ones are looked at anew."""
        self.carry_out(
            request,
            queryset,
            _resume,
            done=lambda n: ngettext("%d job was resumed.", "%d jobs were resumed.", n) % n,
            log=change_words.told(gettext("Resumed.")),
        )

    @admin.action(permissions=["manage"], description=_("Make selected jobs what the code declares"))
    def back_to_declaration(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Undo what was changed of declared jobs, and their pause."""

        def act(job: Job) -> str:
            if job.declared is None:
                return gettext("is not declared in code")
            return "" if schedule_edits.reset(job.pk) else gettext("is what the code declares already")

        self.carry_out(
            request,
            queryset,
            act,
            done=lambda n: (
                ngettext("%d job is what the code declares.", "%d jobs are what the code declares.", n) % n
            ),
            log=change_words.told(gettext("Back to declaration.")),
        )

    def consequences(self, objects: Sequence[Job]) -> Mapping[Any, str]:
        """Tell of the runs that will be cancelled."""
        waiting = Run.objects.ready().filter(job_id__in=[job.pk for job in objects]).order_by()
        counts = waiting.values_list("job_id").annotate(count=Count("pk"))
        return {
            job_id: ngettext("%d waiting run is cancelled", "%d waiting runs are cancelled", count) % count
            for job_id, count in counts
        }

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Write down what each was, besides its id."""
        user_id: Any = request.user.pk
        for job in queryset:
            LogEntry.objects.log_actions(
                user_id, [job], DELETION, change_words.listed(job), single_object=True
            )

    def remove(self, objects: Sequence[Job]) -> None:
        """Remove jobs; their history stays."""
        for job in objects:
            get_job_manager().remove_job(job.pk)


def _outcome(run: Run) -> str:
    at = run.finished_at or run.started_at or run.enqueued_at
    return format_html(
        '{} <span class="jobs-more">{}</span>', display.label(display.run_state(run)), times.relative(at)
    )


def _named(names: Iterable[str]) -> str:
    return ", ".join(str(OVERRIDABLE[name]) for name in names)


def _declared_value(job: Job, name: str) -> str:
    """Return the words that say what the code declares, where it does."""
    if job.declared is None or name not in job.declared:
        return ""
    value: object = job.declared[name]
    if name == "retry":
        value = change_words.retry(job.declared[name])
    if name == "trigger":
        try:
            value = triggers.describe(triggers.by_rule(value, timezone.now()))
        except UnknownTrigger:
            value = gettext("unknown")
    # Not inside an f-string: what collects texts to translate does not look there.
    return " " + gettext("(the code says: %s)") % value


def _resume(job: Job) -> str:
    holds_runs = Run.objects.held().filter(job_id=job.pk)
    if job.status == "scheduled" and not holds_runs.exists():
        return gettext("is not paused")
    if not get_job_manager().resume_job(job.pk):
        return gettext("is gone")
    again = Job.objects.filter(pk=job.pk).first()
    if again is None:
        return gettext("is gone")
    if again.broken_reason:
        return gettext("is still broken: %s") % again.broken_reason
    return "" if again.next_run_time else gettext("has no time left to fire at")


def _firings(job: Job) -> list[datetime]:
    trigger = triggers.loads(job.job_state)
    return schedule_form.following(trigger, None if job.broken_reason else job.next_run_time)
