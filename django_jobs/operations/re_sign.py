"""Sign again what was signed with another SECRET_KEY, when an operator says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import Q

from django_jobs import codec
from django_jobs.exceptions import BadPayload
from django_jobs.models import Event, Job, Run, Step, jobs_database
from django_jobs.scheduler.broken import mend_broken
from django_jobs.storage import events, notifications, steps, transactions, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import QuerySet


class Signed(NamedTuple):
    """A row with a value that may be large, by its signatures.

    Attributes:
        pk: Of the row.
        run_id: Of the run that keeps it; 0 for an event.
        was: What it is signed with.
        becomes: The signature of the same value with the present key.
    """

    pk: int
    run_id: int
    was: str
    becomes: str


@dataclass
class Found:
    """What is not signed with the present key.

    Attributes:
        jobs: Jobs.
        runs: Unfinished runs.
        kept: What unfinished runs keep: steps, cursors, waits.
        events: Events that are kept until a run waits for them.
    """

    jobs: list[Job] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    kept: list[Signed] = field(default_factory=list)
    events: list[Signed] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.jobs or self.runs or self.kept or self.events)


def foreign() -> Found:
    """Return what is signed with none of this process's keys; of runs those that wait."""
    using = jobs_database()
    return _found(Run.objects.using(using).ready(), _is_foreign, using)


def of_fallbacks() -> Found:
    """Return what is signed with a key in SECRET_KEY_FALLBACKS.

    It runs, until that key is taken away.
    """
    using = jobs_database()
    return _found(Run.objects.using(using).unfinished(), _is_of_fallback, using)


def _found(runs: QuerySet[Run], is_meant: Callable[[str, str, str], bool], using: str) -> Found:
    def is_call(call: Job | Run) -> bool:
        return is_meant(call.func, call.payload, call.signature)

    kept = Step.objects.using(using).filter(run_id__in=runs.values("pk")).order_by("pk")
    return Found(
        jobs=[job for job in Job.objects.using(using).order_by("pk") if is_call(job)],
        runs=[run for run in runs.order_by("pk").iterator() if is_call(run)],
        kept=[
            Signed(step.pk, step.run_id, step.signature, steps.sign(step))
            for step in kept.only("run_id", "key", "value", "signature").iterator()
            if is_meant(*steps.signed(step), step.signature)
        ],
        events=[
            Signed(event.pk, 0, event.signature, events.sign(event))
            for event in Event.objects.using(using).order_by("pk").iterator()
            if is_meant(*events.signed(event), event.signature)
        ],
    )


def _is_foreign(what: str, payload: str, signature: str) -> bool:
    try:
        codec.verify(what, payload, signature)
    except BadPayload:
        return True
    return False


def _is_of_fallback(what: str, payload: str, signature: str) -> bool:
    return signature != codec.sign(what, payload) and not _is_foreign(what, payload, signature)


def sign(found: Found, *, release: bool = True) -> None:
    """Sign what was found with the present key, and let it run, unless `release` is False."""
    using = jobs_database()
    with transaction.atomic(using=using):
        for model, calls in ((Job, found.jobs), (Run, found.runs)):
            for call in calls:
                model.objects.using(using).filter(pk=call.pk, payload=call.payload, func=call.func).update(
                    signature=codec.sign(call.func, call.payload)
                )
        for rows, signed in ((Step.objects, found.kept), (Event.objects, found.events)):
            for one in signed:
                # What was written since is signed by who wrote it.
                rows.using(using).filter(pk=one.pk, signature=one.was).update(signature=one.becomes)
        if not release:
            return
        # Those that nobody tried yet are not held, and those that are paused stay so.
        held = [run.pk for run in found.runs if run.state == "broken"]
        held += _broken({step.run_id for step in found.kept}.difference(held), using)
        for start in range(0, len(held), transactions.BATCH):
            transitions.unhold(Q(pk__in=held[start : start + transactions.BATCH]), using=using)
        mend_broken(using)
        notifications.notify(notifications.JOBS, using=using)
        notifications.notify(notifications.RUNS, using=using)


def _broken(run_ids: Iterable[int], using: str) -> list[int]:
    """Return which runs wait as broken."""
    ids, broken = list(run_ids), []
    for start in range(0, len(ids), transactions.BATCH):
        rows = Run.objects.using(using).filter(pk__in=ids[start : start + transactions.BATCH])
        broken += [run.pk for run in rows if run.state == "broken"]
    return broken
