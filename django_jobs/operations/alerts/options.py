"""The setting ALERTS, as it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from django_jobs.conf import jobs_settings
from django_jobs.registry.alerts import Alert


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address to post to, and what signs the body."""

    url: str
    secret: str


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """Where messages go, and when they are sent unless a job says otherwise."""

    mail: tuple[str, ...]
    webhook: Webhook | None
    slack: str
    default: Alert
    url: str

    @property
    def is_on(self) -> bool:
        """Whether there is anywhere to send to."""
        return bool(self.mail or self.webhook or self.slack)


def alert_options() -> AlertOptions:
    """Return the options in force."""
    raw: dict[str, Any] = dict(jobs_settings().ALERTS)
    mail = raw.get("MAIL", ())
    if mail is True:
        mail = [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]
    return AlertOptions(
        mail=tuple(mail or ()),
        webhook=Webhook(raw["WEBHOOK"], raw["WEBHOOK_SECRET"]) if raw.get("WEBHOOK") else None,
        slack=raw.get("SLACK", ""),
        default=Alert(after=raw.get("AFTER", 1), once_per=raw.get("ONCE_PER_SECONDS", 3600)),
        url=raw.get("URL", "").rstrip("/"),
    )
