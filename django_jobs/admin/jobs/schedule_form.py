"""The form of a job's schedule and policy: what fires it, when next, and how its runs are treated."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs import triggers
from django_jobs.admin.jobs import crontab_text
from django_jobs.admin.shared.widgets import SplitDateTime
from django_jobs.conf import jobs_settings
from django_jobs.models import MAX_PRIORITY, MIN_PRIORITY
from django_jobs.registry.retry import Retry
from django_jobs.registry.retry import from_json as retry_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from apscheduler.triggers.base import BaseTrigger

FIRINGS = 5
KEEP, INTERVAL, CRON, ONCE = "keep", "interval", "cron", "once"
_KINDS = (
    (INTERVAL, gettext_lazy("Again and again, after some time")),
    (CRON, gettext_lazy("By the clock and the calendar, as in crontab")),
    (ONCE, gettext_lazy("Once, at a time")),
)
_UNITS = {
    "seconds": gettext_lazy("seconds"),
    "minutes": gettext_lazy("minutes"),
    "hours": gettext_lazy("hours"),
    "days": gettext_lazy("days"),
    "weeks": gettext_lazy("weeks"),
}
_BACKOFFS = (
    ("fixed", gettext_lazy("the same each time")),
    ("linear", gettext_lazy("longer by the first delay each time")),
    ("exponential", gettext_lazy("twice as long each time")),
)
_TRIGGER_FIELDS = ("kind", "every", "unit", "expression", "zone", "at")
_FIELDS_OF = {INTERVAL: ("every", "unit"), CRON: ("expression", "zone"), ONCE: ("at",)}
_RETRY_FIELDS = ("attempts", "delay", "backoff", "max_delay")


class ScheduleForm(forms.Form):
    """A trigger and the policy of what it fires.

    Each field comes with what it was when the page was made: what somebody else, or the clock,
    changed meanwhile is not changed back by what a person left alone.

    Args:
        *args: As for `forms.Form`.
        current: The trigger there is; None for a job that is to be added.
        may_be_once: Whether a single time can be chosen.
        **kwargs: As for `forms.Form`.
    """

    kind = forms.ChoiceField(label=gettext_lazy("Fires"), widget=forms.RadioSelect)
    every = forms.FloatField(
        label=gettext_lazy("Every"),
        required=False,
        min_value=0.001,
        help_text=gettext_lazy("Such as 30 minutes."),
    )
    unit = forms.ChoiceField(label=gettext_lazy("Unit"), required=False, choices=list(_UNITS.items()))
    expression = forms.CharField(
        label=gettext_lazy("Crontab expression"),
        required=False,
        max_length=200,
        help_text=gettext_lazy(
            "Minute, hour, day of month, month, day of week: “30 3 * * mon-fri” is at 03:30 on weekdays. "
            "L is the last day of the month, 15W the weekday nearest to the 15th, fri#2 the second Friday, "
            "friL the last. Also @hourly, @daily, @weekly, @monthly and @yearly."
        ),
    )
    zone = forms.CharField(
        label=gettext_lazy("Time zone"),
        required=False,
        max_length=100,
    )
    at = forms.SplitDateTimeField(label=gettext_lazy("At"), required=False, widget=SplitDateTime)
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

    def __init__(
        self, *args: Any, current: BaseTrigger | None = None, may_be_once: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._current = current
        # They are read from left to right in any language.
        for name in ("expression", "zone", "queue_name"):
            self.fields[name].widget.attrs["dir"] = "ltr"
        self.fields["zone"].help_text = _("Whose clock is meant, such as Europe/Berlin; empty: %(zone)s.") % {
            "zone": jobs_settings().CRON_TIME_ZONE
        }
        kinds: list[tuple[str, Any]] = [kind for kind in _KINDS if may_be_once or kind[0] != ONCE]
        if current is not None and (fields_of(current)["kind"] == KEEP):
            kinds.insert(0, (KEEP, _("As it is: %s") % triggers.describe(current)))
        self.fields["kind"].choices = kinds  # type: ignore[attr-defined] # a ChoiceField's
        for field in self.fields.values():
            field.show_hidden_initial = current is not None
        # What `clean` makes of it.
        self.trigger: BaseTrigger | None = None
        self.retry: Retry | None = None

    def clean(self) -> dict[str, Any]:
        """Put the fields together, and say which of them is wrong."""
        said: dict[str, Any] = super().clean() or self.cleaned_data
        self._clean_trigger(said)
        self._clean_retry(said)
        next_run = said.get("next_run")
        if "next_run" in self.changed_data and "next_run" not in self.errors:
            if next_run is None:
                self.add_error("next_run", _("Say when, or leave it as it was."))
            elif next_run < timezone.now():
                self.add_error("next_run", _("This time is past. To run the job at once, use “Run now”."))
        return said

    def _clean_trigger(self, said: Mapping[str, Any]) -> None:
        kind = said.get("kind", "")
        # What another way to fire would need is not looked at, nor shown.
        for name in set(_TRIGGER_FIELDS) - {"kind", *_FIELDS_OF.get(kind, ())}:
            self.errors.pop(name, None)
        if any(name in self.errors for name in _TRIGGER_FIELDS):
            return
        place = _FIELDS_OF[kind][0] if kind in _FIELDS_OF else "kind"
        try:
            if kind == KEEP:
                self.trigger = self._current
            elif said[place] in (None, ""):
                self.add_error(place, _("Fill this in, or choose another way to fire."))
            elif kind == INTERVAL:
                self.trigger = triggers.interval(timedelta(**{said["unit"] or "seconds": said["every"]}))
            elif kind == CRON:
                self.trigger = self._crontab(said)
            elif said["at"] < timezone.now() and "at" in self.changed_data:
                self.add_error("at", _("This time is past."))
            else:
                self.trigger = triggers.at(said["at"])
        except ValueError as error:
            self.add_error(place, str(error))
        except OverflowError:
            self.add_error(place, _("This is longer than 100 years."))

    def _crontab(self, said: Mapping[str, Any]) -> BaseTrigger | None:
        zone = said["zone"].strip() or None
        try:
            triggers.crontab("@daily", zone)
        except ValueError as error:
            self.add_error("zone", str(error))
            return None
        return triggers.crontab(said["expression"], zone)

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

    def has_other_trigger(self) -> bool:
        """Whether a person chose another trigger."""
        kind = self.cleaned_data.get("kind", "")
        return any(name in self.changed_data for name in ("kind", *_FIELDS_OF.get(kind, ())))

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
        local = triggers.local(trigger, moment)
        moment = trigger.get_next_fire_time(local, local)
    return times


def fields_of(trigger: BaseTrigger) -> dict[str, Any]:
    """Return what the fields say of a trigger; the kind is `KEEP` where they cannot say it."""
    state = triggers.rule(trigger)
    is_plain = not state.get("end") and not state.get("jitter")
    if state["type"] == "interval" and is_plain:
        count, unit = _length(timedelta(seconds=state["seconds"]))
        return {"kind": INTERVAL, "every": count, "unit": unit}
    if triggers.is_once(trigger):
        return {"kind": ONCE, "at": trigger.get_next_fire_time(None, timezone.now())}
    written = crontab_text.of(trigger)
    if written is not None:
        return {"kind": CRON, "expression": written.expression, "zone": written.zone}
    return {"kind": KEEP}


def _length(length: timedelta) -> tuple[float, str]:
    """Return a length as a number of its largest unit that goes into it."""
    for unit in reversed(_UNITS):
        if length % timedelta(**{unit: 1}) == timedelta(0):
            return length // timedelta(**{unit: 1}), unit
    return length.total_seconds(), "seconds"


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


TRIGGER_ROWS: Sequence[Any] = ("kind", ("every", "unit"), ("expression", "zone"), "at")
POLICY_ROWS: Sequence[Any] = (
    ("queue_name", "priority", "max_instances"),
    ("attempts", "delay", "backoff", "max_delay"),
)
