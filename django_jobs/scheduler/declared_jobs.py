"""The jobs of what running processes declare: added, changed and removed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from django_jobs import signals, triggers
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import Job, Kind, ScheduleRevision
from django_jobs.registry import schedules
from django_jobs.scheduler.broken import next_run_time
from django_jobs.scheduler.declarations import FIXED, POLICY, overridable, with_overrides
from django_jobs.storage import notifications
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from apscheduler.triggers.base import BaseTrigger

logger = logging.getLogger(__name__)

# How long what nobody declares now is remembered: a release's place in the order, and what people had
# changed of a job.
REMEMBERED = timedelta(days=30)


@dataclass(slots=True)
class _Changes:
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def apply(wanted: Mapping[str, dict[str, Any]], lock: ScheduleRevision, now: datetime, using: str) -> None:
    """Add, change and remove declared jobs."""
    changes = _Changes()
    kept = {
        job_id: said
        for job_id, said in lock.definitions.items()
        if now - datetime.fromisoformat(said["at"]) <= REMEMBERED
    }
    # First those that go: a database may take an id that was renamed for the same as before (Report, report).
    _retire(wanted, kept, changes, now, using)
    found = Job.objects.using(using).select_for_update().filter(pk__in=list(wanted)).order_by("pk")
    rows = {row.pk: row for row in found}
    for job_id, definition in sorted(wanted.items()):
        row = rows.get(job_id)
        try:
            if row is None:
                if _add(job_id, definition, kept.get(job_id), now, using):
                    changes.added.append(job_id)
                    kept.pop(job_id, None)
            elif row.declared is None:
                _say_taken(job_id)
            elif _update(row, definition, now):
                if row.next_run_time is None and row.paused_at is None and not row.broken_reason:
                    # Its trigger is another one, which has ended.
                    row.delete(using=using)
                    changes.removed.append(job_id)
                    continue
                row.save(using=using)
                changes.changed.append(job_id)
        except (UnknownTrigger, KeyError, TypeError) as error:
            # Written by another version of this package, or by hand.
            logger.warning("job=%s is declared in a way that is not known here: %r", printable(job_id), error)
    if kept != lock.definitions:
        lock.definitions = kept
        lock.save(using=using, update_fields=["definitions"])
    _tell(changes, using)


def _retire(
    wanted: Mapping[str, Any], kept: dict[str, Any], changes: _Changes, now: datetime, using: str
) -> None:
    """Remove jobs that are declared no more, and keep what people had changed of them."""
    declared = Job.objects.using(using).declared()
    # Looked for without locks: that reads all jobs, and others hold some of them.
    retired = [pk for pk in declared.values_list("pk", flat=True) if pk not in wanted]
    for row in declared.filter(pk__in=retired).select_for_update().order_by("pk"):
        if row.overridden:
            kept[row.pk] = {
                "at": now.isoformat(),
                "overrides": {name: row.overrides[name] for name in row.overridden if name != "paused"},
                "paused_at": row.paused_at and row.paused_at.isoformat(),
                "paused_by": row.paused_by,
            }
        changes.removed.append(row.pk)
        row.delete()


def _say_taken(job_id: str) -> None:
    logger.warning(
        "job=%s is declared in code, and a job of this id was added: that one stays, and the declaration "
        "waits until it is removed",
        printable(job_id),
    )


def _add(
    job_id: str, definition: Mapping[str, Any], said: Mapping[str, Any] | None, now: datetime, using: str
) -> bool:
    """Add a declared job, with what a person had said of it before it was retired; return whether it was."""
    overrides = dict(said["overrides"]) if said else {}
    overrides.pop("next_run_time", None)
    paused_at = datetime.fromisoformat(said["paused_at"]) if said and said["paused_at"] else None
    trigger = triggers.by_rule({**definition, **overrides}["trigger"], now)
    next_run = triggers.first(trigger, now)
    if next_run is None:
        # It has ended. After its last firing the row was deleted.
        return False
    row = Job(
        id=job_id,
        kind=Kind.RECURRING.value,
        job_state=triggers.dumps(trigger),
        next_run_time=None if paused_at else next_run,
        paused_at=paused_at,
        paused_by=said.get("paused_by", "") if said and paused_at else "",
        occurrences_since=now,
        declared=overridable(definition),
        overrides=overrides,
        **{
            column: {**with_overrides(definition, overrides), **overrides}[column]
            for column in (*FIXED, *POLICY)
        },
    )
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except IntegrityError:
        # Added by hand at this moment, or an id that the database takes for equal.
        _say_taken(job_id)
        return False
    return True


def _update(row: Job, definition: Mapping[str, Any], now: datetime) -> bool:
    """Make a job what its declaration says, but for what a person changed; return whether it differs."""
    declared = overridable(definition)
    definition = with_overrides(definition, row.overrides)
    columns = [*FIXED, *(column for column in POLICY if column not in row.overrides)]
    trigger = triggers.by_rule(definition["trigger"], now)
    is_other_trigger = "trigger" not in row.overrides and not triggers.same(
        row.job_state, triggers.dumps(trigger)
    )
    changed = [column for column in columns if getattr(row, column) != definition[column]]
    next_run = row.next_run_time if is_other_trigger else next_run_time(row, now)
    if not changed and not is_other_trigger and row.declared == declared and next_run == row.next_run_time:
        return False
    row.next_run_time = next_run
    for column in columns:
        setattr(row, column, definition[column])
    row.declared = declared
    if is_other_trigger:
        follow(row, trigger, now)
    if changed or is_other_trigger:
        row.broken_reason = ""
    return True


def follow(row: Job, trigger: BaseTrigger, now: datetime) -> None:
    """Give a job another trigger; a pause, and a next run that a person chose, stay."""
    row.job_state = triggers.dumps(trigger)
    if row.paused_at is None and not row.has_chosen_next_run:
        row.next_run_time = triggers.first(trigger, now)


def _tell(changes: _Changes, using: str) -> None:
    if not (changes.added or changes.changed or changes.removed):
        return
    notifications.notify(notifications.JOBS, using=using)
    of_zone = _said_of_zone()

    def tell() -> None:
        logger.info(
            "declared schedules: added %s, changed %s, removed %s%s",
            printable(_named(changes.added)), printable(_named(changes.changed)), printable(_named(changes.removed)),
            printable(of_zone),
        )  # fmt: skip
        for signal, ids in (
            (signals.job_added, changes.added),
            (signals.job_changed, changes.changed),
            (signals.job_removed, changes.removed),
        ):
            for job_id in ids:
                signals.emit(signal, job_id=job_id)

    transaction.on_commit(tell, using=using)


def _named(ids: Iterable[str]) -> str:
    return ", ".join(ids) or "none"


def _said_of_zone() -> str:
    """Say whose clock this process's cron expressions speak of that do not name a time zone."""
    if not any(declared.has_default_zone for declared in schedules.declarations()):
        return ""
    return f"; cron expressions without a time zone go by {jobs_settings().CRON_TIME_ZONE} (CRON_TIME_ZONE)"
