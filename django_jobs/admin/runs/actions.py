"""The actions and buttons of runs, by `operations.run_actions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import transaction
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs.admin.shared.actions import ActionsAdmin
from django_jobs.models import FINISHED, UNFINISHED, Run, jobs_database
from django_jobs.operations import run_actions
from django_jobs.operations.run_query import UNSUCCESSFUL
from django_jobs.storage import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise, _StrPromise


class RunActionsMixin(ActionsAdmin):
    """What can be done to runs."""

    actions = ["retry", "run_now", "cancel", "delete_selected"]
    buttons = {"run_now": _("Run now"), "cancel": _("Cancel"), "retry": _("Retry")}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow actions to those who may change runs or manage jobs, but nobody a form."""
        return obj is None and run_actions.is_allowed(request.user, "retry")

    def row_actions(self, request: HttpRequest) -> list[tuple[str, _StrOrPromise]]:
        """Return the actions of the list that a user may choose, with the words of their buttons."""
        words = {**self.buttons, "delete_selected": _("Delete")}
        return [(name, words[name]) for name in self.get_actions(request) if name in words]

    def fitting(self, obj: Run) -> Sequence[str]:
        """Offer to run what is deferred, to end what is unfinished, and to retry what failed or is held."""
        is_deferred = obj.state == "deferred"
        can_end = obj.status in UNFINISHED and not obj.cancel_requested
        can_retry = obj.status in UNSUCCESSFUL or obj.is_held
        offers = (("run_now", is_deferred), ("cancel", can_end), ("retry", can_retry))
        return [name for name, fits in offers if fits]

    @admin.action(permissions=["change"], description=_("Run selected runs now"))
    def run_now(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Make runs due that wait for their time or for a retry."""
        self._act_on_all(
            request,
            queryset,
            run_actions.run_now,
            done=ngettext_lazy("%d run begins now.", "%d runs begin now."),
            refusal=gettext("does not wait for its time"),
        )

    @admin.action(permissions=["change"], description=_("Cancel selected runs"))
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Cancel waiting runs, and ask running ones to stop."""
        self._act_on_all(
            request,
            queryset,
            run_actions.cancel,
            done=ngettext_lazy(
                "%d run was cancelled; if it was running, it was asked to stop.",
                "%d runs were cancelled; those that were running were asked to stop.",
            ),
            refusal=gettext("is finished, or was asked to stop already"),
        )

    @admin.action(permissions=["change"], description=_("Retry selected runs"))
    def retry(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Make runs READY that ended without success or are held."""
        self._act_on_all(
            request,
            queryset,
            run_actions.retry,
            done=ngettext_lazy("%d run is tried again.", "%d runs are tried again."),
            refusal=gettext("did not end without success, or its job was added again"),
        )

    def _act_on_all(
        self,
        request: HttpRequest,
        queryset: QuerySet[Run],
        act: Callable[[Sequence[int], str], list[run_actions.Change]],
        *,
        done: _StrPromise,
        refusal: str,
    ) -> None:
        """Act on the chosen runs in one transaction, log each change, and say how it went.

        Args:
            request: Of a user who has the permission.
            queryset: The chosen runs.
            act: One of `operations.run_actions`.
            done: The message, an `ngettext_lazy` of the number of changed runs.
            refusal: Why the others were left alone.
        """
        runs = self.chosen(request, queryset)
        using = jobs_database()
        with transaction.atomic(using=using):
            changes = act([run.pk for run in runs], using)
            run_actions.log_changes(request.user.pk, changes)
        if changes:
            self.message_user(request, str(done % len(changes)), messages.SUCCESS)
        changed = {change.run_id for change in changes}
        self.report(request, [(run, refusal) for run in runs if run.pk not in changed])

    def why_not_deleted(self, obj: Run) -> str:
        """Keep what is unfinished: a click must not lose accepted work."""
        return "" if obj.status in FINISHED else gettext("is unfinished: cancel it first")

    def remove(self, objects: Sequence[Run]) -> None:
        """Delete runs, unless one was retried this instant."""
        ids, using = [run.pk for run in objects], jobs_database()
        Run.objects.using(using).finished().filter(pk__in=ids).delete()
        steps.delete_of(ids, using=using)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Log what the runs were, while they are still there."""
        run_actions.log_changes(request.user.pk, [run_actions.deletion_of(run) for run in queryset])
