"""The part of a job's form that says when it fires."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django import forms
from django.contrib.admin.widgets import AdminDateWidget, AdminTimeWidget
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs import triggers
from django_jobs.admin.jobs import crontab_text
from django_jobs.admin.shared.widgets import SplitDateTime
from django_jobs.conf import jobs_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from apscheduler.triggers.base import BaseTrigger
    from apscheduler.triggers.cron import CronTrigger

KEEP, INTERVAL, CALENDAR, CRON, ONCE = "keep", "interval", "calendar", "cron", "once"
_KINDS = (
    (INTERVAL, gettext_lazy("Again and again, after some time")),
    (CALENDAR, gettext_lazy("Every so many days, weeks, months or years of the calendar")),
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
_CALENDAR_UNITS = {
    "days": gettext_lazy("days"),
    "weeks": gettext_lazy("weeks"),
    "months": gettext_lazy("months"),
    "years": gettext_lazy("years"),
}
_LIMITS = ("ends", "times", "jitter")
# The first one of each is what must be filled in.
_FIELDS_OF = {
    INTERVAL: ("every", "unit", "anchor", "zone", "starts", *_LIMITS),
    CALENDAR: ("count", "span", "first_day", "time_of_day", "zone", *_LIMITS),
    CRON: ("expression", "repeats", "zone", "starts", *_LIMITS),
    ONCE: ("at",),
}
_TRIGGER_FIELDS = ("kind", *dict.fromkeys(name for names in _FIELDS_OF.values() for name in names))
TRIGGER_ROWS: Sequence[Any] = (
    "kind",
    ("every", "unit", "anchor"),
    ("count", "span", "first_day", "time_of_day"),
    ("expression", "repeats"),
    "zone",
    "at",
    "starts",
    ("ends", "times", "jitter"),
)


class TriggerForm(forms.Form):
    """A trigger: its kind, what that needs, and its limits.

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
    anchor = forms.TimeField(
        label=gettext_lazy("Counted from"),
        required=False,
        widget=AdminTimeWidget,
        help_text=gettext_lazy(
            "A time of the day: every 6 hours from 03:00 is at 03:00, 09:00, 15:00 and 21:00. May stay empty."
        ),
    )
    count = forms.IntegerField(label=gettext_lazy("Every"), required=False, min_value=1)
    span = forms.ChoiceField(
        label=gettext_lazy("Unit"), required=False, choices=list(_CALENDAR_UNITS.items()), initial="months"
    )
    first_day = forms.DateField(
        label=gettext_lazy("First day"),
        required=False,
        widget=AdminDateWidget,
        help_text=gettext_lazy("The others are counted from it: every month from a 1st is on each 1st."),
    )
    time_of_day = forms.TimeField(
        label=gettext_lazy("Time of day"), required=False, widget=AdminTimeWidget, initial="00:00"
    )
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
    repeats = forms.BooleanField(
        label=gettext_lazy("Fire twice at a time that the clocks repeat"), required=False
    )
    zone = forms.CharField(
        label=gettext_lazy("Time zone"),
        required=False,
        max_length=100,
    )
    at = forms.SplitDateTimeField(label=gettext_lazy("At"), required=False, widget=SplitDateTime)
    starts = forms.SplitDateTimeField(
        label=gettext_lazy("Not before"),
        required=False,
        widget=SplitDateTime,
        help_text=gettext_lazy("An interval is counted from this moment, if it is filled in."),
    )
    ends = forms.SplitDateTimeField(label=gettext_lazy("Not after"), required=False, widget=SplitDateTime)
    times = forms.IntegerField(
        label=gettext_lazy("Times at most"),
        required=False,
        min_value=1,
        help_text=gettext_lazy("Counted from the beginning; kept as the end that follows from it."),
    )
    jitter = forms.FloatField(
        label=gettext_lazy("Seconds later at most"),
        required=False,
        min_value=0,
        help_text=gettext_lazy("Each firing is put off by a random time up to this."),
    )

    def __init__(
        self, *args: Any, current: BaseTrigger | None = None, may_be_once: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._current = current
        # They are read from left to right in any language.
        for name in ("expression", "zone"):
            self.fields[name].widget.attrs["dir"] = "ltr"
        self.fields["zone"].help_text = _("Whose clock is meant, such as Europe/Berlin; empty: %(zone)s.") % {
            "zone": jobs_settings().CRON_TIME_ZONE
        }
        kinds: list[tuple[str, Any]] = [kind for kind in _KINDS if may_be_once or kind[0] != ONCE]
        if current is not None and (fields_of(current)["kind"] == KEEP):
            kinds.insert(0, (KEEP, _("As it is: %s") % triggers.describe(current)))
        self.fields["kind"].choices = kinds  # type: ignore[attr-defined] # a ChoiceField's
        # What `clean` makes of it.
        self.trigger: BaseTrigger | None = None

    def clean(self) -> dict[str, Any]:
        """Make the trigger, or say which of the fields is wrong."""
        said: dict[str, Any] = super().clean() or self.cleaned_data
        kind = said.get("kind", "")
        # What another way to fire would need is not looked at, nor shown.
        for name in set(_TRIGGER_FIELDS) - {"kind", *_FIELDS_OF.get(kind, ())}:
            self.errors.pop(name, None)
        if any(name in self.errors for name in _TRIGGER_FIELDS):
            return said
        if self._current is not None and not self.has_other_trigger():
            # With what the fields do not show, such as the moment that its interval began at.
            self.trigger = self._current
            return said
        place = _FIELDS_OF[kind][0] if kind in _FIELDS_OF else "kind"
        try:
            self._clean_trigger(kind, place, said)
        except ValueError as error:
            self.add_error(place, str(error))
        except OverflowError:
            self.add_error(place, _("This is longer than 100 years."))
        return said

    def _clean_trigger(self, kind: str, place: str, said: Mapping[str, Any]) -> None:
        if kind == KEEP:
            self.trigger = self._current
        elif said[place] in (None, ""):
            self.add_error(place, _("Fill this in, or choose another way to fire."))
        elif kind == ONCE:
            if said["at"] < timezone.now() and "at" in self.changed_data:
                self.add_error("at", _("This time is past."))
            else:
                self.trigger = triggers.at(said["at"])
        elif kind == CALENDAR and not said["first_day"]:
            self.add_error("first_day", _("Fill this in, or choose another way to fire."))
        elif kind != CALENDAR and said["times"] and not said["starts"]:
            self.add_error("starts", _("Say from when they are counted."))
        elif (zone := self._zone(said)) is not None:
            made = {INTERVAL: _interval, CALENDAR: _calendar, CRON: _crontab}[kind](said, zone)
            self.trigger = triggers.check(made)
            if (not_on := getattr(self._current, "not_on", None)) is not None:
                # The form has no field for the dates that the code leaves out: they stay.
                self.trigger.not_on = not_on

    def _zone(self, said: Mapping[str, Any]) -> tzinfo | None:
        try:
            zone: tzinfo = triggers.crontab("@daily", said["zone"].strip() or None).timezone
        except ValueError as error:
            self.add_error("zone", str(error))
            return None
        return zone

    def has_other_trigger(self) -> bool:
        """Whether a person chose another trigger."""
        kind = self.cleaned_data.get("kind", "")
        return any(name in self.changed_data for name in ("kind", *_FIELDS_OF.get(kind, ())))


def _interval(said: Mapping[str, Any], zone: tzinfo) -> BaseTrigger:
    length = timedelta(**{said["unit"] or "seconds": said["every"]})
    if said["anchor"] is not None:
        return triggers.anchored(length, said["anchor"], zone, **_limits(said, zone))
    return triggers.interval(length, **_limits(said, UTC))


def _crontab(said: Mapping[str, Any], zone: tzinfo) -> BaseTrigger:
    return triggers.crontab(said["expression"], zone, repeats=said["repeats"], **_limits(said, zone))


def _limits(said: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    moments = {"start": said["starts"], "end": said["ends"]}
    inside = {name: moment and moment.astimezone(zone) for name, moment in moments.items()}
    return {**inside, "times": said["times"], "jitter": said["jitter"]}


def _calendar(said: Mapping[str, Any], zone: tzinfo) -> BaseTrigger:
    return triggers.calendar(
        **{said["span"] or "months": said["count"]},
        start=said["first_day"],
        at=said["time_of_day"] or time(),
        timezone=zone,
        end=said["ends"] and said["ends"].astimezone(zone).date(),
        times=said["times"],
        jitter=said["jitter"],
    )


def fields_of(trigger: BaseTrigger) -> dict[str, Any]:
    """Return what the fields say of a trigger; the kind is `KEEP` where they cannot say it."""
    if triggers.is_once(trigger):
        return {"kind": ONCE, "at": trigger.get_next_fire_time(None, timezone.now())}
    if isinstance(trigger, IntervalTrigger):
        count, unit = _length(trigger.interval)
        start = triggers.rule(trigger)["start"] and trigger.start_date
        return {"kind": INTERVAL, "every": count, "unit": unit, "starts": start, **_limits_of(trigger)}
    if isinstance(trigger, CalendarIntervalTrigger):
        return _fields_of_calendar(trigger) or {"kind": KEEP}
    written = crontab_text.of(trigger)
    if written is None:
        return {"kind": KEEP}
    part: CronTrigger = getattr(trigger, "triggers", [trigger])[0]
    return {
        "kind": CRON,
        "expression": written.expression,
        "zone": written.zone,
        "repeats": bool(getattr(part, "repeats", False)),
        "starts": part.start_date,
        "ends": part.end_date,
        "jitter": trigger.jitter,
    }


def _fields_of_calendar(trigger: CalendarIntervalTrigger) -> dict[str, Any] | None:
    """Return what the fields say; None of several units, which they have no room for."""
    counts = {unit: count for unit in _CALENDAR_UNITS if (count := getattr(trigger, unit))}
    if len(counts) != 1:
        return None
    ((span, count),) = counts.items()
    state = triggers.rule(trigger)
    end = trigger.end_date and datetime.combine(trigger.end_date, time(23, 59, 59), trigger.timezone)
    return {
        "kind": CALENDAR,
        "count": count,
        "span": span,
        "first_day": trigger.start_date,
        "time_of_day": time(state["hour"], state["minute"], state["second"]),
        "zone": state["timezone"],
        "ends": end,
        "jitter": trigger.jitter,
    }


def _limits_of(trigger: IntervalTrigger) -> dict[str, Any]:
    return {"ends": trigger.end_date, "jitter": trigger.jitter}


def _length(length: timedelta) -> tuple[float, str]:
    """Return a length as a number of its largest unit that goes into it."""
    for unit in reversed(_UNITS):
        if length % timedelta(**{unit: 1}) == timedelta(0):
            return length // timedelta(**{unit: 1}), unit
    return length.total_seconds(), "seconds"
