"""The clock: APScheduler's scheduler, whose rounds turn due jobs into runs.

APScheduler gives the thread, its start and shutdown, and the triggers. What is due is asked of the
database, and what becomes of it is in `occurrences`.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, NoReturn

from apscheduler.schedulers.background import BackgroundScheduler
from django.db import DatabaseError, InterfaceError

from django_jobs.conf import jobs_settings
from django_jobs.scheduler import occurrences
from django_jobs.scheduler.broken import mend_broken, mend_moved
from django_jobs.storage import notifications, transactions
from django_jobs.storage.connections import ConnectionBackoff, claim_context, give_back

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Until a clock looks again at due jobs that other clocks hold.
HELD_SECONDS = 0.05


class Clock(BackgroundScheduler):  # type: ignore[misc]
    """One process's APScheduler scheduler, whose rounds are database transactions.

    A round asks the database at most once what is due next, outside a transaction and without a lock.
    If the answer of the round before says that something is due now, the round fires it first.

    Args:
        using: Alias of the database.
        before_round: Called before each round, on the clock's thread; returns the seconds after which
            there must be another.
    """

    def __init__(self, using: str, *, before_round: Callable[[], float] | None = None) -> None:
        self._using = using
        self._before_round = before_round
        self._poll_seconds = jobs_settings().POLL_SECONDS
        self._outage = ConnectionBackoff("clock", using)
        # Whether maintenance says when the next job is due, so that the clock need not poll for it.
        self.has_maintainer = False
        # Monotonic times: when to look without being told, and when the next job is due, as last answered.
        self._next_look = 0.0
        self._due_at: float | None = None
        self._must_look = True
        super().__init__(timezone=UTC)

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Start the thread; it tries broken jobs again, because the code may have changed."""
        notifications.subscribe(self._heard)
        try:
            super().start(*args, **kwargs)
        except RuntimeError:
            # No thread can be started.
            notifications.unsubscribe(self._heard)
            raise

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """End the thread after the current round."""
        notifications.unsubscribe(self._heard)
        super().shutdown(*args, **kwargs)

    def add_job(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: APScheduler would keep the job in this process's memory."""
        raise NotImplementedError("add jobs through django_jobs.get_job_manager()")

    def wakeup(self) -> None:
        """Have the thread look immediately."""
        self._must_look = True
        super().wakeup()

    def expect_due(self, seconds: float | None) -> None:
        """Look in time for a job that is due in some seconds; None for none."""
        if seconds is not None and time.monotonic() + seconds < self._next_look - 0.05:
            self.wakeup()

    def seconds_until_due(self) -> float | None:
        """Return how long until the next job is due, negative when it is late; None without one."""
        return occurrences.seconds_until_due(self._using)

    def _heard(self, topic: str) -> None:
        if topic in {notifications.JOBS, notifications.ANYTHING}:
            self.wakeup()

    def _main_loop(self) -> None:
        claim_context()
        try:
            self._mend_jobs()
            super()._main_loop()
        finally:
            self._outage.close()
            give_back()

    def _mend_jobs(self) -> None:
        try:
            mend_broken(self._using)
            mend_moved(self._using, transactions.database_now(self._using))
        except (DatabaseError, InterfaceError) as error:
            self._outage.failed(error)

    def _process_jobs(self) -> float:
        """Do one round in place of APScheduler's; return the seconds until the next."""
        try:
            again_in = TIMEOUT_MAX if self._before_round is None else self._before_round()
            # Awake for `before_round` alone, it need not ask: maintenance would have said so.
            if self._must_look or time.monotonic() >= self._next_look:
                self._must_look = False
                self._next_look = time.monotonic() + self._round()
        except (DatabaseError, InterfaceError) as error:
            self._must_look = True
            return self._outage.failed(error)
        except Exception:  # a mistake of ours must not end the thread that every schedule hangs on
            self._must_look = True
            logger.exception("the clock's round failed")
            return self._poll_seconds
        self._outage.worked()
        return max(0.0, min(self._next_look - time.monotonic(), again_in))

    def _round(self) -> float:
        """Fire what is known to be due, and ask once what is due next; return the seconds until then."""
        is_due = self._due_at is not None and time.monotonic() >= self._due_at
        has_fired = is_due and occurrences.fire_due(self._using) > 0
        wait = self.seconds_until_due()
        self._due_at = None if wait is None else time.monotonic() + wait
        longest = TIMEOUT_MAX if self.has_maintainer else self._poll_seconds
        if wait is None:
            return longest
        if wait > 0:
            return min(wait, longest)
        # Due already. The next round fires it, unless other clocks held all that this one could find.
        return 0.0 if has_fired or not is_due else min(HELD_SECONDS, self._poll_seconds)
