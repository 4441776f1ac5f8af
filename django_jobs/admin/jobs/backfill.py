"""The page that runs a job for scheduled times in the past, with a preview of how many runs that are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.utils.translation import gettext, gettext_lazy, ngettext

from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.admin.shared.permissions import may_manage, may_run
from django_jobs.admin.shared.widgets import SplitDateTime
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import BadPayload, JobLookupError, UnknownTrigger
from django_jobs.models import Batch, Kind, jobs_database

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from django_jobs.models import Job
    from django_jobs.scheduler.backfill import Backfill


class BackfillForm(forms.Form):
    """From when to when."""

    start = forms.SplitDateTimeField(label=gettext_lazy("From"), widget=SplitDateTime)
    end = forms.SplitDateTimeField(label=gettext_lazy("To"), widget=SplitDateTime)


class BackfillMixin(ModelAdmin):
    """Lets a job with a schedule run for its times in the past."""

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the form."""
        page = self.page_at("<path:object_id>/backfill/", self.backfill_view, "job_backfill")
        return [page, *super().get_urls()]

    def may_backfill(self, request: HttpRequest, job: Job) -> bool:
        """Return whether somebody may do it, and the job has times in the past: it runs, and it is managed."""
        return job.kind == Kind.RECURRING and may_run(request) and may_manage(request)

    def backfill_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form; by POST show how many runs it would add, or add them."""
        job = self.get_object(request, unquote(object_id))
        if job is None:
            return self.say_gone(request, object_id)
        if not self.may_backfill(request, job):
            raise PermissionDenied
        form = BackfillForm(request.POST if request.method == "POST" else None)
        found = self._fill(form, job, dry_run="_save" not in request.POST) if form.is_valid() else None
        if found is not None and "_save" in request.POST:
            said = _added(found)
            self.log_change(request, job, _logged(form, said))
            self.message_user(request, said, messages.SUCCESS)
            return HttpResponseRedirect(self._address_after(request, job, found))
        return self._backfill_page(request, job, form, found)

    def _address_after(self, request: HttpRequest, job: Job, found: Backfill) -> str:
        """Return the address of the batch, for those who may see it and where there is one."""
        site = self.admin_site
        batch = Batch.objects.using(jobs_database()).filter(key=found.batch_id).first()
        is_shown = site.is_registered(Batch) and site.get_model_admin(Batch).has_view_permission(request)
        if batch is not None and is_shown:
            return self.address("batch_change", batch.pk)
        return self.address("job_change", job.pk)

    def _fill(self, form: BackfillForm, job: Job, *, dry_run: bool) -> Backfill | None:
        """Add the runs, or count them; None, and the form says it, where that cannot be."""
        start, end = form.cleaned_data["start"], form.cleaned_data["end"]
        try:
            return get_job_manager().backfill(job.pk, start, end, dry_run=dry_run)
        except (ValueError, BadPayload, UnknownTrigger) as error:
            form.add_error(None, str(error))
        except JobLookupError:
            form.add_error(None, gettext("The job is gone: nothing was changed."))
        return None

    def _backfill_page(
        self, request: HttpRequest, job: Job, form: BackfillForm, found: Backfill | None
    ) -> HttpResponse:
        fieldsets: list[Any] = [(None, {"fields": list(form.fields)})]
        return self.page(
            request,
            "job/backfill.html",
            title=gettext("Backfill"),
            original=job,
            adminforms=[AdminForm(form, fieldsets, {})],  # type: ignore[arg-type] # any form will do
            form_errors=list(form.errors),
            media=form.media + self.media,
            found="" if found is None else _would_add(found),
            has_view_permission=self.has_view_permission(request),
        )


def _would_add(found: Backfill) -> str:
    if not found.times:
        return gettext("There is no scheduled time between them.")
    text = ngettext("%(added)d run for %(times)d scheduled time", "%(added)d runs for %(times)d scheduled times", found.times)  # fmt: skip
    return _with_existing(text % {"added": found.added, "times": found.times}, found)


def _added(found: Backfill) -> str:
    text = ngettext("%d run was added", "%d runs were added", found.added) % found.added
    return _with_existing(text, found)


def _with_existing(text: str, found: Backfill) -> str:
    if not found.existing:
        return f"{text}."
    there = ngettext("%d time had a run", "%d times had a run", found.existing) % found.existing
    return f"{text}; {there}."


def _logged(form: BackfillForm, said: str) -> str:
    start, end = (form.cleaned_data[name].isoformat() for name in ("start", "end"))
    return gettext("Backfilled from %(start)s to %(end)s: %(said)s") % {
        "start": start,
        "end": end,
        "said": said,
    }
