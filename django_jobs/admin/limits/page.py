"""Admin pages of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy

from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.models import LimitEdit, jobs_database
from django_jobs.operations import limits
from django_jobs.registry.limits import MOST, seconds_between

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    from django_jobs.operations.limits import LimitPattern


class LimitForm(forms.Form):
    """Other numbers for a limit than the code's."""

    concurrency = forms.IntegerField(
        label=gettext_lazy("At the same time"),
        required=False,
        min_value=0,
        max_value=MOST,
        help_text=gettext_lazy("Of each key; 0 lets none begin. Empty: as in the code."),
    )
    rate = forms.CharField(
        label=gettext_lazy("Rate"),
        required=False,
        max_length=30,
        help_text=gettext_lazy("Starts of each key in a time, as 100/m. Empty: as in the code."),
    )
    reason = forms.CharField(label=gettext_lazy("Reason"), required=False, max_length=500)

    def clean_rate(self) -> str | None:
        """Refuse what is no rate."""
        rate: str = self.cleaned_data["rate"].strip()
        if not rate:
            return None
        try:
            seconds_between(rate)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return rate


class LimitAdmin(ModelAdmin):
    """Limits by key: what holds, what runs and what waits. A limit needs no row to be here."""

    list_display = ["name"]
    actions = None

    class Media:
        css = {"all": ["django_jobs/admin.css", "django_jobs/dashboard.css", "django_jobs/queues.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse it: limits are in the code."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse it: an edit is undone on the limit's page."""
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show all limits."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "is_list": True,
            "rows": limits.patterns(using=jobs_database()),
            **(extra_context or {}),
        }
        return self.wide_page(request, "limit/list.html", **context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one limit, also one without an edit, and edit it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        one = next((one for one in limits.patterns(using=jobs_database()) if one.key == object_id), None)
        if one is None:
            return self.say_gone(request, object_id)
        may_change = self.has_change_permission(request)
        form = LimitForm(initial=_initial(one))
        if request.method == "POST":
            if not may_change:
                raise PermissionDenied
            form = LimitForm(request.POST)
            if form.is_valid():
                return self._saved(request, one, form.cleaned_data)
        context = {
            "title": gettext("Limit %s") % one.name,
            "here": one.name,
            "limit": one,
            "busiest": one.busiest[: limits.BUSIEST],
            "more": max(0, len(one.busiest) - limits.BUSIEST),
            "form": form if may_change else None,
            **(extra_context or {}),
        }
        return self.wide_page(request, "limit/page.html", **context)

    def _saved(self, request: HttpRequest, one: LimitPattern, said: dict[str, Any]) -> HttpResponse:
        by, using = request.user.get_username(), jobs_database()
        row = LimitEdit(pk=one.key, name=one.name)
        if "clear" in request.POST or (said["concurrency"] is None and said["rate"] is None):
            limits.clear(one.name, by=by, using=using)
            text = gettext("It is as in the code again.")
        else:
            limits.edit(one.name, **said, by=by, using=using)
            text = gettext("Edited: %(numbers)s. All processes go by it within a few seconds.") % {
                "numbers": ", ".join(
                    f"{name}={said[name]}" for name in ("concurrency", "rate") if said[name] is not None
                )
            }
        self.log_change(request, row, text)
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.address("limitedit_change", one.key))


def _initial(one: LimitPattern) -> dict[str, Any]:
    edit = one.edit
    return {
        "concurrency": edit and edit.concurrency,
        "rate": edit and edit.rate,
        "reason": edit and edit.reason,
    }
