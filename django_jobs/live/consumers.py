"""The two sockets: one for the pages of the staff, one for whoever has a job's token."""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from django_jobs.live import states
from django_jobs.live.access import may_follow
from django_jobs.live.sockets import BAD_MESSAGE, GOING, LiveConsumer
from django_jobs.live.tokens import InvalidToken, Ticket, read_token
from django_jobs.models import jobs_database

if TYPE_CHECKING:
    from django_jobs.live.states import State

# A token's socket is closed after so long; a browser that is still there opens another.
LONGEST_SECONDS = 3600.0


class UnknownAddress(AsyncWebsocketConsumer):  # type: ignore[misc] # channels ships no types
    """Refuses sockets at other addresses."""

    async def connect(self) -> None:
        """Refuse."""
        await self.close()


class ChangesConsumer(LiveConsumer):
    """Notifies the staff's pages that what they show has changed. They load it again themselves.

    A browser sends `{"watch": ["changes", "run:12"]}`, and is sent `{"states": {"run:12": "..."}}`:
    a few letters for each, at first for all and then for what has changed.
    """

    async def connect(self) -> None:
        """Accept who may see our pages, from a page of this site."""
        user = self.scope.get("user")
        if not _is_from_here(self.scope) or not await database_sync_to_async(may_follow)(user):
            await self.close()
        else:
            await self.open(f"user {user.pk}")

    async def on_message(self, content: dict[str, Any]) -> None:
        """Follow what the page shows."""
        topics = content.get("watch")
        if isinstance(topics, list) and states.are_topics(topics):
            await self.follow(topics)
        else:
            await self.close(BAD_MESSAGE)

    async def send_states(self, changed: dict[str, State]) -> None:
        """Send what differs."""
        await self.send_json({"states": {topic: state.digest for topic, state in changed.items()}})

    async def may_stay(self) -> bool:
        """Return whether the session still is one of a user who may follow."""
        session = self.scope.get("session")
        key = session.session_key if session else None
        return bool(await database_sync_to_async(_is_still_allowed)(key))


class JobConsumer(LiveConsumer):
    """Sends the state of a job to whoever has its token, until it is over."""

    _ticket: Ticket
    _ends_at: float

    async def connect(self) -> None:
        """Accept who has a token, logged in or not."""
        token = self.scope["url_route"]["kwargs"]["token"]
        try:
            self._ticket = read_token(token)
        except InvalidToken:
            await self.close()
            return
        self._ends_at = time.time() + LONGEST_SECONDS
        if self._ticket.expires_at is not None:
            self._ends_at = min(self._ends_at, self._ticket.expires_at)
        if await self.open(f"job {self._ticket.job_id}"):
            await self.follow([states.JOB + self._ticket.job_id])

    async def send_states(self, changed: dict[str, State]) -> None:
        """Send the state of the job, and close when nothing more is to come."""
        (state,) = changed.values()
        if not state.exists:
            return
        wants_result = self._ticket.result and state.is_finished
        if wants_result:
            state = await sync_to_async(states.of_job)(
                self._ticket.job_id, result=True, using=jobs_database()
            )
        await self.send_json(states.public_state(state, result=self._ticket.result))
        if state.is_over:
            # After this one is on its way.
            await asyncio.sleep(0)
            await self.close(GOING)

    async def may_stay(self) -> bool:
        """Return whether the token is still good."""
        return time.time() < self._ends_at


def _is_from_here(scope: dict[str, Any]) -> bool:
    """Return whether the page is of this host, where the project allows all: cookies come from anywhere."""
    if "*" not in settings.ALLOWED_HOSTS:
        # Compared with ALLOWED_HOSTS before this.
        return True
    headers = dict(scope.get("headers", ()))
    origin = urlsplit(headers.get(b"origin", b"").decode("latin1"))
    return bool(origin.netloc) and origin.netloc == headers.get(b"host", b"").decode("latin1")


def _is_still_allowed(session_key: str | None) -> bool:
    if session_key is None:
        return False
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return may_follow(get_user(request))
