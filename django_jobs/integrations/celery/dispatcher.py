"""The thread of one process that sends Celery's workers a message for each run that is due in their queues."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from django_jobs.conf import jobs_settings
from django_jobs.integrations.celery import app, messages
from django_jobs.storage import claims, notifications, outbox
from django_jobs.storage.backoff import Backoff
from django_jobs.storage.components import Component
from django_jobs.storage.queues import paused_queues
from django_jobs.texts.printable import printable

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


class Dispatcher(Component):
    """Marks due runs as dispatched, and sends their messages after that is committed.

    Any number may share a database. It looks after a notice, when the next deferred run is due, and each
    POLL_SECONDS.

    Args:
        using: Alias of the database.
        queues: Names of the queues that are Celery's.
    """

    def __init__(self, using: str, queues: Sequence[str]) -> None:
        settings = jobs_settings()
        self._poll_seconds = settings.POLL_SECONDS
        super().__init__("dispatcher", using, mistake_seconds=self._poll_seconds)
        self._queues = tuple(queues)
        self._lost_after = timedelta(seconds=settings.REDISPATCH_SECONDS)
        self._broker = Backoff(FIRST_DELAY, LONGEST_DELAY)

    def start(self) -> None:
        """Start the thread."""
        notifications.subscribe(self._heard)
        super().start()

    def stop(self, timeout: float | None = STOP_SECONDS) -> bool:
        """End the thread; other processes dispatch what it has not.

        A broker that does not answer keeps it for longer than anybody should wait: it ends with the process.
        """
        notifications.unsubscribe(self._heard)
        has_ended = super().stop(timeout)
        if not has_ended:
            logger.warning("Celery's broker does not answer: what was not sent is sent again later")
        return has_ended

    @property
    def is_broker_away(self) -> bool:
        """Whether the broker did not take the last message."""
        return self._broker.is_failing

    def has_nothing_due(self) -> bool:
        """Ask whether no run is due that Celery was not told of."""
        queues = self._unpaused()
        return not outbox.is_any_due(queues, lost_after=self._lost_after, using=self.using)

    def _heard(self, topic: str) -> None:
        if topic in {notifications.RUNS, notifications.QUEUES, notifications.ANYTHING}:
            self.wake()

    def _unpaused(self) -> list[str]:
        paused = paused_queues(using=self.using)
        return [name for name in self._queues if name not in paused]

    def look(self) -> float:
        """Dispatch what is due; return the seconds until there may be more."""
        queues = self._unpaused()
        is_any_full = False
        for name in queues:
            while not self.is_stopping:
                taken = outbox.take(name, lost_after=self._lost_after, using=self.using)
                is_any_full = is_any_full or taken.is_full
                if not taken.dispatches:
                    break
                if not self._send(name, taken.dispatches):
                    return 0.0
        if is_any_full:
            return FULL_SECONDS
        if not queues:
            return self._poll_seconds
        due = claims.seconds_until_ready(queues=queues, within=self._poll_seconds, using=self.using)
        return self._poll_seconds if due is None else due + 0.001

    def _send(self, queue_name: str, batch: Sequence[Dispatch]) -> bool:
        """Send messages; take back the marks of those that were not sent, and return whether all were."""
        unsent = {dispatch.run_id for dispatch in batch}
        try:
            for dispatch in messages.send(app.celery_app(), queue_name, batch):
                unsent.discard(dispatch.run_id)
        except Exception as error:  # noqa: BLE001 - whatever a broker's client or a project's configuration raises
            if not self._broker.is_failing:
                logger.error(  # noqa: TRY400 - one line: the broker is away, or Celery's configuration is wrong
                    "Celery takes no messages, runs of its queues wait: %s: %s",
                    type(error).__name__,
                    printable(error),
                )
            wait = self._broker.failed()
            outbox.forget(unsent, using=self.using)
            # Not sooner, whatever is heard.
            self.rest(wait)
            return False
        if self._broker.is_failing:
            self._broker.worked()
            logger.info("Celery takes messages again")
        return True
