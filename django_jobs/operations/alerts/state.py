"""Open, count and close what alerts are about, each in the caller's transaction."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from django_jobs.models import AlertState, Kind
from django_jobs.operations.alerts.send import send
from django_jobs.operations.bulk import choose_queue
from django_jobs.registry.call_spec import CallSpec
from django_jobs.registry.option_checks import seconds
from django_jobs.registry.options import JobOptions
from django_jobs.registry.retry import Retry
from django_jobs.storage import enqueue, notifications
from django_jobs.storage.records import NewRun

if TYPE_CHECKING:
    from datetime import datetime

    from django_jobs.registry.alerts import Alert

# Time in which what happens right after the first failure still comes into its message.
GATHER = timedelta(seconds=10)
# A message that was not sent by then was lost with its run, and is added again.
LOST_AFTER = timedelta(hours=1)
# The path that rows keep; see `functions.OWN`.
SEND = "django_jobs.alerts:send"
# For two days: mail servers come back.
RETRY = Retry(max_attempts=60, delay=10, max_delay=3600)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong, once or so many times.

    Attributes:
        kind: As of `AlertState`.
        subject: What it is about; with the kind and the place it is what alerts are grouped by.
        text: What to say of it.
        place: More to group by: of a failure the exception's class and the place that raised it.
        run_id: Of the last run that it is about.
        count: How many times.
    """

    kind: str
    subject: str
    text: str
    place: str = ""
    run_id: int | None = None
    count: int = 1

    @property
    def key(self) -> str:
        """The key of its row."""
        return hashlib.sha256(f"{self.kind}\0{self.subject}\0{self.place}".encode()).hexdigest()


def note(incident: Incident, now: datetime, *, using: str) -> AlertState:
    """Count an incident, in the transaction under way; return its row, locked."""
    for _attempt in range(3):
        row = AlertState.objects.using(using).select_for_update().filter(pk=incident.key).first()
        if row is not None:
            break
        try:
            with transaction.atomic(using=using):
                return AlertState.objects.using(using).create(
                    key=incident.key,
                    kind=incident.kind,
                    subject=incident.subject[:600],
                    text=incident.text,
                    run_id=incident.run_id,
                    count=incident.count,
                    opened_at=now,
                    last_at=now,
                )
        except IntegrityError:
            # Another process opens it at the same time.
            continue
    if row is None:
        raise RuntimeError(f"the alert {incident.kind} {incident.subject} could not be opened")
    row.count += incident.count
    row.text, row.run_id, row.last_at = incident.text, incident.run_id, now
    row.save(using=using, update_fields=["count", "text", "run_id", "last_at"])
    return row


def tell_if_due(row: AlertState, alert: Alert, now: datetime, *, using: str) -> bool:
    """Add the run that sends a message about an incident, if one is due; return whether it was added.

    Args:
        row: Locked.
        alert: How often people are told.
        now: By the database's clock.
        using: Alias of the database.
    """
    if not alert.after or row.count - row.told_count < (alert.after if row.told_at is None else 1):
        return False
    if row.telling_until is not None and row.telling_until > now:
        # On its way, and it will read the count when it is sent.
        return False
    at = now + GATHER
    if row.told_at is not None:
        at = max(at, row.told_at + timedelta(seconds=seconds(alert.once_per)))
    row.telling_until = at + LOST_AFTER
    row.save(using=using, update_fields=["telling_until"])
    _add_message(row.key, None, at, using)
    return True


def close(row: AlertState, *, using: str) -> None:
    """Forget an incident that is over; who was told of it is told that, too. In the transaction under way."""
    if row.told_at is not None:
        _add_message(row.key, [row.kind, row.subject, str(row.count)], None, using)
    AlertState.objects.using(using).filter(pk=row.key).delete()


def _add_message(key: str, recovered: list[str] | None, at: datetime | None, using: str) -> None:
    queue_name, _ = choose_queue(using=using)
    chosen = JobOptions(queue_name=queue_name, priority=50, retry=RETRY, name="alert")
    run = NewRun.of(
        CallSpec.of_call(SEND, send, (key, recovered), {}, chosen),
        f"alert-{uuid.uuid4().hex}",
        run_after="now" if at is None else at,
        kind=Kind.IMMEDIATE.value,
    )
    enqueue.insert([run], using=using)
    notifications.notify(notifications.RUNS, using=using)
