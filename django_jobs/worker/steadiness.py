"""Whether a worker may go by the leases that it reads: not when the clock was set or the database was away."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from django_jobs.conf import jobs_settings

if TYPE_CHECKING:
    from datetime import datetime

    from django_jobs.worker.worker import Worker

logger = logging.getLogger(__name__)


class Steadiness:
    """Whether leases can be read by the database's clock.

    Not when that was set, this host slept, or the database was away: until everybody alive has had the
    time for another heartbeat, leases that have ended, or have not, say nothing.

    Args:
        worker: That reads them.

    Attributes:
        doubted_until: Monotonic time until which an ended lease says nothing.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._lease_seconds = worker.lease_seconds
        settings = jobs_settings()
        self._heartbeat_seconds = min(settings.HEARTBEAT_SECONDS, settings.POLL_SECONDS)
        # The database's time less this host's monotonic time, at the last heartbeat.
        self._offset: float | None = None
        self.doubted_until = 0.0

    def doubt(self) -> None:
        """Take nobody for dead by a lease until all have had the time for a heartbeat."""
        self.doubted_until = time.monotonic() + self._lease_seconds

    def note_heartbeat(self, now: datetime, silent: float, took: float) -> bool:
        """Note that a heartbeat worked; return whether leases can be gone by.

        Args:
            now: By the database's clock.
            silent: Seconds since the heartbeat before this one.
            took: Seconds from its question to its answer; the database's time is of some time between them.
        """
        if silent > self._lease_seconds / 2:
            # What kept this worker from saying that it lives may have kept the others.
            self.doubt()
            logger.info(
                "worker=%s: no heartbeat for %.0f s; nobody is taken for dead for %.0f s",
                self._worker.id, silent, self._lease_seconds,
            )  # fmt: skip
        monotonic = time.monotonic()
        lowest = now.timestamp() - monotonic
        # A lock that the answer waited for is no clock that was set.
        offset = lowest + took if self._offset is None else min(max(self._offset, lowest), lowest + took)
        if self._offset is not None and abs(offset - self._offset) > max(1.0, self._heartbeat_seconds):
            self.doubt()
            logger.warning(
                "worker=%s: the clock jumped by %.0f s; nobody is taken for dead for %.0f s",
                self._worker.id, offset - self._offset, self._lease_seconds,
            )  # fmt: skip
        self._offset = offset
        return monotonic >= self.doubted_until
