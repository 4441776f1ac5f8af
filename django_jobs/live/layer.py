"""Notifications through the project's channel layer, if it has one: other processes look immediately."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings

from django_jobs import signals
from django_jobs.live.feed import feed
from django_jobs.storage.forks import on_fork_reset
from django_jobs.texts.printable import printable

logger = logging.getLogger(__name__)

GROUP = "django_jobs"
# Between two messages of one process, and after one that could not be sent.
GATHER_SECONDS, RETRY_SECONDS = 0.25, 10.0
# A layer forgets members of groups after a day.
JOIN_SECONDS = 3600.0

_SIGNALS = (
    signals.run_finished, signals.run_rescued, signals.job_fired, signals.job_added, signals.job_changed,
    signals.job_removed,
)  # fmt: skip


def layer() -> Any:
    """Return the default channel layer of the project, or None."""
    if not getattr(settings, "CHANNEL_LAYERS", None):
        return None
    from channels.layers import get_channel_layer  # of an extra

    return get_channel_layer()


class ChannelLayerPublisher:
    """Publishes to the layer that something happened, from a thread of its own, at a bounded rate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._happened = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, **_: object) -> None:
        """Have it published; a receiver of signals, called for each run."""
        if self._happened.is_set():
            return
        self._happened.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._serve, name="django_jobs-channel-layer", daemon=True
                    )
                    self._thread.start()

    def _serve(self) -> None:
        has_failed = False
        while True:
            self._happened.wait()
            self._happened.clear()
            pause = GATHER_SECONDS
            try:
                async_to_sync(layer().group_send)(GROUP, {"type": "jobs.changed"})
                has_failed = False
            except BaseException as error:  # noqa: BLE001 - each layer raises errors of its own, and nothing may end the thread; polling the database finds the same, later
                pause = RETRY_SECONDS
                if not has_failed:
                    logger.warning("could not publish to the channel layer: %s", printable(error))
                has_failed = True
            time.sleep(pause)


_publisher = ChannelLayerPublisher()


@on_fork_reset
def _connect_again() -> None:
    for signal in _SIGNALS:
        signal.disconnect(dispatch_uid="django_jobs.live.layer")
    global _publisher
    _publisher = ChannelLayerPublisher()
    connect_where_used()


def connect_where_used() -> None:
    """Connect, if the project has a channel layer; `AppConfig.ready` calls it."""
    if getattr(settings, "CHANNEL_LAYERS", None):
        for signal in _SIGNALS:
            signal.connect(_publisher.note, dispatch_uid="django_jobs.live.layer")


async def listen() -> None:
    """Wake the feed whenever another process publishes; ends when cancelled."""
    there = layer()
    if there is None:
        return
    has_failed = False
    while True:
        try:
            name = await there.new_channel()
            await there.group_add(GROUP, name)
            with suppress(TimeoutError):
                async with asyncio.timeout(JOIN_SECONDS):
                    while True:
                        await there.receive(name)
                        has_failed = False
                        feed().wake()
            await there.group_discard(GROUP, name)
        except Exception as error:  # noqa: BLE001 - each layer raises errors of its own; polling the database finds the same, later
            if not has_failed:
                logger.warning("could not listen to the channel layer: %s", printable(error))
            has_failed = True
            await asyncio.sleep(RETRY_SECONDS)
