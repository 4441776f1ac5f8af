"""Functions that are called as jobs."""

from __future__ import annotations

import asyncio
import queue
import time

# Times at which `stamp` began, for whoever runs the worker in its own process.
stamps: queue.SimpleQueue[float] = queue.SimpleQueue()


def nothing() -> None:
    """Do nothing."""


def stamp() -> float:
    """Return when it began, by a clock that all processes of a machine share."""
    at = time.monotonic()
    stamps.put(at)
    return at


async def rest() -> None:
    """Await one second."""
    await asyncio.sleep(1)
