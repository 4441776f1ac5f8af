"""What a function can ask and say about its own run: `current_run()`."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django_jobs import codec, describe

if TYPE_CHECKING:
    from collections.abc import Callable

# Of all contexts: each is held for an instant.
_lock = threading.Lock()
_current: ContextVar[RunContext | None] = ContextVar("django_jobs_run", default=None)


class RunContext:
    """One attempt, seen from inside its function.

    Attributes:
        job_id: Id of the job.
        run_id: Id of the run, the same over all its attempts.
        attempt: 1 for the first.
        queue_name: Queue that it came from.
    """

    def __init__(
        self,
        *,
        job_id: str,
        run_id: int,
        attempt: int,
        queue_name: str,
        max_log_bytes: int,
        report: Callable[[], None] | None = None,
    ) -> None:
        self.job_id = job_id
        self.run_id = run_id
        self.attempt = attempt
        self.queue_name = queue_name
        self.progress: dict[str, Any] | None = None
        self._max_log_bytes = max_log_bytes
        self._report = report
        self._log: list[str] = []
        self._log_bytes = 0
        self._stop_reason = ""
        # Made when somebody waits: few runs do, and it costs more than the rest of this object.
        self._stopped: threading.Event | None = None
        self._must_stop = False
        self._lost = False
        self._was_told = False
        self._is_listening = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the function should end soon: cancelled, out of time, shut down, or lost."""
        self._is_listening = True
        if self._must_stop:
            self._was_told = True
        return self._was_told

    @property
    def was_told(self) -> bool:
        """Whether the function asked, and heard that it should end."""
        return self._was_told

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

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until the function should end.

        Returns:
            `is_cancelled`.
        """
        self._is_listening = True
        with _lock:
            if self._stopped is None:
                self._stopped = threading.Event()
                if self._must_stop:
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
        self.progress = {
            "done": _number("done", done),
            "total": None if total is None else _number("total", total),
            "message": codec.storable(str(message)[:200]),
        }
        if self._report is not None:
            self._report()

    def log(self, message: str, *args: object) -> None:
        """Add a line to the run's own log, with its time; `%s` style as in `logging`.

        Arguments that do not fit the message are left out, and the line says so.
        """
        text = codec.storable(_formatted(message, args))
        line = f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}"
        if self._log_bytes > self._max_log_bytes:
            return
        self._log_bytes += len(line.encode()) + 1
        if self._log_bytes > self._max_log_bytes:
            line = f"... cut at {self._max_log_bytes} bytes (MAX_LOG_BYTES)"
        self._log.append(line)

    @property
    def log_text(self) -> str:
        """All lines so far."""
        return "\n".join(self._log) if self._log else ""

    def stop(self, reason: str) -> None:
        """Tell the function to end; the first reason stays. Called by the worker."""
        if not self._stop_reason:
            self._stop_reason = reason
        self._lost = self._lost or reason == "lost"
        with _lock:
            self._must_stop = True
            if self._stopped is not None:
                self._stopped.set()

    @property
    def must_stop(self) -> bool:
        """Whether it was told to end, asked by anybody but the function."""
        return self._must_stop


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
    return _current.get()


def enter(context: RunContext) -> None:
    """Make a run the current one of this thread or task."""
    _current.set(context)


def leave() -> None:
    """Leave the current run."""
    _current.set(None)
