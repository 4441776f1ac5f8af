"""Recipients to try the newsletter with."""

from __future__ import annotations

from mailings.models import Recipient

DEMO_RECIPIENTS = 25


def load_demo_recipients() -> int:
    """Add 25 recipients at example.com, two of them unsubscribed; those already there stay as they are.

    Returns:
        How many were added.
    """
    recipients = [
        Recipient(
            email=f"reader{number:02}@example.com",
            name=f"Reader {number}",
            subscribed=number not in {8, 19},
        )
        for number in range(1, DEMO_RECIPIENTS + 1)
    ]
    before = Recipient.objects.count()
    Recipient.objects.bulk_create(recipients, ignore_conflicts=True)
    return Recipient.objects.count() - before
