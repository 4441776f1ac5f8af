"""What a run's page shows of its steps, loops and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs.admin.shared import display, times
from django_jobs.models import StepKind
from django_jobs.operations import kept

if TYPE_CHECKING:
    from datetime import datetime

    from django_jobs.models import Run

_STATES = {
    "done": gettext_lazy("done"),
    "timed out": gettext_lazy("timed out"),
    "waiting": gettext_lazy("waiting"),
    "failed": gettext_lazy("failed, will be retried"),
    "running": gettext_lazy("under way"),
}
_COLOURS = {
    "done": "successful", "timed out": "cancelled", "waiting": "waiting", "failed": "failed", "running": "running",
}  # fmt: skip


def entries(run: Run, *, with_payload: bool) -> list[dict[str, Any]]:
    """Return an entry for each of what a run keeps, with one query.

    Args:
        run: The run.
        with_payload: Whether to show results and the errors of rows.
    """
    return [_entry(step, with_payload=with_payload) for step in kept.of_run(run)]


def _entry(step: kept.StepInfo, *, with_payload: bool) -> dict[str, Any]:
    began, ended, until = (_time(step["started_at"]), _time(step["finished_at"]), _time(step["until"]))
    is_shown = with_payload and (step["value"] is not None or step["failed"])
    return {
        "title": _title(step),
        "state": str(_STATES[step["state"]]),
        "colour": _COLOURS[step["state"]],
        "at": times.both(began) if began else "",
        "took": display.between(began, ended) if ended else "",
        "until": times.both(until) if until else "",
        "error": display.cut(step["error"]),
        "value": display.pretty(step["failed"] or step["value"]) if is_shown else "",
    }


def _time(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None


def _title(step: kept.StepInfo) -> str:
    name = step["name"] if step["occurrence"] == 1 else f"{step['name']} ({step['occurrence']})"
    if step["kind"] == StepKind.LOOP:
        words = {"name": name, "done": step["done"] or 0, "failed": len(step["failed"])}
        if step["failed"]:
            return _("Loop over %(name)s: %(done)d rows, %(failed)d with errors") % words
        return _("Loop over %(name)s: %(done)d rows") % words
    titles = {
        StepKind.STEP.value: _("Step %s"),
        StepKind.SLEEP.value: _("Sleep %s"),
        StepKind.EVENT.value: _("Event %s"),
    }
    return titles.get(step["kind"], "%s") % name
