"""The page that changes a run's arguments, and adds a run with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponseRedirect
from django.utils.translation import gettext

from django_jobs.admin.shared import argument_forms, permissions
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.models import Run, jobs_database
from django_jobs.operations import retry_with_changes

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class RetryWithChangesMixin(ModelAdmin):
    """Adds the page that retries a run with changes."""

    def get_urls(self) -> list[URLPattern]:
        """Add its address."""
        view, name = self.retry_with_changes_view, "run_retry_with_changes"
        return [self.page_at("<path:object_id>/retry-with-changes/", view, name), *super().get_urls()]

    def may_change_arguments(self, request: HttpRequest) -> bool:
        """Allow it to those who may retry, and see what they change."""
        return self.has_change_permission(request) and permissions.may_view_payload(request)

    def retry_with_changes_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for other arguments, and add a run with them; the old run stays as it is."""
        if not self.may_change_arguments(request):
            raise PermissionDenied
        run: Run | None = self.get_object(request, unquote(object_id))
        if run is None:
            raise Http404
        form, problem = argument_forms.of(request, run)
        if request.method == "POST" and form.is_valid():
            return self._add_changed(request, run, form)
        return self.page(
            request,
            "run/retry_with_changes.html",
            title=gettext("Retry with changes"),
            page_url=self.address("run_change", run.pk),
            **argument_forms.shown(run, form, problem),
        )

    def _add_changed(self, request: HttpRequest, run: Run, form: argument_forms.AnyForm) -> HttpResponse:
        names = ", ".join(form.names) or gettext("none")
        with transaction.atomic(using=jobs_database()):
            pk = retry_with_changes.enqueue(run, form.payload)
            # Names only: who may see the log may lack the permission to see arguments.
            words = gettext("Retried with changes as run %(new)d; changed arguments: %(names)s")
            origin = gettext("Made from run %(old)d; changed arguments: %(names)s")
            self.log_change(request, run, words % {"new": pk, "names": names})
            new = Run.objects.using(jobs_database()).get(pk=pk)
            self.log_change(request, new, origin % {"old": run.pk, "names": names})
        text = gettext("Run %d was added with the changed arguments. The old run is as it was.")
        self.message_user(request, text % pk, messages.SUCCESS)
        return HttpResponseRedirect(self.address("run_change", pk))
