"""The clock: APScheduler's scheduler, whose rounds turn due jobs into runs.

APScheduler gives the thread, its start and shutdown, and the triggers. What is due is asked of the
database, and what becomes of it is in `occurrences`.
"""

from __future__ import annotations

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
from django_jobs.storage.connections import ConnectionBackoff, claim_context, give_back, leave_replaced
from django_jobs.storage.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable

# Until a clock looks again at due jobs that other clocks hold.
HELD_SECONDS = 0.05
# After a mistake outside of a round.
MISTAKE_SECONDS = 1.0


class Clock(BackgroundScheduler):  # type: ignore[misc]
    """One process's APScheduler scheduler, whose rounds are database transactions.

    A round asks the database at most once what is due next, outside a transaction and without a lock.
    If the answer of the round before says that something is due now, the round fires it first.

    Args:
        using: Alias of the database.
        before_round: Called before each round, on the clock's thread; returns the seconds after which
            there must be another.
        holds_back: Asked after that whether nothing is to fire yet.
    """

    def __init__(
        self,
        using: str,
        *,
        before_round: Callable[[], float] | None = None,
        holds_back: Callable[[], bool] | None = None,
    ) -> None:
        self._using = using
        self._before_round = before_round
        self._holds_back = holds_back
        self._poll_seconds = jobs_settings().POLL_SECONDS
        self._outage = ConnectionBackoff("clock", using)
        self.liveness = Liveness("clock")
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

    @property
    def is_alive(self) -> bool:
        """Whether its thread was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def problem(self) -> str:
        """What is wrong with it; empty while nothing is, and when it was told to stop."""
        return self.liveness.problem(is_alive=self.is_alive) if self.running else ""

    def _main_loop(self) -> None:
        try:
            claim_context()
            self._mend_jobs()
            while not self._loop():
                time.sleep(MISTAKE_SECONDS)
        finally:
            self._outage.close()
            give_back()

    def _loop(self) -> bool:
        """Do rounds until told to stop; return False where a mistake came between."""
        try:
            super()._main_loop()
        except BaseException as error:  # noqa: BLE001 - a handler of the log, or APScheduler: every schedule hangs on this thread
            self.liveness.note_mistake(error)
            return not self.running
        return True

    def _mend_jobs(self) -> None:
        try:
            mend_broken(self._using)
            mend_moved(self._using, transactions.database_now(self._using))
        except (DatabaseError, InterfaceError) as error:
            self._outage.failed(error)
        except BaseException as error:  # noqa: BLE001 - jobs that are not broken fire nevertheless
            self.liveness.note_mistake(error)

    def _process_jobs(self) -> float:
        """Do one round in place of APScheduler's; return the seconds until the next."""
        leave_replaced()
        self.liveness.begin_step()
        try:
            again_in = TIMEOUT_MAX if self._before_round is None else self._before_round()
            if self._holds_back is not None and self._holds_back():
                self._must_look = True
                return again_in
            # Awake for `before_round` alone, it need not ask: maintenance would have said so.
            if self._must_look or time.monotonic() >= self._next_look:
                self._must_look = False
                self._next_look = time.monotonic() + self._round()
        except (DatabaseError, InterfaceError) as error:
            self._must_look = True
            return self._outage.failed(error)
        except BaseException as error:  # noqa: BLE001 - a mistake of ours, or SystemExit of a receiver
            self._must_look = True
            self.liveness.note_mistake(error)
            return self._poll_seconds
        finally:
            self.liveness.end_step()
        self._outage.worked()
        self.liveness.note_success()
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
