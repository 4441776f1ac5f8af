"""The page that edits a job's schedule, with a preview of when it fires then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs import triggers
from django_jobs.admin.jobs import change_words
from django_jobs.admin.jobs.schedule_form import (
    POLICY_ROWS,
    ScheduleForm,
    fields_of_retry,
    following,
)
from django_jobs.admin.jobs.trigger_form import TRIGGER_ROWS, fields_of
from django_jobs.admin.shared import permissions, times
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, jobs_database
from django_jobs.scheduler import schedule_edits
from django_jobs.scheduler.declarations import retry_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from apscheduler.triggers.base import BaseTrigger
    from django import forms
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class EditMixin(ModelAdmin):
    """Lets the schedule and the policy of a job be edited."""

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the form."""
        page = self.page_at("<path:object_id>/schedule/", self.schedule_view, "job_schedule")
        return [page, *super().get_urls()]

    def schedule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form; by POST show when the job would fire, or save it."""
        if not permissions.may_manage(request):
            raise PermissionDenied
        job = self.get_object(request, unquote(object_id))
        if job is None:
            return self.say_gone(request, object_id)
        current = _current(job)
        form = _form(job, current, request.POST if request.method == "POST" else None)
        if request.method != "POST":
            firings = following(current, job.next_run_time) if current else []
            words = triggers.describe(current) if current else ""
            return self.form_page(request, [(form, _rows(form))], firings, words, original=job)
        is_fine = form.is_valid()
        if is_fine and "_save" in request.POST and self._save(request, job, form):
            return HttpResponseRedirect(self.address("job_change", job.pk))
        firings = form.firings(timezone.now(), job.next_run_time) if form.is_valid() else []
        return self.form_page(request, [(form, _rows(form))], firings, form.words(), original=job)

    def _save(self, request: HttpRequest, job: Job, form: ScheduleForm) -> bool:
        """Change what a person changed; return whether that went well."""
        changes = _changes(form)
        before = change_words.facts(job)
        try:
            is_there = schedule_edits.edit(job.pk, **changes) if changes else True
        except ValueError as error:
            # Paused meanwhile, or such: the form shows what is now.
            form.add_error(None, str(error))
            return False
        after = Job.objects.using(jobs_database()).filter(pk=job.pk).first() if is_there else None
        if after is None:
            self.message_user(request, gettext("The job is gone: nothing was changed."), messages.WARNING)
            return True
        difference = change_words.difference(before, change_words.facts(after)) if changes else ""
        if not difference:
            self.message_user(request, gettext("Nothing was changed."), messages.INFO)
            return True
        self.log_change(request, after, gettext("Rescheduled: %s.") % difference)
        self.message_user(request, gettext("Changed: %s.") % difference, messages.SUCCESS)
        if after.broken_reason:
            reason = gettext("The job is still broken: %s") % after.broken_reason
            self.message_user(request, reason, messages.WARNING)
        return True

    def form_page(
        self,
        request: HttpRequest,
        parts: Sequence[tuple[forms.BaseForm, Sequence[tuple[Any, dict[str, Any]]]]],
        firings: Iterable[datetime],
        words: str = "",
        **context: Any,
    ) -> HttpResponse:
        """Show forms with their fieldsets as one, and when the job would fire, in words and times."""
        return self.page(
            request,
            "job/form.html",
            title=gettext("Edit schedule") if "original" in context else gettext("Add job"),
            adminforms=[AdminForm(form, fieldsets, {}) for form, fieldsets in parts],  # type: ignore[arg-type] # any form will do
            form_errors=[name for form, _rows in parts for name in form.errors],
            media=sum((form.media for form, _rows in parts), self.media),
            words=words,
            firings=[times.both(moment) for moment in firings],
            has_view_permission=self.has_view_permission(request),
            **context,
        )


def _current(job: Job) -> BaseTrigger | None:
    try:
        return triggers.loads(job.job_state)
    except UnknownTrigger:
        return None


def _form(job: Job, current: BaseTrigger | None, data: Any) -> ScheduleForm:
    initial = {
        "queue_name": job.queue_name,
        "priority": job.priority,
        "max_instances": job.max_instances,
        "next_run": job.next_run_time,
        "unit": "minutes",
        "zone": timezone.get_current_timezone_name(),
        **fields_of_retry(retry_of(job.options)),
        **(fields_of(current) if current else {}),
    }
    # A declared job that has fired for the last time would be declared again.
    form = ScheduleForm(data, initial=initial, current=current, may_be_once=job.declared is None)
    if job.paused_at is not None or job.next_run_time is None:
        del form.fields["next_run"]
    return form


def _rows(form: ScheduleForm) -> list[tuple[Any, dict[str, Any]]]:
    when = [*TRIGGER_ROWS, *(["next_run"] if "next_run" in form.fields else [])]
    return [(_("Schedule"), {"fields": when}), (_("Runs"), {"fields": POLICY_ROWS})]


def _changes(form: ScheduleForm) -> dict[str, Any]:
    names = {"next_run": "next_run_time", "queue_name": "", "priority": "", "max_instances": ""}
    changes = {to or name: form.cleaned_data[name] for name, to in names.items() if name in form.changed_data}
    if form.has_other_trigger():
        changes["trigger"] = form.trigger
    if form.has_other_retry():
        changes["retry"] = form.retry
    return changes
