"""How pages show durations, states, arguments and links; all text from rows is escaped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.template.loader import render_to_string
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from django_jobs import codec
from django_jobs.admin.shared import addresses, times
from django_jobs.admin.shared.times import EMPTY
from django_jobs.exceptions import BadPayload
from django_jobs.models import FINISHED, Job, Run, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.contrib.admin import AdminSite
    from django.db.models import Model
    from django.utils.functional import _StrOrPromise
    from django.utils.safestring import SafeString

# Longer values are cut on pages: a browser has no use for a megabyte of JSON.
MAX_CHARACTERS = 20_000

STATES: dict[str, _StrOrPromise] = {
    **{status.value: status.label for status in Status},
    "scheduled": pgettext_lazy("state of a job", "Scheduled"),
    "paused": gettext_lazy("Paused"),
    "broken": gettext_lazy("Broken"),
    "deferred": gettext_lazy("Deferred"),
    "due": gettext_lazy("Due"),
    "queue_paused": gettext_lazy("Queue paused"),
    "queue_unserved": gettext_lazy("No worker"),
    "func_unknown": gettext_lazy("Unknown to workers"),
    "retrying": gettext_lazy("Waiting for a retry"),
    "blocked": gettext_lazy("Waiting for something else"),
    "limited": gettext_lazy("Waiting for a limit"),
    "ordered": gettext_lazy("Waiting for its turn"),
    "dependent": gettext_lazy("Waiting for other runs"),
    "sleeping": gettext_lazy("Sleeping"),
    "open": gettext_lazy("Open"),
    "cancelling": gettext_lazy("Cancelling"),
    "held": gettext_lazy("Held"),
    "stopping": gettext_lazy("Stopping"),
    "alive": gettext_lazy("Alive"),
    "late": gettext_lazy("Late"),
    "quiet": gettext_lazy("Quiet"),
    "gone": gettext_lazy("Gone"),
    "stopped": gettext_lazy("Stopped"),
    "serving": gettext_lazy("Serving"),
    "unserved": gettext_lazy("Not served"),
}


def duration(seconds: float | None) -> str:
    """Show a duration with as much precision as its size deserves."""
    if seconds is None:
        return EMPTY
    seconds = max(0.0, seconds)
    if seconds < 1:
        return _("%(count)d ms") % {"count": seconds * 1000}
    if seconds < 59.95:  # what rounds to a minute is one
        return _("%(count)s s") % {"count": formats.number_format(round(seconds, 1), 1)}
    minutes, rest = divmod(int(max(60, seconds)), 60)
    if minutes < 60:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    return _("%(days)d d %(hours)d h") % {"days": hours // 24, "hours": hours % 24}


def between(start: datetime | None, end: datetime | None) -> str:
    """Show how long something took; `-` unless it has begun and ended."""
    return duration((end - start).total_seconds()) if start and end else EMPTY


def brief(seconds: float) -> str:
    """Show a duration; of many minutes without seconds, which only take room."""
    return _("%d min") % (seconds // 60) if 600 <= seconds < 3600 else duration(seconds)


def left(seconds: float) -> str:
    """Say how long something will still take."""
    return _("about %s left") % brief(seconds)


def label(state: str) -> SafeString:
    """Show a state as a word with a colour; the word alone says it all."""
    return format_html('<span class="jobs-label jobs-{}">{}</span>', state.lower(), word(state))


def known(state: str) -> str:
    """Return a state as `STATES` has it, which names those that have ended as their rows do."""
    return state if state in STATES else state.upper()


def word(state: str) -> str:
    """Return the word for a state; itself where there is none."""
    return str(STATES.get(known(state), state))


def run_state(run: Run) -> str:
    """Return a run's state, as `STATES` has it."""
    return known(run.state)


def waiting_state(run: Run, obstacle: str) -> str:
    """Return a run's state as `run_state` does; of one that is due, what keeps it from beginning.

    Args:
        run: The run.
        obstacle: What `storage.queues.obstacles` says of its queue.
    """
    if run.state != "ready":
        return run_state(run)
    names = {"paused": "queue_paused", "unserved": "queue_unserved", "unknown": "func_unknown"}
    return names.get(obstacle, "due")


def run_duration(run: Run) -> str:
    """Show how long a run took, or has taken so far."""
    return between(run.started_at, timezone.now() if run.status == Status.RUNNING else run.finished_at)


def last_known(run: Run) -> datetime | None:
    """Return when a run ended, began, or is to begin: what is the last thing known of it."""
    if run.status in FINISHED:
        return run.finished_at
    return run.started_at if run.status == Status.RUNNING else run.run_after or run.enqueued_at


def signature_problem(call: Job | Run) -> str:
    """Return what is wrong with the signature of a call's function and arguments, or an empty text."""
    try:
        codec.verify(call.func, call.payload, call.signature)
    except BadPayload as error:
        return str(error)
    return ""


def cut(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return a text's beginning, with a mark where it was cut."""
    return text if len(text) <= limit else text[:limit] + "…"


def pretty(value: Any) -> str:
    """Return JSON for people to read."""
    return cut(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def block(text: str) -> SafeString:
    """Show a text of several lines as it is."""
    return format_html('<pre class="jobs-block">{}</pre>', cut(text))


def policy(call: Job | Run) -> str:
    """Show a job's options: retry, timeout and the like."""
    return block(pretty(call.options)) if call.options else _("None")


def tags(call: Job | Run) -> str:
    """Show the tags of a job or run."""
    return format_html_join(" ", '<span class="jobs-label">{}</span>', ((tag,) for tag in call.tags))


def about(site: AdminSite, reference: str) -> str:
    """Show an object "app_label.model:pk" as a link to its page, where it has one."""
    label, _colon, pk = reference.partition(":")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        # Of an app that was removed.
        return reference
    return link(site, model, pk, reference)


def link(site: AdminSite, model: type[Model], pk: int | str, text: object) -> str:
    """Link to a row's page; only its text where the project has no such page."""
    return _linked(addresses.of_row(site, model, pk), text)


def list_link(site: AdminSite, text: object, **filters: str) -> str:
    """Link to the list of runs that pass some filters."""
    return _linked(addresses.of_list(site, Run, **filters), text)


def _linked(url: str, text: object) -> str:
    return format_html('<a href="{}">{}</a>', url, text) if url else str(text)


def run_rows(site: AdminSite, runs: Sequence[Run]) -> str:
    """Show some runs as a small table with links."""
    if not runs:
        return _("None yet")
    rows = [
        {
            "link": link(site, Run, run.pk, run.pk),
            "state": label(run_state(run)),
            "enqueued": times.moment(run.enqueued_at),
            "started": times.moment(run.started_at),
            "duration": run_duration(run),
            "error": cut(run.error, 200),
        }
        for run in runs
    ]
    return rendered("job/runs.html", rows=rows)


def rendered(template: str, **context: Any) -> SafeString:
    """Render a part of a page from our own templates."""
    return render_to_string(f"admin/django_jobs/{template}", context)
