"""How pages show the arguments of a call: by their names, long ones folded, and as text to be copied."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from django.utils.html import format_html
from django.utils.translation import gettext as _

from django_jobs import codec
from django_jobs.admin.shared import display
from django_jobs.exceptions import BadPayload
from django_jobs.operations import named_arguments

if TYPE_CHECKING:
    from django_jobs.models import Job, Run

# Longer values are folded, and so much of them is shown then.
LONG, LINES, BEGINNING = 400, 10, 80


def table(call: Job | Run) -> str:
    """Show the arguments of a job or run without their secrets, and ways to copy them."""
    try:
        found = named_arguments.shown(call)
        copies = _copies(call)
    except BadPayload as error:
        return format_html(
            '<p class="jobs-problem">{}</p>', _("The stored arguments cannot be read: %s") % error
        )
    if not found:
        return _("None")
    rows = [_row(name, display.pretty(value)) for name, value in found]
    return display.rendered("arguments.html", rows=rows, copies=copies)


def _row(name: str, text: str) -> dict[str, Any]:
    is_long = len(text) > LONG or text.count("\n") >= LINES
    beginning = display.cut(" ".join(text[: 4 * BEGINNING].split()), BEGINNING) if is_long else ""
    return {"name": name, "value": text, "beginning": beginning, "length": len(text)}


def _copies(call: Job | Run) -> list[dict[str, str]]:
    """Return the call as JSON, Python and a command, with asterisks for its secrets."""
    args, kwargs = codec.display_arguments(call.payload, sensitive=call.sensitive)
    module, _colon, name = call.func.partition(":")
    words = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    stored = [_json(value) for value in args] + [f"{key}={_json(value)}" for key, value in kwargs.items()]
    command = shlex.join(["manage.py", "jobs", "add", call.func, *stored])
    forms = {
        "JSON": display.pretty({"args": args, "kwargs": kwargs}),
        "Python": display.cut(f"from {module} import {name.partition('.')[0]}\n\n{name}({words})"),
        "CLI": display.cut(command),
    }
    return [{"name": kind, "id": f"jobs-copy-{kind.lower()}", "text": text} for kind, text in forms.items()]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
