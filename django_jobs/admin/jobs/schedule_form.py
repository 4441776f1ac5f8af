"""The form of a job's schedule and policy: what fires it, when next, and how its runs are treated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs import triggers
from django_jobs.admin.jobs.trigger_form import TriggerForm
from django_jobs.admin.shared.widgets import SplitDateTime
from django_jobs.models import MAX_PRIORITY, MIN_PRIORITY
from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import from_json as retry_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from apscheduler.triggers.base import BaseTrigger

FIRINGS = 5
_BACKOFFS = (
    ("fixed", gettext_lazy("the same each time")),
    ("linear", gettext_lazy("longer by the first delay each time")),
    ("exponential", gettext_lazy("twice as long each time")),
)
_RETRY_FIELDS = ("attempts", "delay", "backoff", "max_delay")


class ScheduleForm(TriggerForm):
    """A trigger and the policy of what it fires.

    Each field comes with what it was when the page was made: what somebody else, or the clock,
    changed meanwhile is not changed back by what a person left alone.

    Args:
        *args: As for `TriggerForm`.
        **kwargs: As for `TriggerForm`.
    """

    next_run = forms.SplitDateTimeField(
        label=gettext_lazy("Next run"),
        required=False,
        widget=SplitDateTime,
        help_text=gettext_lazy("When it fires next; after that its schedule decides again."),
    )
    queue_name = forms.CharField(label=gettext_lazy("Queue"), max_length=100)
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        min_value=MIN_PRIORITY,
        max_value=MAX_PRIORITY,
        help_text=gettext_lazy("-100 to 100; high goes first."),
    )
    max_instances = forms.IntegerField(
        label=gettext_lazy("Max instances"),
        min_value=1,
        max_value=2**31 - 1,
        help_text=gettext_lazy("Unfinished runs at the same time; firings beyond are skipped."),
    )
    attempts = forms.IntegerField(
        label=gettext_lazy("Attempts"),
        min_value=1,
        max_value=1_000_000,
        help_text=gettext_lazy("How often in all, when attempts fail; 1: never again."),
    )
    delay = forms.FloatField(label=gettext_lazy("Seconds before the second attempt"), min_value=0)
    backoff = forms.ChoiceField(label=gettext_lazy("Later delays are"), choices=_BACKOFFS)
    max_delay = forms.FloatField(label=gettext_lazy("Seconds at most"), min_value=0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["queue_name"].widget.attrs["dir"] = "ltr"
        for field in self.fields.values():
            field.show_hidden_initial = self._current is not None
        # What `clean` makes of it.
        self.retry: Retry | None = None

    def clean(self) -> dict[str, Any]:
        """Put the fields together, and say which of them is wrong."""
        said = super().clean()
        self._clean_retry(said)
        next_run = said.get("next_run")
        if "next_run" in self.changed_data and "next_run" not in self.errors:
            if next_run is None:
                self.add_error("next_run", _("Say when, or leave it as it was."))
            elif next_run < timezone.now():
                self.add_error("next_run", _("This time is past. To run the job now, use “Run now”."))
        return said

    def _clean_retry(self, said: Mapping[str, Any]) -> None:
        if any(name in self.errors for name in _RETRY_FIELDS) or said["attempts"] == 1:
            return
        stored = (self.initial.get("stored_retry") or {}) if self.initial else {}
        try:
            # What it retries after is the code's to say, and stays.
            self.retry = dataclasses.replace(
                retry_from_json(stored),
                max_attempts=said["attempts"],
                delay=said["delay"],
                backoff=said["backoff"],
                max_delay=said["max_delay"],
            )
        except ValueError as error:
            self.add_error("max_delay", str(error))

    def words(self) -> str:
        """Return what the trigger that was filled in says, also where another field is wrong; empty where it is."""
        return "" if self.trigger is None else triggers.describe(self.trigger)

    def has_other_retry(self) -> bool:
        """Whether a person chose another retry policy."""
        return any(name in self.changed_data for name in _RETRY_FIELDS)

    def firings(self, now: datetime, next_run: datetime | None = None) -> list[datetime]:
        """Return the next few times that the job as it is filled in fires at.

        Args:
            now: The time.
            next_run: When it fires next as it is stored, if it goes on with that.
        """
        trigger = self.trigger
        if trigger is None:
            return []
        current = self._current
        is_same = current is not None and triggers.same(triggers.dumps(current), triggers.dumps(trigger))
        if is_same and current is not None:
            # With the moment that its interval began at.
            trigger = current
        chosen = self.cleaned_data.get("next_run") if "next_run" in self.changed_data else None
        return following(trigger, chosen or (next_run if is_same else None) or triggers.first(trigger, now))


def following(trigger: BaseTrigger, moment: datetime | None) -> list[datetime]:
    """Return a moment and the few at which a trigger fires after it."""
    times: list[datetime] = []
    while moment is not None and len(times) < FIRINGS:
        times.append(moment)
        moment = triggers.following(trigger, moment)
    return times


def fields_of_retry(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the fields say of a stored retry policy."""
    try:
        policy = retry_from_json(stored or {})
    except ValueError:
        policy = Retry()
    return {
        "attempts": policy.max_attempts if stored else 1,
        "delay": policy.delay,
        "backoff": policy.backoff,
        "max_delay": policy.max_delay,
        "stored_retry": stored,
    }


POLICY_ROWS: Sequence[Any] = (
    ("queue_name", "priority", "max_instances"),
    ("attempts", "delay", "backoff", "max_delay"),
)
