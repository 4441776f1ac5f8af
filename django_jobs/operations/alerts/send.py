"""A job of our own: send one message."""

from __future__ import annotations

from django_jobs.models import AlertState, jobs_database
from django_jobs.operations.alerts import channels, messages
from django_jobs.operations.alerts.options import alert_options
from django_jobs.registry.decorators import job
from django_jobs.storage.transactions import database_now


@job(name="alert")
def send(key: str, recovered: list[str] | None = None) -> str:
    """Send the message about an incident as it is now, and note that; sent at least once.

    Args:
        key: Of its `AlertState`.
        recovered: Kind, subject and count of one that is over; else None.

    Returns:
        The subject of the message; "" where there was nothing to say any more.

    Raises:
        OSError: A place could not be reached; the attempt is repeated, to all places.
    """
    options = alert_options()
    if recovered:
        kind, subject, count = recovered
        message = messages.recovered(kind, subject, int(count), options.url)
        channels.send_all(message, options)
        return message.subject
    using = jobs_database()
    row = AlertState.objects.using(using).filter(pk=key).first()
    if row is None or row.count <= row.told_count:
        return ""
    message = messages.about(row, options.url)
    channels.send_all(message, options)
    AlertState.objects.using(using).filter(pk=key).update(
        told_at=database_now(using), told_count=row.count, telling_until=None
    )
    return message.subject
