"""Events that runs wait for."""

from __future__ import annotations

from typing import Any

from django_jobs import codec
from django_jobs.api.async_support import async_version, sync_safe
from django_jobs.conf import jobs_settings
from django_jobs.models import MAX_STEP_NAME_LENGTH, jobs_database
from django_jobs.storage import events


class Events:
    """Sends events."""

    @sync_safe
    def send_event(self, name: str, payload: Any = None) -> int:
        """Send an event to all runs that wait for it in `wait_for`, in the caller's transaction.

        If none waits, it is kept for KEEP_EVENTS_DAYS, and the first run that waits for it takes it. So one
        that is sent before the run gets to its `wait_for` is not lost. Events of one name are taken in their
        order.

        Args:
            name: 1 to 200 characters. Make it one of its own for each thing that is waited for, as "signed:17".
            payload: Of the types of arguments; what `wait_for` returns.

        Returns:
            How many runs waited; 0 when it is kept.

        Raises:
            ValueError: The name is empty or too long, or the payload is larger than MAX_PAYLOAD_BYTES.
            InvalidArgument: The payload cannot be stored.
        """
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_STEP_NAME_LENGTH or "\x00" in name:
            raise ValueError(
                f"an event's name must be a string of 1 to {MAX_STEP_NAME_LENGTH} characters, not {name!r}"
            )
        text = codec.dumps(payload, path="the payload")
        limit = jobs_settings().MAX_PAYLOAD_BYTES
        if len(text.encode()) > limit:
            raise ValueError(
                f"the payload has {len(text.encode())} bytes as JSON, more than MAX_PAYLOAD_BYTES ({limit}): "
                "store the data elsewhere and send its path or id"
            )
        return events.send(name, text, using=jobs_database())

    asend_event = async_version(send_event)
