"""Send a message: by Django's mail, to a webhook with a signed body, to Slack."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from django.conf import settings
from django.core.mail import send_mail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.operations.alerts.messages import Message
    from django_jobs.operations.alerts.options import AlertOptions, Webhook

SECONDS = 10.0


def send_all(message: Message, options: AlertOptions) -> None:
    """Send a message to each place; where one fails, the others get it all the same.

    Raises:
        OSError: At least one could not be reached; the message says which. Mail's errors are such, too.
    """
    failed: list[Exception] = []
    places: tuple[tuple[Any, Callable[[Message, Any], None]], ...] = (
        (options.mail, _mail), (options.webhook, _webhook), (options.slack, _slack)
    )  # fmt: skip
    for place, send in places:
        if place:
            try:
                send(message, place)
            except Exception as error:  # noqa: BLE001 - mail backends and addresses may raise anything, and others wait
                failed.append(error)
    if failed:
        raise OSError("; ".join(f"{type(error).__name__}: {error}" for error in failed)) from failed[0]


def _mail(message: Message, recipients: Sequence[str]) -> None:
    subject = f"{settings.EMAIL_SUBJECT_PREFIX}{message.subject}"
    send_mail(" ".join(subject.split()), message.body, settings.SERVER_EMAIL, list(recipients))


def _webhook(message: Message, place: Webhook) -> None:
    body = json.dumps(
        {
            "kind": message.kind,
            "subject": message.subject,
            "text": message.body,
            "about": message.what,
            "recovered": message.is_recovered,
            "count": message.count,
            "run_id": message.run_id,
            "url": message.url,
            "sent_at": int(time.time()),
        }
    ).encode()
    signature = hmac.new(place.secret.encode(), body, hashlib.sha256).hexdigest()
    _post(place.url, body, {"X-Django-Jobs-Signature": f"sha256={signature}"})


def _slack(message: Message, url: str) -> None:
    mark = ":white_check_mark:" if message.is_recovered else ":rotating_light:"
    _post(
        url,
        json.dumps({"text": f"{mark} *{_escaped(message.subject)}*\n{_escaped(message.body)}"}).encode(),
        {},
    )


def _escaped(text: str) -> str:
    # As Slack has it, or a job's id could name people and lead elsewhere.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address to post to")
    request = Request(url, body, {"Content-Type": "application/json", **headers})  # noqa: S310 - checked above
    with urlopen(request, timeout=SECONDS):  # noqa: S310 - checked above
        pass
