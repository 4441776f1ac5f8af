"""The page that runs a job now with other arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.utils.translation import gettext

from django_jobs.admin.shared import argument_forms, permissions
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.models import Run, jobs_database
from django_jobs.operations import run_with_arguments

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from django_jobs.models import Job


class RunWithMixin(ModelAdmin):
    """Adds the page that runs a job with other arguments."""

    def get_urls(self) -> list[URLPattern]:
        """Add its address."""
        page = self.page_at("<path:object_id>/run-with/", self.run_with_view, "job_run_with")
        return [page, *super().get_urls()]

    def may_run_with(self, request: HttpRequest) -> bool:
        """Allow it to those who may run jobs, and see what they change."""
        return permissions.may_run(request) and permissions.may_view_payload(request)

    def run_with_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the arguments, and add a run with them; the job stays as it is."""
        if not self.may_run_with(request):
            raise PermissionDenied
        job: Job | None = self.get_object(request, unquote(object_id))
        if job is None:
            return self.say_gone(request, object_id)
        form, problem = argument_forms.of(request, run_with_arguments.as_run(job))
        if request.method == "POST" and form.is_valid():
            return self._add_run(request, job, form)
        return self.page(
            request,
            "job/run_with.html",
            title=gettext("Run now with other arguments"),
            page_url=self.address("job_change", job.pk),
            **argument_forms.shown(job, form, problem),
        )

    def _add_run(self, request: HttpRequest, job: Job, form: argument_forms.AnyForm) -> HttpResponse:
        names = ", ".join(form.names) or gettext("none")
        with transaction.atomic(using=jobs_database()):
            pk = run_with_arguments.enqueue(job, form.payload)
            # Names only: who may see the log may lack the permission to see arguments.
            self.log_change(request, job, gettext("Run now; changed arguments: %s") % names)
        self.message_user(
            request, gettext("The job runs now with these arguments; it stays as it is."), messages.SUCCESS
        )
        if pk is None or not Run.objects.using(jobs_database()).filter(pk=pk).exists():
            return HttpResponseRedirect(self.address("job_change", job.pk))
        return HttpResponseRedirect(self.address("run_change", pk))
