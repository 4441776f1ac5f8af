"""The thread of one process that tells Celery's workers what is due in their queues."""

from __future__ import annotations

import logging
import random
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings
from django_jobs.integrations.celery import app, messages
from django_jobs.storage import claims, connections, notifications, outbox
from django_jobs.storage.connections import ConnectionBackoff
from django_jobs.storage.queues import paused_queues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.outbox import Dispatch

logger = logging.getLogger(__name__)

# Until there may be room again for messages.
FULL_SECONDS = 0.2
# After the broker refused one, growing.
FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0
# What a message under way may take when the process stops.
STOP_SECONDS = 2.0


class Dispatcher:
    """Marks due runs as told of, and after that is committed sends their messages.

    Any number may share a database. It looks when somebody says that there is work, when the next
    deferred run is due, and each POLL_SECONDS.

    Args:
        using: Alias of the database.
        queues: Names of the queues that are Celery's.
    """

    def __init__(self, using: str, queues: Sequence[str]) -> None:
        settings = jobs_settings()
        self._using = using
        self._queues = tuple(queues)
        self._poll_seconds = settings.POLL_SECONDS
        self._lost_after = timedelta(seconds=settings.REDISPATCH_SECONDS)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        # Before the broker is tried again; None while it takes messages.
        self._delay: float | None = None
        self._thread = threading.Thread(target=self._serve, name="django_jobs-dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        notifications.subscribe(self._heard)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it has not sent, others send.

        A broker that does not answer keeps it for longer than anybody should wait: it ends with the process.
        """
        notifications.unsubscribe(self._heard)
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is None:
            return
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            logger.warning("Celery's broker does not answer: what it was not told of is sent again later")

    def has_nothing_due(self) -> bool:
        """Ask whether no run is due that Celery was not told of."""
        queues = self._unpaused()
        return not outbox.is_any_due(queues, lost_after=self._lost_after, using=self._using)

    def _heard(self, topic: str) -> None:
        if topic in {notifications.RUNS, notifications.QUEUES, notifications.ANYTHING}:
            self._wake.set()

    def _serve(self) -> None:
        backoff = ConnectionBackoff("dispatcher", self._using)
        wait = 0.0
        while not self._stopping.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            if self._stopping.is_set():
                break
            try:
                wait = self._look()
                backoff.worked()
            except (DatabaseError, InterfaceError) as error:
                self._stopping.wait(backoff.failed(error))
                wait = 0.0
            except Exception:  # a mistake of ours must not end the thread that tells Celery of its work
                logger.exception("dispatching failed")
                wait = self._poll_seconds
            if self._delay is not None:
                # Not sooner, whatever is heard.
                self._stopping.wait(self._delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                wait = 0.0
        backoff.close()
        connections.give_back()

    def _unpaused(self) -> list[str]:
        paused = paused_queues(using=self._using)
        return [name for name in self._queues if name not in paused]

    def _look(self) -> float:
        """Dispatch what is due; return the seconds until there may be more."""
        queues = self._unpaused()
        is_any_full = False
        for name in queues:
            while not self._stopping.is_set():
                taken = outbox.take(name, lost_after=self._lost_after, using=self._using)
                is_any_full = is_any_full or taken.is_full
                if not taken.dispatches:
                    break
                if not self._send(name, taken.dispatches):
                    return 0.0
        if is_any_full:
            return FULL_SECONDS
        if not queues:
            return self._poll_seconds
        due = claims.seconds_until_ready(queues=queues, within=self._poll_seconds, using=self._using)
        return self._poll_seconds if due is None else due + 0.001

    def _send(self, queue_name: str, batch: Sequence[Dispatch]) -> bool:
        """Send messages; take back the marks of those that were not sent, and return whether all were."""
        unsent = {dispatch.run_id for dispatch in batch}
        try:
            for dispatch in messages.send(app.celery_app(), queue_name, batch):
                unsent.discard(dispatch.run_id)
        except Exception as error:  # noqa: BLE001 - whatever a broker's client or a project's configuration raises
            if self._delay is None:
                logger.error(  # noqa: TRY400 - one line: the broker is away, or Celery's configuration is wrong
                    "Celery takes no messages, runs of its queues wait: %s: %s", type(error).__name__, error
                )
            self._delay = min(LONGEST_DELAY, (self._delay or FIRST_DELAY / 2) * 2)
            outbox.forget(unsent, using=self._using)
            return False
        if self._delay is not None:
            self._delay = None
            logger.info("Celery takes messages again")
        return True
