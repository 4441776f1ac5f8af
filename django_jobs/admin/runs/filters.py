"""The filters of the list of runs: those that are set, as chips that can be taken away, and a form for more.

`operations.run_query` says what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs.admin.shared import display, times
from django_jobs.models import DEFAULT_QUEUE_NAME, Job, Kind, Queue, Run, Status, Worker, jobs_database
from django_jobs.operations import failures, run_query
from django_jobs.operations.run_query import WAITING
from django_jobs.operations.run_query.search_words import local_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from django.utils.functional import _StrOrPromise

# Newest runs whose queues, functions and workers are offered, and how many of each.
NEWEST, OFFERED = 1000, 40

#: Words of the address that choose runs, with their names.
NAMES: dict[str, _StrOrPromise] = {
    "status": gettext_lazy("status"),
    "queue": gettext_lazy("queue"),
    "func": gettext_lazy("function"),
    "error": gettext_lazy("error"),
    "failure": gettext_lazy("exception and place"),
    "job_id": gettext_lazy("job"),
    "batch": gettext_lazy("batch"),
    "worker_id": gettext_lazy("worker"),
    "about": gettext_lazy("about"),
    "tag": gettext_lazy("tag"),
    "kind": gettext_lazy("kind"),
    "ended_from": gettext_lazy("ended from"),
    "ended_until": gettext_lazy("ended before"),
    "started_from": gettext_lazy("started from"),
    "started_until": gettext_lazy("started before"),
    "since": gettext_lazy("enqueued"),
    "from": gettext_lazy("enqueued from"),
    "until": gettext_lazy("enqueued before"),
}
AGES: dict[str, _StrOrPromise] = {
    "hour": gettext_lazy("Last hour"),
    "today": gettext_lazy("Today"),
    "week": gettext_lazy("Last 7 days"),
}
TIMES = ("ended_from", "ended_until", "started_from", "started_until", "from", "until")
# Where links of other pages lead; the form has them where they are set.
LED_TO = ("failure", "started_from", "started_until")
# What most people look for, one click away.
TABS = ("", "due", "deferred", "held", Status.RUNNING, Status.FAILED, Status.SUCCESSFUL, Status.CANCELLED, Status.SKIPPED)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is set: its words, and the address without it."""

    name: str
    value: str
    without: str


def chips(
    query: Mapping[str, str], text: str, url_with: Callable[[Mapping[str, str | None]], str]
) -> list[Chip]:
    """Return the filters that an address has, and the terms of its search.

    Args:
        query: The words of the address.
        text: The search.
        url_with: Returns the list's address with some words changed; None takes one away.
    """
    found = [
        Chip(str(label), _shown(name, query[name]), url_with({name: None}))
        for name, label in NAMES.items()
        if query.get(name) and _is_understood(name, query[name])
    ]
    terms = list(run_query.terms(text))
    for index, term in enumerate(terms):
        rest = " ".join(one.written for one in terms[:index] + terms[index + 1 :])
        found.append(Chip(term.prefix and f"{term.prefix}", term.value, url_with({"q": rest or None})))
    return found


def _is_understood(name: str, value: str) -> bool:
    if name in TIMES:
        return local_time(value) is not None
    return name not in {"status", "kind", "since"} or value in {*Status.values, *WAITING, *Kind.values, *AGES}


def _shown(name: str, value: str) -> str:
    if name in TIMES:
        at = local_time(value)
        return times.short(at) if at else value
    if name == "failure":
        return failures.describe(value, using=jobs_database()) or value
    if name == "since":
        return str(AGES.get(value, value))
    if name == "kind":
        return capfirst(str(dict(Kind.choices).get(value, value)))
    return display.word(value) if name == "status" else value


def tabs(
    query: Mapping[str, str], url_with: Callable[[Mapping[str, str | None]], str]
) -> list[dict[str, Any]]:
    """Return the states that are one click away; what else is chosen stays."""
    status = query.get("status", "")
    return [
        {
            "label": _("All") if not state else display.STATES[state],
            "url": url_with({"status": state or None}),
            "is_chosen": state == status,
        }
        for state in TABS
    ]


def form(query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the fields of the form, with what they offer."""
    names = _Names()
    states = [Status.choices[0], *((name, display.STATES[name]) for name in WAITING), *Status.choices[1:]]
    choices: dict[str, Iterable[tuple[str, Any]]] = {
        "status": states,
        "since": AGES.items(),
        "kind": [(kind.value, capfirst(kind.label)) for kind in Kind],
    }
    offered = {"queue": names.queues, "func": names.functions, "worker_id": names.workers}
    fields = []
    for name, label in NAMES.items():
        if name in LED_TO and not query.get(name):
            continue
        value = query.get(name, "")
        field: dict[str, Any] = {"name": name, "label": label, "value": value, "kind": "search"}
        if name in choices:
            field |= {"kind": "select", "choices": list(choices[name])}
        elif name in offered:
            field["offers"] = sorted(offered[name])[:OFFERED]
        elif name == "failure":
            field |= {"kind": "hidden"}
        elif name in TIMES:
            field |= {"kind": "datetime-local", "value": _as_input(value)}
        fields.append(field)
    return fields


def suggestions(fields: Iterable[Mapping[str, Any]], prefixes: Iterable[str]) -> list[str]:
    """Return terms for the search box to offer: each prefix, and with what the form offers for its field."""
    by_name = {field["name"]: field for field in fields}
    found = [f"{prefix}:" for prefix in prefixes]
    found += [f"status:{name.lower()}" for name, _label in by_name["status"]["choices"]]
    for prefix, name in (("queue", "queue"), ("func", "func"), ("worker", "worker_id")):
        found += [
            f'{prefix}:"{value}"' if " " in value else f"{prefix}:{value}"
            for value in by_name[name]["offers"]
        ]
    return found


def _as_input(text: str) -> str:
    at = local_time(text)
    return f"{timezone.localtime(at):%Y-%m-%dT%H:%M:%S}" if at else ""


class _Names:
    """Names to offer: those of the newest runs, of jobs, and of live workers."""

    def __init__(self) -> None:
        newest = (
            Run.objects.using(jobs_database())
            .order_by("-pk")
            .values_list("queue_name", "func", "worker_id")[:NEWEST]
        )
        seen = {*newest}
        jobs = set(
            Job.objects.using(jobs_database())
            .order_by()
            .values_list("queue_name", "func")
            .distinct()[:NEWEST]
        )
        live = Worker.objects.using(jobs_database()).filter(stopped_at__isnull=True).order_by("-started_at")
        self.queues = {
            DEFAULT_QUEUE_NAME,
            *Queue.objects.using(jobs_database()).values_list("name", flat=True)[:OFFERED],
        }
        self.queues |= {row[0] for row in seen} | {row[0] for row in jobs}
        self.functions = {row[1] for row in seen} or {row[1] for row in jobs}
        self.workers = {*live.values_list("pk", flat=True)[:OFFERED]} | {row[2] for row in seen if row[2]}
