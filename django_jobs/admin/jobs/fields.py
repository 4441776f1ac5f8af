"""The columns and fields of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from django_jobs import triggers
from django_jobs.admin.jobs import change_words, history, schedule_form
from django_jobs.admin.shared import arguments, display, times
from django_jobs.admin.shared.model_admin import ModelAdmin
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Status
from django_jobs.scheduler.declarations import retry_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, tzinfo

    from django_jobs.models import Job, Run

# django-apscheduler's words on a job's page: it has no catalogues, so ours translate them.
gettext_noop("Unique id for this job.")


# Marked, since in a card of a phone it would stand there without its heading.
NOTHING = format_html('<span class="jobs-nothing">{}</span>', times.EMPTY)


class JobFieldsMixin(ModelAdmin):
    """What the list and the page show of a job."""

    @admin.display(description=_("job"), ordering="id")
    def label(self, job: Job) -> str:
        """Show the id and the function, and a name where it was given one."""
        has_name = job.name != job.func.rpartition(":")[2]
        more = f"{job.name} · {job.func}" if has_name else job.func
        return format_html('{}<span class="jobs-more">{}</span>', job.id, more)

    @admin.display(description=_("status"))
    def state(self, job: Job) -> str:
        """Show whether it fires, why not, and what differs from its declaration."""
        said = [display.cut(job.broken_reason, 120)] if job.broken_reason else []
        if job.status == "paused" and job.paused_by:
            said.append(gettext("by %s") % job.paused_by)
        return _state(job, said)

    def problem(self, job: Job) -> str:
        """Say why it does not fire, and what to do; or why its runs will not begin."""
        if not job.broken_reason:
            return format_html('<p class="jobs-problem">{}</p>', display.cut(display.signature_problem(job)))
        return format_html(
            '<p class="jobs-problem">{}</p><p>{}</p>',
            job.broken_reason,
            gettext(
                "The job is kept, and fires nothing until it can be read. Where the code changed, deploy "
                "code that knows it; where the row was signed with another SECRET_KEY, run "
                "“manage.py jobs re-sign”. Then press “Resume”. Removing the job is safe, too: its "
                "history stays."
            ),
        )

    @admin.display(description=_("declaration"))
    def declaration(self, job: Job) -> str:
        """Say that the code declares it, and what a person changed since, beside what the code says."""
        if not job.overridden:
            return gettext("Declared in code.")
        changed = [(change_words.NAMES[name], _declared_value(job, name)) for name in job.overridden]
        return format_html(
            '<p>{}</p><ul class="jobs-overrides">{}</ul>',
            gettext("Declared in code, and overridden; deploys leave what was changed alone:"),
            format_html_join("", "<li>{}{}</li>", changed),
        )

    @admin.display(description=_("trigger"))
    def schedule(self, job: Job) -> str:
        """Show the trigger in words."""
        return change_words.trigger(job)

    def summary(self, job: Job) -> str:
        """Show what it does now, did last, and does next."""
        runs = history.newest(job)
        running = sum(run.status == Status.RUNNING for run in runs)
        words = ngettext("%d run under way", "%d runs under way", running) % running
        return display.rendered(
            "job/status.html",
            # Why it is broken, and who paused it, has its own place beside this.
            state=_state(job, []),
            running=words if running else "",
            paused=times.both(job.paused_at) if job.paused_at else "",
            paused_by=job.paused_by,
            next=times.both(None if job.broken_reason else job.next_run_time),
            previous=_outcome(runs[0]) if runs else gettext("None yet"),
            facts=[(gettext("Succeeded of the last %d") % len(runs), history.share(runs) or times.EMPTY)]
            if runs
            else [],
        )

    @admin.display(description=_("next run"), ordering="next_run_time")
    def next_firing(self, job: Job) -> str:
        """Show when it fires next, and its trigger."""
        at = times.relative(None if job.broken_reason else job.next_run_time)
        return format_html('{}<span class="jobs-more">{}</span>', at, self.schedule(job))

    @admin.display(description=_("next firings"))
    def next_firings(self, job: Job) -> str:
        """Show the next few times."""
        try:
            firings = _firings(job)
            zone = _own_zone(triggers.loads(job.job_state))
        except UnknownTrigger as error:
            return gettext("The stored trigger cannot be read: %s") % error
        if not firings:
            return gettext("None while it is %s.") % str(display.STATES[job.status]).lower()
        return format_html(
            '<ol class="jobs-firings">{}</ol>',
            format_html_join("", "<li>{}</li>", ((times.in_zones(time, zone),) for time in firings)),
        )

    @admin.display(description=_("last outcome"), ordering="last_run__status")
    def last_outcome(self, job: Job) -> str:
        """Show how the newest run went, when, and how long it took."""
        if not job.last_run:
            return NOTHING
        took = gettext("took %s") % display.run_duration(job.last_run) if job.last_run.started_at else ""
        return format_html('{}<span class="jobs-more">{}</span>', _outcome(job.last_run), took)

    @admin.display(description=_("last runs"))
    def recent(self, job: Any) -> str:
        """Show the outcomes of its newest runs."""
        return (
            history.strip(self.admin_site, job.recent_runs, with_share=True) if job.recent_runs else NOTHING
        )

    @admin.display(description=_("arguments"))
    def arguments(self, job: Job) -> str:
        """Show the arguments without their secrets."""
        return arguments.table(job)

    @admin.display(description=_("arguments"))
    def hidden_arguments(self, job: Job) -> str:
        """Say that they are for others to see."""
        return gettext("Shown to those who may view arguments and results.")

    @admin.display(description=_("retry"))
    def retry(self, job: Job) -> str:
        """Show after what a failed attempt is followed by another."""
        return change_words.retry(retry_of(job.options))

    @admin.display(description=_("tags"))
    def tags(self, job: Job) -> str:
        """Show its tags."""
        return display.tags(job)

    @admin.display(description=_("options"))
    def policy(self, job: Job) -> str:
        """Show retry, timeout and the like."""
        return display.policy(job)

    @admin.display(description=_("misfire grace time"))
    def misfire_grace(self, job: Job) -> str:
        """Show how late it may fire."""
        if job.misfire_grace_time is None:
            return gettext("No limit: it runs however late.")
        return display.duration(job.misfire_grace_time)

    @admin.display(description=_("created"))
    def created(self, job: Job) -> str:
        """Show since when it exists."""
        return times.moment(job.created_at)


def _outcome(run: Run) -> str:
    at = run.finished_at or run.started_at or run.enqueued_at
    return format_html(
        '{} <span class="jobs-more">{}</span>', display.label(display.run_state(run)), times.relative(at)
    )


def _named(names: Iterable[str]) -> str:
    return ", ".join(str(change_words.NAMES[name]) for name in names)


def _state(job: Job, said: list[str]) -> str:
    """Show whether a job fires, some words about that, and what differs from its declaration."""
    names = _named(name for name in job.overridden if name != "paused")
    said = [*said, gettext("overridden: %s") % names] if names else said
    lines = format_html_join("", '<span class="jobs-more">{}</span>', ((one,) for one in said))
    return format_html("{}{}", display.label(job.status), lines)


def _declared_value(job: Job, name: str) -> str:
    """Return the words that say what the code declares, where it does."""
    if job.declared is None or name not in job.declared:
        return ""
    value: object = job.declared[name]
    if name == "retry":
        value = change_words.retry(job.declared[name])
    if name == "trigger":
        try:
            value = triggers.describe(triggers.by_rule(value, timezone.now()))
        except UnknownTrigger:
            value = gettext("unknown")
    # Not inside an f-string: what collects texts to translate does not look there.
    return " " + gettext("(the code says: %s)") % value


def _own_zone(trigger: Any) -> tzinfo | None:
    """Return the zone whose clocks a trigger goes by; None for an interval, which goes by none."""
    zone: tzinfo | None = None if hasattr(trigger, "interval") else getattr(trigger, "timezone", None)
    return zone


def _firings(job: Job) -> list[datetime]:
    trigger = triggers.loads(job.job_state)
    return schedule_form.following(trigger, None if job.broken_reason else job.next_run_time)
