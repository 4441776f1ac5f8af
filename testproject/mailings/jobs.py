"""The job that sends the newsletter."""

from __future__ import annotations

from typing import Any

from django.core import mail
from django.core.mail import EmailMessage

from django_jobs import current_run, job
from mailings.models import Recipient


@job
def send_newsletter(subject: str, body: str, batch_size: int = 50) -> dict[str, int]:
    """Write to every subscribed recipient, each in a message of their own.

    A job runs at least once, so a run that is rescued half-way writes to its first recipients again.

    Args:
        subject: One line.
        body: Plain text; a greeting is put before it.
        batch_size: Messages per call of the mail backend, at least 1.

    Returns:
        `sent`, `batches`, and `unsubscribed`: recipients who were left out.

    Raises:
        ValueError: `batch_size` is below 1, or the subject has more than one line.
        RuntimeError: The job was cancelled; what is sent is sent.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    run = current_run()
    subscribed = Recipient.objects.filter(subscribed=True).order_by("pk")
    total = subscribed.count()
    sent = batches = last_pk = 0

    with open_connection() as connection:
        # By primary key, not by offset: whoever unsubscribes meanwhile must not shift others out of a batch.
        while batch := list(subscribed.filter(pk__gt=last_pk)[:batch_size]):
            # Raised, not returned: an early return would count as a success.
            if run and run.is_cancelled:
                raise RuntimeError(f"stopped after {sent} of {total} messages")
            messages = [
                EmailMessage(subject, f"Dear {recipient.name},\n\n{body}\n", to=[recipient.email])
                for recipient in batch
            ]
            sent += connection.send_messages(messages) or 0
            batches += 1
            last_pk = batch[-1].pk
            if run:
                run.set_progress(sent, total, f"{sent} of {total} sent")

    return {
        "sent": sent,
        "batches": batches,
        "unsubscribed": Recipient.objects.filter(subscribed=False).count(),
    }


def open_connection() -> Any:
    """Return the project's mail connection, to be used in a `with` statement."""
    # Django 6.1 deprecates get_connection() in favour of mailers, which earlier versions lack.
    return mail.mailers.default if hasattr(mail, "mailers") else mail.get_connection()
