"""What can be done to runs on their pages: each change is written to the admin's log, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.runs.detail import PAYLOAD
from django_jobs.admin.shared import display
from django_jobs.exceptions import BadPayload
from django_jobs.models import Run, jobs_database
from django_jobs.operations import bulk, retry_with_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from django_jobs.admin.runs.page import RunAdmin


def act_on(
    admin: RunAdmin,
    request: HttpRequest,
    runs: Sequence[Run],
    act: Callable[[Sequence[int], str], list[bulk.Change]],
    *,
    done: Callable[[int], str],
    refusal: str,
) -> None:
    """Do something to some runs, write it down, and say how it went.

    Args:
        admin: The pages.
        request: Of a user who was found to have the permission.
        runs: The chosen ones.
        act: Of `django_jobs.operations.bulk`.
        done: Returns the message for a number of successes.
        refusal: Why the others were left alone.
    """
    using = jobs_database()
    with transaction.atomic(using=using):
        changes = act([run.pk for run in runs], using)
        bulk.write_down(request.user.pk, changes)
    if changes:
        admin.message_user(request, done(len(changes)), messages.SUCCESS)
    changed = {pk for pk, *_more in changes}
    admin.report(request, [(run, refusal) for run in runs if run.pk not in changed])


class ArgumentsForm(forms.Form):
    """The arguments of a run, to be changed."""

    args = forms.CharField(
        label=_("positional arguments"),
        widget=forms.Textarea(attrs={"rows": 8, "cols": 80, "spellcheck": "false", "class": "jobs-json"}),
        help_text=_("A list in JSON."),
    )
    kwargs = forms.CharField(
        label=_("named arguments"),
        widget=forms.Textarea(attrs={"rows": 12, "cols": 80, "spellcheck": "false", "class": "jobs-json"}),
        help_text=_("An object in JSON."),
    )

    def __init__(self, run: Run, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run = run
        self.payload = ""
        self.names: list[str] = []

    def clean(self) -> dict[str, Any]:
        """Check that a run can be made of it."""
        cleaned: dict[str, Any] = super().clean() or {}
        if "args" in cleaned and "kwargs" in cleaned:
            try:
                self.payload, self.names = retry_with_changes.changed(
                    self.run, cleaned["args"], cleaned["kwargs"]
                )
            except retry_with_changes.NotFitting as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned


def change_and_retry(admin: RunAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask for other arguments, and add a run with them; the old one stays as it is."""
    if not admin.may_change_arguments(request):
        raise PermissionDenied
    run: Run | None = admin.get_object(request, unquote(object_id))
    if run is None:
        raise Http404
    site: AdminSite = admin.admin_site
    if request.method == "POST":
        form = ArgumentsForm(run, request.POST)
        if form.is_valid():
            return _add(admin, request, run, form)
        problem = ""
    else:
        try:
            args, kwargs = retry_with_changes.editable(run)
            problem = ""
        except BadPayload as error:
            args, kwargs, problem = "[]", "{}", str(error)
        form = ArgumentsForm(run, initial={"args": args, "kwargs": kwargs})
    context = {
        **site.each_context(request),
        "title": gettext("Retry with changes"),
        "subtitle": display.cut(str(run), 100),
        "opts": admin.opts,
        "original": run,
        "form": form,
        "problem": problem,
        "media": admin.media,
        "page_url": reverse(f"{site.name}:django_jobs_run_change", args=[quote(run.pk)]),
    }
    request.current_app = site.name
    return TemplateResponse(request, "admin/django_jobs/run/retry_with_changes.html", context)


def _add(admin: RunAdmin, request: HttpRequest, run: Run, form: ArgumentsForm) -> HttpResponse:
    names = ", ".join(form.names) or gettext("none")
    with transaction.atomic(using=jobs_database()):
        pk = retry_with_changes.enqueue(run, form.payload)
        # Names only: whoever may see the log need not be allowed to see arguments.
        words = gettext("Retried with changes as run %(new)d; changed arguments: %(names)s")
        origin = gettext("Made from run %(old)d; changed arguments: %(names)s")
        admin.log_change(request, run, words % {"new": pk, "names": names})
        new = Run.objects.using(jobs_database()).get(pk=pk)
        admin.log_change(request, new, origin % {"old": run.pk, "names": names})
    text = gettext("Run %d was added with the changed arguments. The old run is as it was.")
    admin.message_user(request, text % pk, messages.SUCCESS)
    url = reverse(f"{admin.admin_site.name}:django_jobs_run_change", args=[quote(pk)])
    return HttpResponseRedirect(url)


def may_see_payload(request: HttpRequest) -> bool:
    """Return whether a user may see arguments, results, tracebacks and logs."""
    return bool(request.user.has_perm(PAYLOAD))
