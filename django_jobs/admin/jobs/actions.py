"""The actions and buttons of jobs, by the manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext, gettext_lazy, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.jobs import change_words, history
from django_jobs.admin.shared import display, permissions
from django_jobs.admin.shared.actions import AT_ONCE, ActionsAdmin, object_action
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError
from django_jobs.models import UNFINISHED, Job, Run, jobs_database
from django_jobs.operations import run_actions
from django_jobs.scheduler import schedule_edits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest


class JobActionsMixin(ActionsAdmin):
    """What can be done to jobs. Each action returns why it did nothing, or an empty string."""

    actions = ["run_now", "pause", "resume", "stop_runs", "back_to_declaration", "delete_selected"]
    buttons = {
        "run_now": _("Run now"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "stop_runs": _("Stop its runs"),
        "back_to_declaration": _("Back to declaration"),
    }

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Allow to run jobs now."""
        return permissions.may_run(request)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Allow to pause, resume and reschedule jobs."""
        return permissions.may_manage(request)

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Allow to cancel runs."""
        return run_actions.is_allowed(request.user, "cancel")

    def fitting(self, obj: Job) -> Sequence[str]:
        """Offer to pause what fires, to resume what does not, to stop what runs, and to undo what differs from the code."""
        names = ["run_now", "pause" if obj.status == "scheduled" else "resume"]
        if any(run.status in UNFINISHED for run in history.newest(obj)):
            names.append("stop_runs")
        return [*names, "back_to_declaration"] if obj.overridden else names

    @object_action(
        "run",
        _("Run selected jobs now"),
        done=ngettext_lazy("%d job runs now.", "%d jobs run now."),
        log=gettext_lazy("Run now."),
    )
    def run_now(self, request: HttpRequest, job: Job) -> str:
        """Run a job now, besides its schedule."""
        try:
            get_job_manager().run_job(job.pk)
        except JobLookupError:
            return gettext("is gone")
        return ""

    @object_action(
        "manage",
        _("Pause selected jobs"),
        done=ngettext_lazy("%d job was paused.", "%d jobs were paused."),
        log=change_words.logged(gettext_lazy("Paused.")),
    )
    def pause(self, request: HttpRequest, job: Job) -> str:
        """Keep a job from firing until it is resumed."""
        if job.paused_at is not None:
            return gettext("is paused already")
        who = request.user.get_username()
        if not get_job_manager().pause_job(job.pk, by=who):
            return gettext("is gone")
        running = Run.objects.using(jobs_database()).running().filter(job_id=job.pk).count()
        if running:
            text = ngettext(
                "%(count)d run of %(job)s goes on: “Stop its runs” asks it to end.",
                "%(count)d runs of %(job)s go on: “Stop its runs” asks them to end.",
                running,
            )
            self.message_user(
                request, text % {"count": running, "job": display.cut(job.pk, 80)}, messages.WARNING
            )
        return ""

    @object_action(
        "stop",
        _("Stop runs of selected jobs"),
        done=ngettext_lazy(
            "Runs of %d job that waited were cancelled, and those that were running asked to stop.",
            "Runs of %d jobs that waited were cancelled, and those that were running asked to stop.",
        ),
        log=gettext_lazy("Its runs were stopped."),
    )
    def stop_runs(self, request: HttpRequest, job: Job) -> str:
        """Cancel the runs of a job that wait, and ask those that run to end; it goes on with its next firing."""
        using = jobs_database()
        open_runs = Run.objects.using(using).unfinished().filter(job_id=job.pk, cancel_requested=False)
        count = 0
        # Some at a time: nobody waits long for what a transaction has locked.
        while ids := list(open_runs.order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
            with transaction.atomic(using=using):
                changes = run_actions.cancel(ids, using)
                run_actions.log_changes(request.user.pk, changes)
            count += len(changes)
            if not changes:
                break
        return "" if count else gettext("has no run that waits or runs")

    @object_action(
        "manage",
        _("Resume selected jobs"),
        done=ngettext_lazy("%d job was resumed.", "%d jobs were resumed."),
        log=change_words.logged(gettext_lazy("Resumed.")),
    )
    def resume(self, request: HttpRequest, job: Job) -> str:
        """Let a paused job fire again, or try whether a broken one can be read now."""
        holds_runs = Run.objects.using(jobs_database()).held().filter(job_id=job.pk)
        if job.status == "scheduled" and not holds_runs.exists():
            return gettext("is not paused")
        if not get_job_manager().resume_job(job.pk):
            return gettext("is gone")
        again = Job.objects.using(jobs_database()).filter(pk=job.pk).first()
        if again is None:
            return gettext("is gone")
        if again.broken_reason:
            return gettext("is still broken: %s") % again.broken_reason
        return "" if again.next_run_time else gettext("has no time left to fire at")

    @object_action(
        "manage",
        _("Make selected jobs what the code declares"),
        done=ngettext_lazy("%d job is what the code declares.", "%d jobs are what the code declares."),
        log=change_words.logged(gettext_lazy("Back to declaration.")),
    )
    def back_to_declaration(self, request: HttpRequest, job: Job) -> str:
        """Undo what was changed of a declared job, and its pause."""
        if job.declared is None:
            return gettext("is not declared in code")
        return "" if schedule_edits.reset(job.pk) else gettext("is what the code declares already")

    def why_not_deleted(self, obj: Job) -> str:
        """Keep what would come back with the next start of a process."""
        if obj.declared is None:
            return ""
        return gettext("is declared in code and would come back: pause it, or remove its declaration")

    def consequences(self, objects: Sequence[Job]) -> Mapping[Any, str]:
        """Tell of the runs that will be cancelled."""
        waiting = (
            Run.objects.using(jobs_database())
            .ready()
            .filter(job_id__in=[job.pk for job in objects])
            .order_by()
        )
        counts = waiting.values_list("job_id").annotate(count=Count("pk"))
        return {
            job_id: ngettext("%d waiting run is cancelled", "%d waiting runs are cancelled", count) % count
            for job_id, count in counts
        }

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Log what each job was, besides its id."""
        user_id: Any = request.user.pk
        for job in queryset:
            LogEntry.objects.log_actions(
                user_id, [job], DELETION, change_words.listed(job), single_object=True
            )

    def remove(self, objects: Sequence[Job]) -> None:
        """Remove jobs; their history stays."""
        for job in objects:
            get_job_manager().remove_job(job.pk)
