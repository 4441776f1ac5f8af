"""Signed tokens, each of which lets whoever has it watch one job and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.core import signing

SALT = "django_jobs.live.job"


class InvalidToken(ValueError):
    """The token was not made here, or its time is over; the message says which."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token allows.

    Attributes:
        job_id: The job that may be watched.
        result: Whether its result is shown as well.
        expires_at: Seconds since the epoch; None for never.
    """

    job_id: str
    result: bool = False
    expires_at: int | None = None


def job_token(job_id: str, *, result: bool = False, max_age: timedelta | None = None) -> str:
    """Return a token with which anybody may watch one job: its status, progress and end.

    Signed with `SECRET_KEY`, and fit for an address. It never shows arguments, errors or logs.

    Args:
        job_id: As `add_immediate_job` and its like returned it. A recurring job shows its newest run.
        result: Whether what the function returned is shown too.
        max_age: How long the token can be used; None for as long as the history keeps the job.

    Raises:
        ValueError: `max_age` is not positive.
    """
    if max_age is not None and max_age <= timedelta(0):
        raise ValueError(f"max_age must be positive, not {max_age}")
    claims: dict[str, str | int] = {"job": job_id}
    if result:
        claims["result"] = 1
    if max_age is not None:
        claims["until"] = int(time.time() + max_age.total_seconds()) + 1
    return signing.dumps(claims, salt=SALT)


def read_token(token: str) -> Ticket:
    """Return what a token allows.

    Raises:
        InvalidToken: It is not one of ours, or too old.
    """
    try:
        claims = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        raise InvalidToken("this token was not made here, or was changed") from None
    ticket = Ticket(claims["job"], bool(claims.get("result")), claims.get("until"))
    if ticket.expires_at is not None and time.time() >= ticket.expires_at:
        raise InvalidToken("this token is too old: load the page again")
    return ticket
