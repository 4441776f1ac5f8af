"""What all our sockets share: limits, and changes that gather until the browser has taken the last."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_jobs.live import layer
from django_jobs.live.feed import TooManyWatches, feed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_jobs.live.feed import Watch
    from django_jobs.live.states import State

# Sockets of one process, and of those one user's or one token's.
MOST_SOCKETS = 2000
MOST_OF_ONE = 20
# Bytes of a message, and messages within some seconds.
MOST_BYTES = 8192
MOST_MESSAGES, MESSAGES_SECONDS = 20, 10.0
# Between two messages with changes.
GATHER_SECONDS = 0.5
# A browser says every half minute that it is there.
IDLE_SECONDS = 90.0
# How often it is asked whether a socket may stay.
CHECK_SECONDS = 30.0

# Codes of a close that browsers can tell apart.
GOING, IDLE, FORBIDDEN, TOO_MUCH, BAD_MESSAGE = 1001, 4408, 4403, 4429, 4400

_open: Counter[str] = Counter()
_listening: asyncio.Task[None] | None = None


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels ships no types
    """A socket that follows the states of some topics."""

    # Each socket would ask the layer for its own messages: the process does it for all of them.
    channel_layer_alias = "django_jobs has none"

    _who = ""
    _watch: Watch | None = None
    _sender: asyncio.Task[None] | None = None

    async def open(self, who: str) -> bool:
        """Accept the socket, unless there are too many; return whether it was."""
        if _open.total() >= MOST_SOCKETS or _open[who] >= MOST_OF_ONE:
            await self.close(TOO_MUCH)
            return False
        _open[who] += 1
        self._who = who
        self._loop = asyncio.get_running_loop()
        self._changed: dict[str, State] = {}
        self._has_changed = asyncio.Event()
        self._received_at = time.monotonic()
        self._messages: deque[float] = deque(maxlen=MOST_MESSAGES)
        await self.accept()
        self._sender = asyncio.create_task(self._serve())
        _listen()
        return True

    async def disconnect(self, code: int) -> None:
        """Let go of all that was held for the socket."""
        if self._watch is not None:
            feed().close(self._watch)
            self._watch = None
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if self._who:
            _open[self._who] -= 1
            if _open[self._who] <= 0:
                del _open[self._who]
            self._who = ""
        if not _open:
            _stop_listening()

    async def follow(self, topics: Iterable[str]) -> None:
        """Follow these topics in place of those before."""
        if self._watch is not None:
            feed().close(self._watch)
        try:
            self._watch = feed().watch(topics, self._on_states)
        except TooManyWatches:
            await self.close(TOO_MUCH)

    def _on_states(self, changed: dict[str, State]) -> None:
        # On the feed's thread.
        self._loop.call_soon_threadsafe(self._gather, changed)

    def _gather(self, changed: dict[str, State]) -> None:
        self._changed.update(changed)
        self._has_changed.set()

    async def _serve(self) -> None:
        checked_at = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._has_changed.wait()
            except TimeoutError:
                pass
            else:
                self._has_changed.clear()
                changed, self._changed = self._changed, {}
                # Waits for a browser that is slow; meanwhile changes gather.
                await self.send_states(changed)
                await asyncio.sleep(GATHER_SECONDS)
            now = time.monotonic()
            if now - self._received_at > IDLE_SECONDS:
                await self.close(IDLE)
                return
            if now - checked_at >= CHECK_SECONDS:
                checked_at = now
                if not await self.may_stay():
                    await self.close(FORBIDDEN)
                    return

    async def send_states(self, changed: dict[str, State]) -> None:
        """Send the states that changed."""
        raise NotImplementedError

    async def may_stay(self) -> bool:
        """Return whether whoever is there may still be."""
        return True

    async def on_message(self, content: dict[str, Any]) -> None:
        """Handle a message of the browser."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """Refuse what is too large, too often or no object of JSON."""
        now = self._received_at = time.monotonic()
        if len(self._messages) == MOST_MESSAGES and now - self._messages[0] < MESSAGES_SECONDS:
            await self.close(TOO_MUCH)
            return
        self._messages.append(now)
        if text_data is None or len(text_data.encode()) > MOST_BYTES:
            await self.close(BAD_MESSAGE)
            return
        try:
            content = json.loads(text_data)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            await self.close(BAD_MESSAGE)
        elif "ping" in content:
            await self.send_json({"pong": True})
        else:
            await self.on_message(content)


def _listen() -> None:
    global _listening
    if _listening is None or _listening.done() or _listening.get_loop() is not asyncio.get_running_loop():
        _listening = asyncio.create_task(layer.listen())


def _stop_listening() -> None:
    global _listening
    if _listening is not None and _listening.get_loop() is asyncio.get_running_loop():
        _listening.cancel()
    _listening = None
