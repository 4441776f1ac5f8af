"""What the admin's log says of a change to a job: each value that differs, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from django_jobs import triggers
from django_jobs.admin.shared import display, times
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, jobs_database
from django_jobs.scheduler.declarations import retry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.utils.functional import _StrOrPromise

# What a person may change of a job.
NAMES: dict[str, _StrOrPromise] = {
    "status": gettext_lazy("status"),
    "trigger": gettext_lazy("trigger"),
    "next_run_time": gettext_lazy("next run"),
    "queue_name": gettext_lazy("queue"),
    "priority": gettext_lazy("priority"),
    "max_instances": gettext_lazy("max instances"),
    "retry": gettext_lazy("retry"),
    "paused": gettext_lazy("paused"),
}
_GROWTH: dict[str, _StrOrPromise] = {
    "fixed": gettext_lazy("each time the same"),
    "linear": gettext_lazy("growing by that each time"),
    "exponential": gettext_lazy("doubling each time"),
}


def facts(job: Job) -> dict[str, str]:
    """Return what a person may change of a job, in words."""
    next_run = job.next_run_time
    return {
        "status": str(display.STATES[job.status]),
        "trigger": trigger(job),
        "next_run_time": times.plain(next_run) if next_run else pgettext("next run", "none"),
        "queue_name": job.queue_name,
        "priority": str(job.priority),
        "max_instances": str(job.max_instances),
        "retry": retry(retry_of(job.options)),
    }


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say what differs, such as `priority from “0” to “5”`; an empty text where nothing does."""
    changed = [name for name in before if before[name] != after[name]]
    text = _("%(name)s from “%(before)s” to “%(after)s”")
    return "; ".join(
        text % {"name": NAMES[name], "before": before[name], "after": after[name]} for name in changed
    )


def listed(job: Job) -> str:
    """Say what a job is, and what it calls, for when it comes or goes."""
    fact = _("%(name)s “%(value)s”")
    text = "; ".join(fact % {"name": NAMES[name], "value": value} for name, value in facts(job).items())
    return _("%(function)s: %(facts)s.") % {"function": job.func, "facts": text}


def logged(words: _StrOrPromise) -> Callable[[Job], str]:
    """Return what writes the log's text for a job as it was before: what was done, and what differs now."""

    def text_of(before: Job) -> str:
        after = Job.objects.using(jobs_database()).filter(pk=before.pk).first()
        changed = difference(facts(before), facts(after)) if after else ""
        return f"{words} {changed[0].upper()}{changed[1:]}." if changed else str(words)

    return text_of


def trigger(job: Job) -> str:
    """Return a job's trigger in words."""
    try:
        return triggers.describe(triggers.loads(job.job_state))
    except UnknownTrigger:
        return _("unknown")


def retry(stored: Mapping[str, Any] | None) -> str:
    """Return a stored retry policy in words."""
    attempts = int((stored or {}).get("max_attempts", 1))
    if stored is None or attempts < 2:
        return _("never")
    text = ngettext("up to %(count)d attempt", "up to %(count)d attempts", attempts)
    delay, longest = float(stored.get("delay", 0)), float(stored.get("max_delay", 0))
    text += _(", the second after %(delay)s, %(growth)s, %(longest)s at most")
    return text % {
        "count": attempts,
        "delay": display.duration(delay),
        "growth": _GROWTH.get(str(stored.get("backoff")), stored.get("backoff")),
        "longest": display.duration(longest),
    }
