"""The pages that add a job: choose a function, then fill in its arguments and its schedule."""

from __future__ import annotations

import inspect
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs import triggers
from django_jobs.admin.jobs import change_words
from django_jobs.admin.jobs.argument_form import ArgumentForm, why_not
from django_jobs.admin.jobs.edit import EditMixin
from django_jobs.admin.jobs.schedule_form import POLICY_ROWS, ScheduleForm, fields_of_retry
from django_jobs.admin.jobs.trigger_form import TRIGGER_ROWS
from django_jobs.admin.shared import permissions
from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import ConflictingIdError, FunctionNotFound
from django_jobs.models import DEFAULT_QUEUE_NAME, MAX_ID_LENGTH, Job, Run, jobs_database
from django_jobs.registry import decorators, functions
from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import to_json as retry_to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    from django_jobs.registry.options import JobOptions


class NewJobForm(ScheduleForm):
    """The schedule and the policy of a job to be added, and what it is called."""

    job_id = forms.CharField(
        label=gettext_lazy("Id"),
        required=False,
        max_length=MAX_ID_LENGTH,
        help_text=gettext_lazy("What code and commands call the job; empty: a random one."),
    )
    name = forms.CharField(
        label=gettext_lazy("Name"),
        required=False,
        max_length=255,
        help_text=gettext_lazy("What pages call it; empty: the function's name."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # It follows from the schedule.
        del self.fields["next_run"]

    def clean_job_id(self) -> str:
        """Refuse an id that is in use: adding it would change that job."""
        job_id: str = self.cleaned_data["job_id"]
        if not job_id:
            return job_id
        if (
            Job.objects.using(jobs_database()).filter(pk=job_id).exists()
            or Run.objects.using(jobs_database()).unfinished().filter(job_id=job_id).exists()
        ):
            raise forms.ValidationError(_("There is a job of this id already."))
        return job_id


class AddMixin(EditMixin):
    """Lets jobs be added for functions that the code registered with `@job`."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow it to those who may manage or add jobs."""
        return permissions.may_add(request)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Let a function be chosen; with one, show the form, or add the job by POST."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        path = request.GET.get("func")
        if path is None:
            return self._choose(request)
        func = _function(path)
        if func is None:
            raise Http404(gettext("No function of this name was registered with @job."))
        if reason := why_not(func):
            text = gettext("%(function)s cannot be called from a form. %(reason)s")
            self.message_user(request, text % {"function": path, "reason": reason}, messages.ERROR)
            return HttpResponseRedirect(self.address("job_add"))
        return self._fill_in(request, path, func)

    def _choose(self, request: HttpRequest) -> HttpResponse:
        wanted = request.GET.get("q", "").strip()
        found = []
        for path in decorators.decorated():
            func = _function(path)
            if func is not None and wanted.lower() in path.lower():
                module, _colon, name = path.partition(":")
                found.append({"path": path, "module": module, "name": name, "about": _about(func)})
        return self.page(
            request,
            "job/choose.html",
            title=gettext("Add job: choose a function"),
            modules=[(name, list(of_it)) for name, of_it in groupby(found, lambda row: row["module"])],
            wanted=wanted,
        )

    def _fill_in(self, request: HttpRequest, path: str, func: Callable[..., Any]) -> HttpResponse:
        data = request.POST if request.method == "POST" else None
        options = decorators.options_of(func)
        call = ArgumentForm(func, data, sensitive=options.sensitive or ())
        form = NewJobForm(data, initial=_initial(options))
        firings, words = [], ""
        if data is not None:
            # Both are looked at, so that all mistakes are shown together.
            is_fine = all([call.is_valid(), form.is_valid()])
            if is_fine and "_save" in data and (job_id := self._add(path, call, form)):
                return self._added(request, job_id)
            firings = form.firings(timezone.now()) if form.is_valid() else []
            words = form.words()
        parts: list[Any] = []
        if call.fields:
            parts.append((call, [(_("Arguments"), {"fields": list(call.fields)})]))
        schedule = (_("Schedule"), {"fields": TRIGGER_ROWS})
        policy = (_("Runs"), {"fields": [("job_id", "name"), *POLICY_ROWS]})
        parts.append((form, [schedule, policy]))
        return self.form_page(request, parts, firings, words, func=path, about=_about(func))

    def _add(self, path: str, call: ArgumentForm, form: NewJobForm) -> str:
        """Add the job; return its id, or an empty text where the form says why that went wrong."""
        said = form.cleaned_data
        args, kwargs = call.arguments()
        own = decorators.options_of(functions.resolve(path)).retry
        try:
            manager = get_job_manager().using(
                queue_name=said["queue_name"],
                priority=said["priority"],
                # One that runs once has no use for it.
                max_instances=None if triggers.is_once(form.trigger) else said["max_instances"],
                # None would leave it to the function.
                retry=form.retry or (own and Retry(max_attempts=1)),
                name=said["name"] or None,
            )
            job_id = said["job_id"] or None
            return manager.add_job(path, form.trigger, *args, job_id=job_id, **kwargs)
        except ConflictingIdError:
            form.add_error("job_id", gettext("There is a job of this id already."))
        except (TypeError, ValueError) as error:
            # What cannot be stored, or does not fit the function.
            call.add_error(None, str(error))
        return ""

    def _added(self, request: HttpRequest, job_id: str) -> HttpResponse:
        job = Job.objects.using(jobs_database()).filter(pk=job_id).first()
        if job is None:
            # It was for a moment that has come, and ran.
            return HttpResponseRedirect(self.address("job_changelist"))
        self.log_addition(request, job, gettext("Added for %s") % change_words.listed(job))
        self.message_user(request, gettext("The job was added."), messages.SUCCESS)
        return HttpResponseRedirect(self.address("job_change", job_id))


def _function(path: str) -> Callable[..., Any] | None:
    """Return a registered function; None where there is none, or no process could find it."""
    if path not in decorators.decorated():
        return None
    try:
        return functions.resolve(path)
    except FunctionNotFound:
        return None


def _about(func: Callable[..., Any]) -> str:
    return (inspect.getdoc(func) or "").partition("\n")[0]


def _initial(options: JobOptions) -> dict[str, Any]:
    return {
        "kind": "interval",
        "unit": "minutes",
        "zone": timezone.get_current_timezone_name(),
        "queue_name": options.queue_name or DEFAULT_QUEUE_NAME,
        "priority": options.priority or 0,
        "max_instances": options.max_instances or 1,
        **fields_of_retry(retry_to_json(options.retry) if options.retry else None),
    }
