"""What all pages share: rows to look at and to act on with actions and buttons, not to edit."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as delete_after_confirmation
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from django_jobs import codec
from django_jobs.admin.shared import display
from django_jobs.admin.shared.model_admin import ModelAdmin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.functional import _StrOrPromise, _StrPromise

    # Says what an object's history has of an action, or what it has of all objects.
    Log = _StrOrPromise | Callable[[Any], str]

# Objects of one action: its confirmation page sends one field each, and Django refuses forms of
# more than 1,000 (DATA_UPLOAD_MAX_NUMBER_FIELDS).
AT_ONCE = 500
# Names of buttons that are in a list or on the dashboard, and go back there.
FROM_LIST, FROM_DASHBOARD = "_list", "_dashboard"
# Objects named in a message, and on a confirmation page.
NAMED = 5


def object_action(
    permission: str, description: _StrOrPromise, *, done: _StrPromise, log: Log
) -> Callable[[Callable[[Any, HttpRequest, Any], str]], Callable[[Any, HttpRequest, QuerySet[Any]], None]]:
    """Make an admin action of a method that acts on one object, and returns why it did not or an empty string.

    Each change is written to the admin's log, and a message says how many there were.

    Args:
        permission: The user needs it, as `permissions` of `admin.action`.
        description: What the list calls the action.
        done: The message, an `ngettext_lazy` of the number of changed objects.
        log: What the object's history says was done; or a function that says it of the object as it was
            before.
    """

    def decorate(
        method: Callable[[Any, HttpRequest, Any], str],
    ) -> Callable[[Any, HttpRequest, QuerySet[Any]], None]:
        @admin.action(permissions=[permission], description=description)
        @wraps(method)
        def action(self: ActionsAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
            self.act_on_each(request, queryset, partial(method, self, request), done=done, log=log)

        return action

    return decorate


class ActionsAdmin(ModelAdmin):
    """Rows to look at and to act on, with nothing to fill in.

    An action is a method with the name of its button: it is offered in the list, and as a button on
    the object's own page where `fitting` names it.
    """

    # Actions that an object's own page offers, with the words of their buttons.
    buttons: Mapping[str, _StrOrPromise] = {}
    show_full_result_count = False
    delete_confirmation_max_display = 100

    class Media:
        css = {"all": ["django_jobs/admin.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: rows come from code."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow actions to those who may change rows, but nobody a form.

        Stock admin asks about an object when it decides on a form that saves the whole row (and would
        undo what clocks and workers wrote meanwhile), and about none when it decides on actions.
        """
        return obj is None and super().has_change_permission(request)

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """Allow no filters from the address but those that the page offers.

        Stock admin allows one on any column: whether a row is listed would tell, letter by letter, what
        is in those that are not shown.
        """
        return any(_sets(one, lookup) for one in self.get_list_filter(request)) and super().lookup_allowed(
            lookup, value, request
        )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Look a row up by what an address has; NUL, which PostgreSQL refuses, is in no id."""
        return super().get_object(request, codec.storable(object_id), from_field)

    def fitting(self, obj: Any) -> Sequence[str]:
        """Return the names of the buttons that make sense for an object."""
        return tuple(self.buttons)

    def may_press(self, request: HttpRequest, name: str) -> bool:
        """Return whether a user has the permissions that an action asks for."""
        needed = getattr(getattr(self, name), "allowed_permissions", ["change"])
        return all(getattr(self, f"has_{permission}_permission")(request) for permission in needed)

    def get_urls(self) -> list[URLPattern]:
        """Add the address that buttons post to."""
        view = require_POST(self.action_view)
        act_on = self.page_at("<path:object_id>/act/<slug:name>/", view, f"{self.opts.model_name}_act")
        return [act_on, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Give the list a title that promises no editing."""
        if any("\0" in value for values in request.GET.lists() for value in values[1]):
            # No row has it, and PostgreSQL refuses it.
            query = request.GET.copy()
            for name, values in request.GET.lists():
                query.setlist(name, [codec.storable(str(value)) for value in values])
            request.GET = query  # type: ignore[assignment] # a copy like it
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, {**title, **(extra_context or {})})

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Look what was chosen up without the list's filters, and say when it is gone.

        A row that no longer is what the list was asked for would be left out without a word.
        """
        if request.POST.get("select_across", "0") != "0":
            return super().response_action(request, queryset, *args, **kwargs)
        rows: QuerySet[Any] = self.get_queryset(request)
        chosen = set(request.POST.getlist(ACTION_CHECKBOX_NAME))
        # Too many are refused by the action.
        if 0 < len(chosen) <= AT_ONCE and (gone := len(chosen) - rows.filter(pk__in=chosen).count()):
            text = ngettext("%d that was chosen is gone.", "%d that were chosen are gone.", gone)
            self.message_user(request, text % gone, messages.WARNING)
        return super().response_action(request, rows, *args, **kwargs)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the buttons that fit the object, for those who may press them."""
        obj = kwargs.get("obj")
        if obj is not None:
            names = [name for name in self.fitting(obj) if self.may_press(request, name)]
            # A button that would only say why not is none.
            context["show_delete"] = not self.why_not_deleted(obj)
            context["buttons"] = [self._button(request, obj, name) for name in names]
        return super().render_change_form(request, context, *args, **kwargs)

    def _button(self, request: HttpRequest, obj: Model, name: str) -> dict[str, Any]:
        url = self.with_filters(request, self.action_url(obj.pk, name))
        return {"url": url, "label": self.buttons[name], "name": name}

    def action_url(self, pk: Any, name: str) -> str:
        """Return what a button of a row posts to."""
        return self.address(f"{self.opts.model_name}_act", pk, name)

    def with_filters(self, request: HttpRequest, url: str) -> str:
        """Return an address whose page leads back to the list as it is filtered now."""
        preserved: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return add_preserved_filters(preserved, url)

    def action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Carry out what a button says, and go back to where it was."""
        if name not in self.buttons:
            raise Http404
        if not self.may_press(request, name):
            raise PermissionDenied
        obj = self.get_object(request, unquote(object_id))
        # Without it, its page says that it is gone.
        if obj is not None:
            getattr(self, name)(request, self.get_queryset(request).filter(pk=obj.pk))
        if FROM_DASHBOARD in request.POST:
            return HttpResponseRedirect(self.address("dashboard_changelist"))
        if FROM_LIST in request.POST:
            return HttpResponseRedirect(self.address(f"{self.opts.model_name}_changelist"))
        return self._back_to(request, object_id)

    def _back_to(self, request: HttpRequest, object_id: str) -> HttpResponse:
        url = self.address(f"{self.opts.model_name}_change", unquote(object_id))
        return HttpResponseRedirect(self.with_filters(request, url))

    def act_on_each(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        act: Callable[[Any], str],
        *,
        done: _StrPromise,
        log: Log,
    ) -> None:
        """Act on each chosen object, write it to the admin's log and say how it went; see `object_action`."""
        count, refused = 0, []
        for obj in self.chosen(request, queryset):
            reason = act(obj)
            if reason:
                refused.append((obj, reason))
            else:
                self.log_change(request, obj, log(obj) if callable(log) else str(log))
                count += 1
        if count:
            self.message_user(request, str(done % count), messages.SUCCESS)
        self.report(request, refused)

    def chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the objects of an action; none, and a message, where they are too many."""
        objects = list(queryset[: AT_ONCE + 1])
        if len(objects) <= AT_ONCE:
            return objects
        text = gettext(
            "At most %(count)d can be chosen at a time. Nothing was done; narrow the list with filters."
        )
        self.message_user(request, text % {"count": AT_ONCE}, messages.ERROR)
        return []

    def report(self, request: HttpRequest, refused: Sequence[tuple[Model, str]]) -> None:
        """Say how many objects an action left alone, and why."""
        if not refused:
            return
        text = ngettext(
            "%(count)d was left as it is: %(reasons)s",
            "%(count)d were left as they are: %(reasons)s",
            len(refused),
        )
        reasons = [f"{display.cut(str(obj), 80)} {reason}" for obj, reason in refused[:NAMED]]
        if len(refused) > NAMED:
            reasons.append("…")
        self.message_user(
            request, text % {"count": len(refused), "reasons": "; ".join(reasons)}, messages.WARNING
        )

    # Deleting

    def why_not_deleted(self, obj: Any) -> str:
        """Return why an object must not be deleted, or an empty string."""
        return ""

    def consequences(self, objects: Sequence[Any]) -> Mapping[Any, str]:
        """Return what else deleting some objects does, by primary key, for the confirmation page."""
        return {}

    def remove(self, objects: Sequence[Any]) -> None:
        """Delete objects."""
        self.model._default_manager.filter(pk__in=[obj.pk for obj in objects]).delete()

    @admin.action(permissions=["delete"], description=_("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Delete what can be deleted, after the stock confirmation."""
        fine, refused = [], []
        for obj in self.chosen(request, queryset):
            reason = self.why_not_deleted(obj)
            if reason:
                refused.append((obj, reason))
            else:
                fine.append(obj.pk)
        self.report(request, refused)
        if not fine:
            return None
        return delete_after_confirmation(self, request, queryset.filter(pk__in=fine))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send those who want to delete what must not be back to its page, with the reason."""
        obj = self.get_object(request, unquote(object_id)) if self.has_delete_permission(request) else None
        if obj is None or not (reason := self.why_not_deleted(obj)):
            return super().delete_view(request, object_id, extra_context)
        self.report(request, [(obj, reason)])
        return self._back_to(request, object_id)

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """List the objects themselves: what else a deletion does is ours to say, not the database's."""
        objects = list(objs)
        more = self.consequences(objects)
        lines: list[Any] = []
        for obj in objects:
            lines.append(display.link(self.admin_site, self.model, obj.pk, obj))
            if obj.pk in more:
                lines.append([more[obj.pk]])
        return lines, {str(self.opts.verbose_name_plural): len(objects)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one object."""
        self.remove([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete some objects."""
        self.remove(list(queryset))


def _sets(one: Any, lookup: str) -> bool:
    """Return whether a word of the address is one that a filter of a list is set with."""
    column = one[0] if isinstance(one, tuple | list) else one
    if isinstance(column, str):
        # Stock filters of a column have several: `kind__exact`, `kind__isnull`.
        return lookup == column or lookup.startswith(f"{column}__")
    if hasattr(one, "parameter_name"):
        return bool(lookup == one.parameter_name)
    return any(name == lookup for name, _label, _kind in getattr(one, "inputs", ()))
