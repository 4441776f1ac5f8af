"""Wait for a notice, or for another thread that ends the wait."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

# Not `select`, which cannot wait for descriptors of 1024 and above; Windows has no `poll`.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Listener(Protocol):
    """Waits for notices of other processes."""

    # Whether it hears every commit but those of its own connection.
    hears_commits: bool

    def wait(self, timeout: float) -> str | None:
        """Return the topic of a notice, or None after `timeout` seconds at the latest."""

    def interrupt(self) -> None:
        """End a `wait` under way; called by another thread."""

    def close(self) -> None:
        """Let go of what it listens with."""


def readable(sources: Sequence[Any], timeout: float) -> list[Any]:
    """Return which of the sources can be read, after `timeout` seconds at the latest."""
    with _Selector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]


class Waker:
    """Ends another thread's `readable`."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        """Return what can be read once it was woken."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """End a wait under way, or the next one."""
        # Full means that it was woken often enough.
        with suppress(BlockingIOError):
            self._sender.send(b".")

    def clear(self) -> None:
        """Forget what it was woken for."""
        with suppress(BlockingIOError):
            self._receiver.recv(4096)

    def close(self) -> None:
        """Close both ends."""
        self._receiver.close()
        self._sender.close()
