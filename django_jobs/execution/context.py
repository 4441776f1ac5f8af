"""What a function can ask and say about its own run: `current_run()`."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from django_jobs import codec
from django_jobs.execution.durable import Durable
from django_jobs.execution.run_log import RunLog
from django_jobs.registry.log_lines import level_number
from django_jobs.registry.managers import provided_batch
from django_jobs.texts import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any as Batch

    from django_jobs.execution.completion import Completion

# Of all contexts: each is held for an instant.
_lock = threading.Lock()
# The run that this thread or task executes.
current: ContextVar[RunContext | None] = ContextVar("django_jobs_run", default=None)


class RunContext(Durable):
    """One attempt, seen from inside its function.

    Attributes:
        job_id: Id of the job.
        run_id: Id of the run, the same over all its attempts.
        attempt: 1 for the first.
        queue_name: Queue that it came from.
    """

    # What answers `previous_scheduled_at`: the schedules are none of this room's business.
    _previous = "django_jobs.scheduler.windows.previous_scheduled_at"

    # What few runs change is the class's: each attempt has such an object.
    progress: dict[str, Any] | None = None
    # Made with its first line: most runs say nothing.
    _said: RunLog | None = None
    _stop_reason = ""
    # Made when somebody waits: few runs do, and it costs more than the rest of this object.
    _stopped: threading.Event | None = None
    # It was told to end; asked by anybody but the function.
    must_stop = False
    # The function asked, and heard that it should end.
    was_told = False
    _lost = False
    _is_listening = False

    def __init__(
        self,
        *,
        job_id: str,
        run_id: int,
        attempt: int,
        queue_name: str,
        max_log_bytes: int,
        capture_level: int | None = None,
        scheduled_at: datetime | str | None = None,
        missed_since: str | None = None,
        on_lines: Callable[[], None] | None = None,
        batch_id: int | None = None,
    ) -> None:
        self.job_id = job_id
        self.run_id = run_id
        self.attempt = attempt
        self.queue_name = queue_name
        self._max_log_bytes = max_log_bytes
        self._batch_id = batch_id
        self._scheduled_at = scheduled_at
        self._missed_since = missed_since
        self._on_lines = on_lines
        # From which level records of `logging` are lines of the log; None for none.
        self.capture_level = capture_level

    @property
    def batch(self) -> Batch | None:
        """The batch that it belongs to, to add more to; None without."""
        if self._batch_id is None:
            return None
        return provided_batch(self._batch_id, self.run_id)

    @property
    def scheduled_at(self) -> datetime | None:
        """The time on its schedule that this run stands for, aware; the same in each attempt.

        None for a run that was added by hand. Of `run_job(as_of=...)` and `backfill` it is the time that they name.
        """
        # A process that only declares jobs imports this module, and nothing of storage.
        from django_jobs.storage.backends.values import read_time

        moment = self._scheduled_at
        return None if moment is None else read_time(moment)

    @property
    def previous_scheduled_at(self) -> datetime | None:
        """The scheduled time before `scheduled_at`, by the job's trigger as it is now; aware.

        Together they are the window that a run is to work on. Where the run stands for several times that
        were missed, the one before the first of them. None where there was none before, for a run without a
        scheduled time, and once the job is removed. One query each time it is asked.
        """
        if self.scheduled_at is None:
            return None
        since = self._missed_since and datetime.fromisoformat(self._missed_since)
        previous: datetime | None = import_string(self._previous)(self.job_id, since or self.scheduled_at)
        return previous

    @property
    def is_cancelled(self) -> bool:
        """Whether the function should end soon: cancelled, out of time, shut down, or lost."""
        self._is_listening = True
        if self.must_stop:
            self.was_told = True
        return self.was_told

    @property
    def is_listening(self) -> bool:
        """Whether the function ever asked: it is then given time to end by itself."""
        return self._is_listening

    @property
    def stop_reason(self) -> str:
        """Why `is_cancelled`: "cancelled", "timeout", "shutdown", "lost"; empty while it is not."""
        return self._stop_reason

    @property
    def is_lost(self) -> bool:
        """Whether the run was given to another worker; what this attempt returns is refused."""
        return self._lost

    def listen(self) -> None:
        """Note that the function ends by itself when it is told to: it is given time to."""
        self._is_listening = True

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until the function should end.

        Returns:
            `is_cancelled`.
        """
        self._is_listening = True
        with _lock:
            if self._stopped is None:
                self._stopped = threading.Event()
                if self.must_stop:
                    self._stopped.set()
        self._stopped.wait(seconds)
        return self.is_cancelled

    def set_progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the work has come; shown within a second or so, and kept when it ends.

        Args:
            done: Units of work done, in whatever unit the function counts.
            total: Units in all; None when nobody knows.
            message: A few words; at most 200 characters are kept.

        Raises:
            ValueError: `done` or `total` is not a finite number.
        """
        self._show(
            {
                "done": _number("done", done),
                "total": None if total is None else _number("total", total),
                "message": codec.storable(str(message)[:200]),
            }
        )

    def show_progress(self, done: int, total: int | None, *, ends_at: datetime | None) -> None:
        """Show how far a loop has come, and when it is likely to end."""
        shown: dict[str, Any] = {"done": done, "total": total, "message": ""}
        if ends_at is not None:
            shown["ends_at"] = ends_at.isoformat(timespec="seconds")
        self._show(shown)

    def _show(self, progress: dict[str, Any]) -> None:
        self.progress = progress
        if self.under_way is not None:
            self.under_way.report_progress()

    def complete(self, *, using: str | None = None) -> Completion:
        """Return a context manager that ends the run as SUCCESSFUL: what its block writes is one commit with that.

        For the last part of a function whose rest is no transaction, as `with current_run().complete() as
        outcome:`. Jobs that are added in the block are in it, too. What the block raises rolls it back, and the
        run has not ended. What the function does after the block is not recorded any more.
        `outcome.result` is what the run returns.

        Args:
            using: Alias of the database that the block writes to, where that and the runs are in another one
                than "default".

        Raises:
            ValueError: The runs are in another database.
            RuntimeError: The function is on an event loop, in a transaction already, or was completed before.
            RunLost: At the block's end: the run was given to another worker. It is rolled back.
        """
        return self._of_attempt().complete(using)

    def log(self, message: str, *args: object, level: int | str = "INFO") -> None:
        """Add a line to the run's own log, with its time; `%s` style as in `logging`.

        While the run goes on, its lines are stored about once a second. Arguments that do not fit the
        message are left out, and the line says so.

        Args:
            message: The text.
            *args: What its placeholders stand for.
            level: DEBUG, INFO, WARNING, ERROR or CRITICAL, or a number as of `logging`.

        Raises:
            ValueError: There is no such level.
        """
        number = logging.INFO if level == "INFO" else level_number(level)
        self.lines.add(_formatted(message, args), number)

    @property
    def lines(self) -> RunLog:
        """The log, to add to."""
        if self._said is None:
            with _lock:
                self._said = self._said or RunLog(self._max_log_bytes, self._on_lines)
        return self._said

    @property
    def said(self) -> RunLog | None:
        """The log; None where nothing was said."""
        return self._said

    def stop(self, reason: str) -> None:
        """Tell the function to end; the first reason stays. Called by the worker."""
        if not self._stop_reason:
            self._stop_reason = reason
        self._lost = self._lost or reason == "lost"
        with _lock:
            self.must_stop = True
            if self._stopped is not None:
                self._stopped.set()


def _formatted(message: str, args: tuple[object, ...]) -> str:
    values = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args
    try:
        return str(message % values if args else message)
    except BaseException as error:  # noqa: BLE001 - as of `logging`: no line that cannot be written ends the work
        return f"{message if isinstance(message, str) else '...'} (not formatted: {describe.name_of(type(error))})"


def _number(name: str, value: float) -> float:
    number = value if isinstance(value, int) else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return number


def current_run() -> RunContext | None:
    """Return the run that this code is executed for; None outside of one."""
    return current.get()
